"""Grading answers with a language model behind any OpenAI-compatible endpoint, paying for no verdict twice."""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
import random
import re
import threading
from collections import defaultdict
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import closing, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit

from himap.benchmarks._base import Benchmark, JudgeProtocol, Sample
from himap.files import read_json, write_json
from himap.locks import locked

KEYS = ("HIMAP_JUDGE_API_KEY", "OPENAI_API_KEY")
RETRIED = (408, 409, 425, 429)  # and every 5xx
LETTERS_PER_TOKEN = 4
LONGEST_PAUSE = 60.0
LARGEST_REPLY = 4 << 20  # bytes; the longest verdict that is asked for has some thousand
SHORTEST_SECRET = 8  # characters; a shorter key is a placeholder like "none", and masking it would garble verdicts
EXAMPLE = "https://api.openai.com/v1"
HOPELESS = 20  # verdicts without a readable one, after which no more are paid for


@dataclass(frozen=True)
class Settings:
    """Where the judge is and how patiently it is asked; the key comes from the environment alone."""

    base_url: str
    model: str
    runs: int
    cache: Path
    concurrency: int = 8
    unreadable: float = 0.02  # share of the verdicts that may be unreadable; more is an error
    timeout: float = 120.0  # seconds for one request, from the connection to the last byte
    attempts: int = 8
    pause: float = 1.0  # seconds before the second attempt, doubled for each further one


@dataclass(frozen=True)
class Workload:
    """What a judging will send: first tries only, since nobody knows how many verdicts will be unreadable."""

    requests: int
    cached: int
    tokens_to_send: int
    tokens_to_receive: int

    def __str__(self) -> str:
        to_pay = f"{self.requests} requests ({self.cached} more are in the cache)"
        return (
            f"{to_pay}, about {self.tokens_to_send:,} tokens to send and at most {self.tokens_to_receive:,} to receive"
        )


@dataclass(frozen=True)
class Task:
    """One run of the judge over one answer."""

    sample: Sample
    prediction: str
    run: int


def tasks_of(samples: Sequence[Sample], predictions: dict[str, str], runs: int) -> list[Task]:
    """Every answer in every run; samples without an answer are left out."""
    answered = [one for one in samples if one.sample_id in predictions]
    return [Task(one, predictions[one.sample_id], run) for run in range(1, runs + 1) for one in answered]


def protocol_of(benchmark: Benchmark) -> JudgeProtocol:
    """The benchmark's way of being judged."""
    if benchmark.judge is None:
        raise ValueError(f"{benchmark.name} is scored without a judge; run score_predictions.py")
    return benchmark.judge


def request_of(protocol: JudgeProtocol, task: Task, model: str, attempt: int = 1) -> dict[str, Any]:
    """The request of the first or a later try, which asks again in the protocol's way and hotter."""
    make = protocol.messages if attempt == 1 or protocol.again is None else protocol.again
    return {
        "model": model,
        "messages": make(task.sample, task.prediction),
        "temperature": protocol.temperature + protocol.hotter * (attempt - 1),
        "max_tokens": protocol.max_tokens,
    }


class Cache:
    """Readable replies on disk, one file per task, named by the hash of endpoint, run and the task's first request.

    A reply without a readable verdict is never kept, and one that an earlier version kept does not count: it may be the
    fault of an hour.
    """

    def __init__(self, folder: Path, base_url: str, parse: Callable[[str], Any]) -> None:
        self.folder, self.base_url, self.parse = folder, base_url, parse

    def make_private(self) -> None:
        """Make the folder, for this user alone; subfolders of an earlier version are closed to others too."""
        self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        parts = list(self.folder.iterdir())
        own = [part for part in parts if re.fullmatch("[0-9a-f]{2}", part.name)]
        with suppress(PermissionError):  # another user's folder
            for part in own if len(own) < len(parts) else [self.folder, *own]:
                part.chmod(0o700)

    def path(self, request: dict[str, Any], run: int) -> Path:
        """Return where the reply to a task is kept, given the task's first request."""
        whole = json.dumps([self.base_url, run, request], sort_keys=True, ensure_ascii=False)
        key = hashlib.sha256(whole.encode()).hexdigest()
        return self.folder / key[:2] / f"{key}.json"

    def get(self, path: Path) -> dict[str, Any] | None:
        """Return the kept reply; a damaged or unreadable one counts as none."""
        try:
            kept = read_json(path)
        except (ValueError, FileNotFoundError):
            return None
        if not isinstance(kept, dict) or not isinstance(kept.get("content"), str):
            return None
        return kept if self.parse(kept["content"]) is not None else None

    def put(self, path: Path, request: dict[str, Any], run: int, reply: dict[str, Any]) -> None:
        """Keep a reply durably before anything is done with it."""
        write_json(path, {**reply, "run": run, "request": request}, private=True)


