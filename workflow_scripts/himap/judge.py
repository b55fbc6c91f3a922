"""Grading answers with a language model behind any OpenAI-compatible endpoint, paying for no verdict twice."""

from __future__ import annotations

import hashlib
import json
import os
import random
import threading
from collections import defaultdict
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from himap.benchmarks import Benchmark, JudgeProtocol, Sample
from himap.files import read_json, write_json
from himap.journal import held

KEYS = ("HIMAP_JUDGE_API_KEY", "OPENAI_API_KEY")
RETRIED = (408, 409, 425, 429)  # and every 5xx
LETTERS_PER_TOKEN = 4
LONGEST_PAUSE = 60.0


@dataclass(frozen=True)
class Settings:
    """Where the judge is and how patiently it is asked; the key comes from the environment alone."""

    base_url: str
    model: str
    runs: int
    cache: Path
    concurrency: int = 8
    timeout: float = 120.0  # seconds for one request
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
    """Answers on disk, one file each, named by the hash of endpoint, run and the full request."""

    def __init__(self, folder: Path, base_url: str) -> None:
        self.folder, self.base_url = folder, base_url

    def path(self, request: dict[str, Any], run: int) -> Path:
        """Where the answer to a request is kept."""
        whole = json.dumps([self.base_url, run, request], sort_keys=True, ensure_ascii=False)
        key = hashlib.sha256(whole.encode()).hexdigest()
        return self.folder / key[:2] / f"{key}.json"

    def get(self, path: Path) -> dict[str, Any] | None:
        """The kept answer; a damaged file counts as none."""
        try:
            kept = read_json(path)
        except (ValueError, FileNotFoundError):
            return None
        return kept if isinstance(kept, dict) and isinstance(kept.get("content"), str) else None

    def put(self, path: Path, request: dict[str, Any], run: int, reply: dict[str, Any]) -> None:
        """Keep an answer durably before anything is done with it."""
        write_json(path, {**reply, "run": run, "request": request})


