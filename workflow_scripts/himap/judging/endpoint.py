"""One request to a judge: its address and key, repeated attempts, bounded replies, and messages that never hold the key."""

from __future__ import annotations

import asyncio
import json
import os
import random
import re
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, urlsplit

if TYPE_CHECKING:
    from himap.judging.requests import Settings

# The first one that is set counts, so that a judge may have a key beside the user's own of OpenAI.
KEYS = ("HIMAP_JUDGE_API_KEY", "OPENAI_API_KEY")
RETRIED = (408, 409, 425, 429)  # timeout, conflict, too early, too many requests; and every 5xx
LONGEST_PAUSE = 60.0  # seconds, also where a server asks for more
LARGEST_REPLY = 4 << 20  # bytes; the longest verdict that is asked for has some thousand
SHORTEST_SECRET = 8  # characters; a shorter key is a placeholder like "none", and masking it would garble verdicts
EXAMPLE = "https://api.openai.com/v1"


def address_problem(address: str) -> str | None:
    """Return why a text cannot be the judge's address, and what to write instead; None if it can."""
    try:
        parts = urlsplit(address)
        usable = parts.scheme in ("http", "https") and parts.hostname and (parts.port is None or parts.port > 0)
    except ValueError:  # a port that is no number, a bracket that is not closed
        usable = False
    if usable and not re.search(r"\s", address):
        return None
    shown = address.rsplit("@", 1)[-1]  # without user name and password
    return (
        f"{shown!r} is not the address of an endpoint; write http:// or https://, a host and the path, as in {EXAMPLE}"
    )


def api_key() -> str:
    """Return the judge's key from the environment."""
    for name in KEYS:
        if value := os.environ.get(name, "").strip():
            # It goes into an HTTP header, which can hold nothing else.
            if not (value.isascii() and value.isprintable() and " " not in value):
                raise ValueError(
                    f"the judge's key in {name} holds a blank, a line break or a letter outside ASCII: set it again"
                )
            return value
    raise ValueError(f"no key for the judge: set {' or '.join(KEYS)} (to anything if the endpoint needs none)")


@dataclass
class Client:
    """Asks one endpoint, patiently: repeats what may pass, stops at what will not."""

    settings: Settings
    key: str = field(repr=False)
    stopped: threading.Event = field(default_factory=threading.Event)  # set: no thread sends anything more

    def __post_init__(self) -> None:
        import httpx2

        self.tls = httpx2.create_ssl_context()  # reads every root certificate: once, not for each request

    def ask(self, request: dict[str, Any]) -> dict[str, Any]:
        """Return the judge's text and the model that gave it, after as many attempts as are allowed."""
        problem = ""
        for attempt in range(1, self.settings.attempts + 1):
            if self.stopped.is_set():
                raise ValueError("stopped")
            try:
                return self.once(request)
            except Passing as error:
                problem = self.shown(str(error))
                if attempt < self.settings.attempts:
                    # Not `sleep`: a failure in another thread ends the pause at once.
                    self.stopped.wait(error.wait if error.wait is not None else self.pause(attempt))
        raise ValueError(f"the judge at {self.place()} did not answer in {self.settings.attempts} attempts ({problem})")

    def once(self, request: dict[str, Any]) -> dict[str, Any]:
        """Make one attempt; raise Passing for what may be repeated, ValueError with what to do for the rest."""
        import httpx2

        try:
            # Called from many threads, each with an event loop of its own for one request.
            status, headers, body = asyncio.run(self.exchange(request))
        except TimeoutError as error:
            raise Passing(f"no whole answer within {self.settings.timeout:g} s") from error
        except (httpx2.HTTPError, OSError) as error:
            raise Passing(f"{type(error).__name__}: {error}") from error
        if status in RETRIED or status >= 500:
            raise Passing(f"status {status}", retry_after(headers))
        if status != 200:
            advice = "check the key" if status in (401, 403) else "check --base-url and --model"
            raise ValueError(
                f"the judge at {self.place()} refused: status {status}, {self.shown(reason(headers, body))}; {advice}"
            )
        return {name: self.hide_key(text) for name, text in read_reply(body).items()}

    async def exchange(self, request: dict[str, Any]) -> tuple[int, Mapping[str, str], bytes]:
        """Send a request; return status, headers and at most LARGEST_REPLY + 1 bytes of the body.

        The deadline is one for all of it. A client's own timeouts are for each read, so that a judge which sends a byte
        now and then would never be given up; a task of an event loop can be cancelled wherever it waits.
        """
        import httpx2

        url = f"{self.settings.base_url.rstrip('/')}/chat/completions"
        # not compressed, because a small body can become a huge one
        headers = {"Authorization": f"Bearer {self.key}", "Accept-Encoding": "identity"}
        body = bytearray()
        async with (
            asyncio.timeout(self.settings.timeout),
            httpx2.AsyncClient(timeout=None, verify=self.tls) as client,
            client.stream("POST", url, json=request, headers=headers) as response,
        ):
            async for piece in response.aiter_raw():
                # One byte more than allowed is how `read_reply` sees that there was more.
                body += piece[: LARGEST_REPLY + 1 - len(body)]
                if len(body) > LARGEST_REPLY:
                    break
            return response.status_code, response.headers, bytes(body)

    def pause(self, attempt: int) -> float:
        """Return the seconds before the next attempt: doubling, and random so that many clients do not come at once."""
        return min(LONGEST_PAUSE, self.settings.pause * 2 ** (attempt - 1)) * random.uniform(0.5, 1.0)

    def hide_key(self, text: str) -> str:
        """Return a text without the key, in case an endpoint repeats it."""
        if len(self.key) < SHORTEST_SECRET:
            return text
        # As it is, as part of an address, and as JSON escapes it.
        for form in {self.key, quote(self.key, safe=""), json.dumps(self.key)[1:-1]}:
            text = text.replace(form, "***")
        return text

    def shown(self, text: str) -> str:
        """Return what an endpoint sent as a message may show it: without the key, on one line, not too long."""
        return printable(self.hide_key(text))  # cut only afterwards: the key's first half is a secret too

    def place(self) -> str:
        """Return the endpoint for messages, without user name and password."""
        return self.settings.base_url.rsplit("@", 1)[-1]


