"""Whether the judge answers and its verdict can be read: one question per judged benchmark, about an answer made up here."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from himap.benchmarks import get as benchmark_named
from himap.benchmarks._base import JudgeProtocol, Sample
from himap.workflow.plan.plan import Plan
from himap.workflow.preflight.findings import Finding, tried

JUDGE = "Judge"
ATTEMPTS, SECONDS = 2, 60.0
SAMPLE = Sample(  # with every field that a judged benchmark's request is made from
    "check",
    "What color is the ball?",
    references=["red"],
    metadata={"caption": "A red ball lies on green grass.", "category": "conv", "capability": "rec"},
)


def judge(plan: Plan) -> Iterator[Finding]:
    """Yield whether a verdict comes back for each judged benchmark of the config."""
    judged = [name for name in plan.config.benchmarks if plan.judged(name)]
    if plan.config.judge is None:
        if judged:
            words = f"none is set, so {', '.join(judged)} will be answered but not scored"
            yield Finding(JUDGE, "judge", None, words, "set `judge` in the config if you want their scores")
        return
    for name in judged:
        yield tried(JUDGE, name, lambda name=name: verdict(plan, name), "see docs/benchmarks.md, section on the judge")  # type: ignore[misc]


def verdict(plan: Plan, benchmark: str) -> Finding:
    """Ask the judge once; return whether its reply holds a verdict."""
    from himap.judging.endpoint import Client, address_problem, api_key, printable
    from himap.judging.requests import Settings, Task, protocol_of, request_of

    entry = plan.config.judge
    assert entry is not None
    if problem := address_problem(entry.base_url):
        raise ValueError(f"judge.base_url: {problem}")
    protocol: JudgeProtocol = protocol_of(benchmark_named(benchmark))
    model = entry.model or protocol.default_model
    # One run, few attempts: a check should be cheap and not wait for minutes.
    settings = Settings(entry.base_url, model, 1, Path(entry.cache), timeout=SECONDS, attempts=ATTEMPTS)
    request = request_of(protocol, Task(SAMPLE, "The ball is red.", 1), model)
    with ThreadPoolExecutor(1) as alone:  # the client starts an event loop, and this thread may have one already
        reply = alone.submit(Client(settings, api_key()).ask, request).result()
    scores = protocol.parse(reply["content"])
    if scores is None:
        words = f"{model} answers, but without a verdict that can be read: {printable(reply['content'], 80)!r}"
        return Finding(JUDGE, benchmark, False, words, "use a stronger judge: `judge.model` in the config")
    return Finding(
        JUDGE, benchmark, True, f"{reply['model'] or model} gave {', '.join(f'{score:g}' for score in scores)}"
    )