def workload(
    benchmark: Benchmark, samples: Sequence[Sample], predictions: dict[str, str], settings: Settings
) -> Workload:
    """How much judging these answers will send and may receive."""
    protocol, cache = protocol_of(benchmark), Cache(settings.cache, settings.base_url)
    letters = requests = cached = 0
    for task in tasks_of(samples, predictions, settings.runs):
        request = request_of(protocol, task, settings.model)
        if cache.get(cache.path(request, task.run)) is not None:
            cached += 1
        else:
            requests += 1
            letters += sum(len(message["content"]) for message in request["messages"])
    return Workload(requests, cached, letters // LETTERS_PER_TOKEN, requests * protocol.max_tokens)


def api_key() -> str:
    """The judge's key from the environment."""
    for name in KEYS:
        if value := os.environ.get(name):
            return value
    raise ValueError(f"no key for the judge: set {' or '.join(KEYS)} (to anything if the endpoint needs none)")


@dataclass
class Client:
    """Asks one endpoint, patiently: repeats what may pass, stops at what will not."""

    settings: Settings
    key: str = field(repr=False)
    stopped: threading.Event = field(default_factory=threading.Event)

    def __post_init__(self) -> None:
        from openai import OpenAI

        self.openai = OpenAI(
            base_url=self.settings.base_url, api_key=self.key, timeout=self.settings.timeout, max_retries=0
        )

    def ask(self, request: dict[str, Any]) -> dict[str, Any]:
        """The judge's text and the model that gave it, after as many attempts as are allowed."""
        problem = ""
        for attempt in range(1, self.settings.attempts + 1):
            if self.stopped.is_set():
                raise ValueError("stopped")
            try:
                return self.once(request)
            except Passing as error:
                problem = self.hide_key(str(error))
                if attempt < self.settings.attempts:
                    self.stopped.wait(error.wait if error.wait is not None else self.pause(attempt))
        raise ValueError(f"the judge at {self.place()} did not answer in {self.settings.attempts} attempts ({problem})")

    def once(self, request: dict[str, Any]) -> dict[str, Any]:
        """One attempt; what may be repeated is raised as Passing, the rest as an error that says what to do."""
        import openai

        try:
            reply = self.openai.chat.completions.create(**request)
        except openai.APIStatusError as error:
            if error.status_code in RETRIED or error.status_code >= 500:
                raise Passing(f"status {error.status_code}", retry_after(error.response.headers)) from error
            advice = "check the key" if error.status_code in (401, 403) else "check --base-url and --model"
            reason = self.hide_key(" ".join(str(error).split())[:200])
            raise ValueError(f"the judge at {self.place()} refused: {reason}; {advice}") from error
        except openai.APITimeoutError as error:
            raise Passing(f"no answer within {self.settings.timeout:g} s") from error
        except (openai.APIError, json.JSONDecodeError) as error:
            raise Passing(f"{type(error).__name__}: {error}") from error
        return read_reply(reply)

    def pause(self, attempt: int) -> float:
        """Seconds before the next attempt: doubling, with some chance so that many clients do not come at once."""
        return min(LONGEST_PAUSE, self.settings.pause * 2 ** (attempt - 1)) * random.uniform(0.5, 1.0)

    def hide_key(self, text: str) -> str:
        """A message without the key, in case an endpoint repeats it."""
        return text.replace(self.key, "***")

    def place(self) -> str:
        """The endpoint for messages, without user name and password."""
        return self.settings.base_url.rsplit("@", 1)[-1]


class Passing(Exception):
    """A failure that may be gone at the next attempt; `wait` is what the server asked for, in seconds."""

    def __init__(self, reason: str, wait: float | None = None) -> None:
        super().__init__(reason)
        self.wait = wait


def retry_after(headers: Any) -> float | None:
    """The pause a server asks for, if it is a bearable number of seconds."""
    try:
        return min(LONGEST_PAUSE, max(0.0, float(headers["retry-after"])))
    except (KeyError, ValueError):
        return None


def read_reply(reply: Any) -> dict[str, Any]:
    """Text and model of a reply; something that is not a chat completion is worth another attempt."""
    try:
        content = reply.choices[0].message.content
    except (AttributeError, IndexError, TypeError) as error:
        raise Passing("a malformed reply") from error
    if content is not None and not isinstance(content, str):
        raise Passing("a malformed reply")
    return {"content": content or "", "model": str(getattr(reply, "model", "") or "")}


class Judging:
    """Judges tasks concurrently, each request through the cache."""

    def __init__(self, benchmark: Benchmark, settings: Settings) -> None:
        self.protocol, self.settings = protocol_of(benchmark), settings
        self.cache = Cache(settings.cache, settings.base_url)
        self.client = Client(settings, api_key())
        self.locks: dict[Path, threading.Lock] = defaultdict(threading.Lock)
        self.guard = threading.Lock()
        self.problem: BaseException | None = None

    def reply(self, request: dict[str, Any], run: int) -> dict[str, Any]:
        """The answer to a request, from the cache or from the judge; equal ones, of any process, wait for one another."""
        path = self.cache.path(request, run)
        with self.guard:
            lock = self.locks[path]
        with lock:
            kept = self.cache.get(path)
            if kept is None:
                with held(path):
                    kept = self.cache.get(path)  # another process may have asked meanwhile
                    if kept is None:
                        kept = self.client.ask(request)
                        self.cache.put(path, request, run, kept)
        return kept

    def verdict(self, task: Task) -> dict[str, Any]:
        """One row of judgements; the first failure is remembered and keeps the other threads from sending more."""
        try:
            return self.tried(task)
        except BaseException as error:
            with self.guard:
                self.problem = self.problem or error
            self.client.stopped.set()
            raise

    def tried(self, task: Task) -> dict[str, Any]:
        """Tries until a verdict can be read or the protocol gives up."""
        for attempt in range(1, self.protocol.tries + 1):
            reply = self.reply(request_of(self.protocol, task, self.settings.model, attempt), task.run)
            parsed = self.protocol.parse(reply["content"])
            if parsed is not None:
                break
        row = {"sample_id": task.sample.sample_id, "run": task.run, "verdict": parsed, "tries": attempt}
        return {**row, "model": reply["model"], "content": reply["content"]}

    def all(self, tasks: Sequence[Task]) -> Iterator[dict[str, Any]]:
        """Verdicts as they come; the first failure stops everything, what was answered stays in the cache."""
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
    verdicts = tqdm(Judging(benchmark, settings).all(tasks), total=len(tasks), unit="verdict", disable=None)
    return sorted(verdicts, key=lambda row: order[row["run"], row["sample_id"]])


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
    from himap.benchmarks._files import read_jsonl

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