class Passing(Exception):
    """A failure that may be gone at the next attempt; `wait` is what the server asked for, in seconds."""

    def __init__(self, reason: str, wait: float | None = None) -> None:
        super().__init__(reason)
        self.wait = wait


def retry_after(headers: Mapping[str, str]) -> float | None:
    """Return the pause a server asks for, if it is a bearable number of seconds."""
    try:
        return min(LONGEST_PAUSE, max(0.0, float(headers["retry-after"])))
    except (KeyError, ValueError):  # none, or a date, which the standard allows too: then our own pauses
        return None


def printable(text: str, longest: int = 200) -> str:
    """Return a foreign text on one line, without control characters, cut if it is long."""
    line = " ".join("".join(letter if letter.isprintable() else " " for letter in text).split())
    return line if len(line) <= longest else line[:longest] + "…"


def reason(headers: Mapping[str, str], body: bytes) -> str:
    """Return what an endpoint says about a refusal: where it redirects to, its error's message, or the bare body."""
    if "location" in headers:
        return f"a redirect to {headers['location']}"
    text = body.decode("utf-8", "replace")
    try:
        reply = json.loads(text)
    except (ValueError, RecursionError):
        return text
    # OpenAI's form is {"error": {"message": ...}}; others send {"error": "..."}, {"message": ...} or plain text.
    error = reply.get("error", reply) if isinstance(reply, dict) else reply
    message = error.get("message", error) if isinstance(error, dict) else error
    return message if isinstance(message, str) else json.dumps(message, ensure_ascii=False)


def read_reply(body: bytes) -> dict[str, str]:
    """Return text and model of a reply; something that is not a chat completion is worth another attempt."""
    if len(body) > LARGEST_REPLY:
        raise Passing(f"a reply of more than {LARGEST_REPLY >> 20} MiB, which was not read further")
    try:
        reply = json.loads(body.decode("utf-8"))
        content = reply["choices"][0]["message"]["content"]
    except UnicodeDecodeError as error:
        raise Passing(f"a reply that is not UTF-8: {beginning(body)!r}") from error
    except (ValueError, RecursionError) as error:  # the latter for thousands of nested brackets
        raise Passing(f"a reply that is not JSON: {beginning(body)!r}") from error
    except (KeyError, IndexError, TypeError) as error:
        raise Passing("a malformed reply: JSON, but no chat completion") from error
    if content is not None and not isinstance(content, str):
        raise Passing("a malformed reply: its content is no text")
    return {"content": storable(content or ""), "model": storable(str(reply.get("model") or ""))}


def beginning(body: bytes) -> str:
    """Return the first part of a body for a message, which masks the key and cuts further."""
    return body[:10_000].decode("utf-8", "replace")


def storable(text: str) -> str:
    """Return a text that can be written as UTF-8: JSON may hold halves of surrogate pairs."""
    return text.encode("utf-8", "replace").decode("utf-8")