def workload(
    benchmark: Benchmark, samples: Sequence[Sample], predictions: dict[str, str], settings: Settings
) -> Workload:
    """How much judging these answers will send and may receive."""
    protocol = protocol_of(benchmark)
    cache = Cache(settings.cache, settings.base_url, protocol.parse)
    letters = requests = cached = 0
    for task in tasks_of(samples, predictions, settings.runs):
        request = request_of(protocol, task, settings.model)
        if cache.get(cache.path(request, task.run)) is not None:
            cached += 1
        else:
            requests += 1
            letters += sum(len(message["content"]) for message in request["messages"])
    return Workload(requests, cached, letters // LETTERS_PER_TOKEN, requests * protocol.max_tokens)


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
    stopped: threading.Event = field(default_factory=threading.Event)

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
                    self.stopped.wait(error.wait if error.wait is not None else self.pause(attempt))
        raise ValueError(f"the judge at {self.place()} did not answer in {self.settings.attempts} attempts ({problem})")

    def once(self, request: dict[str, Any]) -> dict[str, Any]:
        """Make one attempt; raise Passing for what may be repeated, ValueError with what to do for the rest."""
        import httpx2

        try:
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
    except (KeyError, ValueError):
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
    except (ValueError, RecursionError) as error:
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


class Judging:
    """Judges tasks concurrently, each through the cache."""

    def __init__(self, benchmark: Benchmark, settings: Settings) -> None:
        self.protocol, self.settings = protocol_of(benchmark), settings
        self.cache = Cache(settings.cache, settings.base_url, self.protocol.parse)
        self.client = Client(settings, api_key())
        self.cache.make_private()
        self.locks: dict[Path, threading.Lock] = defaultdict(threading.Lock)
        self.guard = threading.Lock()
        self.problem: BaseException | None = None

    def verdict(self, task: Task) -> dict[str, Any]:
        """Return one row of judgements; the first failure is remembered and keeps the other threads from sending more."""
        try:
            reply = self.reply(task)
        except BaseException as error:
            with self.guard:
                self.problem = self.problem or error
            self.client.stopped.set()
            raise
        row = {"sample_id": task.sample.sample_id, "run": task.run, "verdict": self.protocol.parse(reply["content"])}
        row |= {"tries": reply.get("tries", 1)}
        return row | {name: self.client.hide_key(str(reply.get(name, ""))) for name in ("model", "content")}

    def reply(self, task: Task) -> dict[str, Any]:
        """Return the reply to a task, kept or new; equal tasks, of any process, wait for one another."""
        path = self.cache.path(request_of(self.protocol, task, self.settings.model), task.run)
        with self.guard:
            lock = self.locks[path]
        with lock:
            if kept := self.cache.get(path):
                return kept
            path.parent.mkdir(mode=0o700, exist_ok=True)
            with locked(path):  # another process may have asked meanwhile
                return self.cache.get(path) or self.asked(task, path)

    def asked(self, task: Task, path: Path) -> dict[str, Any]:
        """Ask until a verdict can be read, which is kept, or the protocol gives up."""
        for attempt in range(1, self.protocol.tries + 1):
            request = request_of(self.protocol, task, self.settings.model, attempt)
            reply = {**self.client.ask(request), "tries": attempt}
            if self.protocol.parse(reply["content"]) is not None:
                self.cache.put(path, request, task.run, reply)
                break
        return reply

    def all(self, tasks: Sequence[Task]) -> Generator[dict[str, Any], None, None]:
        """Yield verdicts as they come; the first failure stops everything, what could be read stays in the cache."""
        pool = ThreadPoolExecutor(self.settings.concurrency, thread_name_prefix="judge")
        try:
            for future in as_completed([pool.submit(self.verdict, task) for task in tasks]):
                if self.problem is not None:
                    raise self.problem
                yield future.result()
        finally:
            self.client.stopped.set()
            pool.shutdown(wait=True, cancel_futures=True)


def judge(
    benchmark: Benchmark, samples: Sequence[Sample], predictions: dict[str, str], settings: Settings
) -> list[dict[str, Any]]:
    """Judge every answer in every run; rows are ordered by run and sample whatever order the answers came in."""
    from tqdm import tqdm

    tasks = tasks_of(samples, predictions, settings.runs)
    order = {(task.run, task.sample.sample_id): place for place, task in enumerate(tasks)}
    rows: list[dict[str, Any]] = []
    with closing(Judging(benchmark, settings).all(tasks)) as verdicts:
        for row in tqdm(verdicts, total=len(tasks), unit="verdict", disable=None):
            rows.append(row)
            if len(rows) >= HOPELESS and all(row["verdict"] is None for row in rows):
                break
    check_readable(benchmark, rows, settings)
    return sorted(rows, key=lambda row: order[row["run"], row["sample_id"]])


def check_readable(benchmark: Benchmark, rows: Sequence[Mapping[str, Any]], settings: Settings) -> None:
    """Raise ValueError if more verdicts are unreadable than the settings allow: that says nothing about the answers."""
    unreadable = [row for row in rows if row["verdict"] is None]
    if len(unreadable) <= settings.unreadable * len(rows):
        return
    example = printable(unreadable[0]["content"])
    raise ValueError(
        f"{benchmark.name}: {len(unreadable)} of {len(rows)} verdicts of the judge {settings.model} at "
        f"{settings.base_url.rsplit('@', 1)[-1]} could not be read, after {unreadable[0]['tries']} tries each, more than the "
        f"{settings.unreadable:.3g} that judge.unreadable (--unreadable) allows; one reply is "
        f"{repr(example) if example else 'empty'}. Choose a judge.model (--model) that keeps to the format and run again "
        "(what could be read is kept), or allow more: such answers are left out of the score"
    )


def read_judgements(benchmark: Benchmark, paths: Sequence[Path]) -> dict[str, list[list[float] | None]]:
    """Verdicts of all runs by sample id, from judge_answers.py or from the official evaluators' files.

    Those are MM-Vet's grades (one JSON object, a list of scores for each question) and LLaVA's reviews (JSON lines, one
    file a run).
    """
    collected: dict[str, list[tuple[tuple[int, int], list[float] | None]]] = defaultdict(list)
    for number, path in enumerate(paths):
        for sample_id, run, verdict in rows_of_judgements(benchmark, path):
            collected[sample_id].append(((number, run), verdict))
    return {
        sample_id: [verdict for _, verdict in sorted(rows, key=lambda row: row[0])]
        for sample_id, rows in collected.items()
    }


def rows_of_judgements(benchmark: Benchmark, path: Path) -> Iterator[tuple[str, int, list[float] | None]]:
    """Sample id, run and verdict of every row of one file."""
    from himap.benchmarks.samples.files import read_jsonl

    if path.suffix == ".json":
        for sample_id, grade in read_json(path).items():
            yield from ((sample_id, run, [float(score)]) for run, score in enumerate(grade["score"], start=1))
        return
    protocol = protocol_of(benchmark)
    for number, row in read_jsonl(path):
        sample_id = row.get("sample_id", row.get("question_id"))
        if sample_id is None or not {"verdict", "content"} & set(row):
            raise ValueError(f"{path}, line {number}: needs sample_id and verdict (or question_id and content)")
        verdict = row["verdict"] if "verdict" in row else protocol.parse(row["content"])
        yield str(sample_id), int(row.get("run", 1)), verdict
