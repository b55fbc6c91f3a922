"""A judge on loopback that speaks the chat-completions protocol and can be told to misbehave."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

KEY = "sk-secret-of-the-test"
Reply = tuple[int, dict[str, str], bytes]


def completion(content: str | None, model: str = "judge-0613") -> Reply:
    """A proper reply with this text."""
    message = {"role": "assistant", "content": content}
    choice = {"index": 0, "message": message, "finish_reason": "stop"}
    usage = {"prompt_tokens": 9, "completion_tokens": 3, "total_tokens": 12}
    body = {
        "id": "c",
        "object": "chat.completion",
        "created": 1,
        "model": model,
        "choices": [choice],
        "usage": usage,
    }
    return 200, {"Content-Type": "application/json"}, json.dumps(body).encode()


def failure(status: int, **headers: str) -> Reply:
    """An error as such endpoints send it."""
    body = json.dumps({"error": {"message": f"no, {KEY} will not do", "type": "t", "code": str(status)}}).encode()
    return status, {"Content-Type": "application/json", **headers}, body


@dataclass
class Judge:
    """What was asked, and how to answer: `behave` gets the request and its number, counted from 1; `raw` gives bare bytes."""

    url: str = ""
    behave: Callable[[dict[str, Any], int], Reply] = lambda request, number: completion("0.5")
    raw: Callable[[], Iterable[bytes]] | None = None
    requests: list[dict[str, Any]] = field(default_factory=list)
    headers: list[dict[str, str]] = field(default_factory=list)
    under_way: int = 0
    most_under_way: int = 0
    delay: float = 0.0
    lock: threading.Lock = field(default_factory=threading.Lock)

    def __post_init__(self) -> None:
        judge = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                request = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                with judge.lock:
                    judge.requests.append({"path": self.path, **request})
                    judge.headers.append({name.lower(): value for name, value in self.headers.items()})
                    number = len(judge.requests)
                    judge.under_way += 1
                    judge.most_under_way = max(judge.most_under_way, judge.under_way)
                if judge.raw is not None:
                    with suppress(OSError):  # the client is gone
                        for piece in judge.raw():
                            self.wfile.write(piece)
                    self.close_connection = True
                    return
                time.sleep(judge.delay)
                status, headers, body = judge.behave(request, number)
                with judge.lock:
                    judge.under_way -= 1
                try:
                    self.send_response(status)
                    for name, value in headers.items():
                        self.send_header(name.replace("_", "-"), value)
                    self.send_header("Content-Length", str(len(body)))
                    self.end_headers()
                    self.wfile.write(body)
                except OSError:
                    """The client is gone."""

            def log_message(self, *arguments: Any) -> None:
                """Keep the test's output clean."""

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self.server.server_port}/v1"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()
