"""Judging: the protocol's requests, patience with a failing endpoint, a durable cache, unreadable verdicts."""

from __future__ import annotations

import gzip
import itertools
import json
import os
import resource
import signal
import stat
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from benchmark_runs import one_error_line, prepare_in_process, run_script, write_predictions
from himap import benchmarks
from himap.judging.judgements import read_judgements
from himap.judging.requests import Settings, workload
from himap.judging.verdicts import judge as run_judge
from hub_fixtures import MAKERS, Fixture
from loopback_judge import KEY, Judge, completion, failure

PATIENT = ("--pause", "0.01", "--timeout", "20")


@pytest.fixture(name="mmvet")
def make_mmvet(tmp_path: Path) -> Path:
    """A folder with MM-Vet's samples and answers to them."""
    return answered(MAKERS["mmvet"](), tmp_path)


def answered(fixture: Fixture, folder: Path) -> Path:
    """samples.parquet and predictions.jsonl of a fixture."""
    ids = [one.sample_id for one in benchmarks.read_samples(prepare_in_process(fixture, folder), [])]
    write_predictions(folder / "predictions.jsonl", ids, fixture.answers)
    return folder


def arguments(folder: Path, judge: Judge, *more: object, name: str = "mmvet") -> list[object]:
    """Options of judge_answers.py."""
    files = ["--samples", folder / "samples.parquet", "--predictions", folder / "predictions.jsonl"]
    where = ["--out", folder / "judgements.jsonl", "--base-url", judge.url, "--cache-dir", folder / "cache"]
    return ["--benchmark", name, *files, *where, *PATIENT, *more]


def judged(folder: Path, judge: Judge, *more: object, name: str = "mmvet") -> subprocess.CompletedProcess[str]:
    """judge_answers.py, which has to succeed."""
    done = run_script("judge_answers.py", *arguments(folder, judge, *more, name=name))
    assert done.returncode == 0, done.stderr
    return done


def rows(folder: Path) -> list[dict[str, Any]]:
    """judgements.jsonl"""
    return [json.loads(line) for line in (folder / "judgements.jsonl").read_text().splitlines()]


def score(folder: Path, *judgements: Path, name: str = "mmvet") -> dict[str, Any]:
    """score.json of judged answers."""
    files = ["--samples", folder / "samples.parquet", "--predictions", folder / "predictions.jsonl"]
    given = judgements or (folder / "judgements.jsonl",)
    done = run_script(
        "score_predictions.py", "--benchmark", name, *files, "--judgements", *given, "--out", folder / "score.json"
    )
    assert done.returncode == 0, done.stderr
    return json.loads((folder / "score.json").read_text())


def by_prediction(verdicts: dict[str, str]) -> Any:
    """A judge that answers by which prediction it is shown."""

    def behave(request: dict[str, Any], number: int) -> Any:
        text = request["messages"][-1]["content"]
        return completion(next(verdict for answer, verdict in verdicts.items() if answer in text))

    return behave


def test_mmvet_from_answers_to_score(mmvet: Path, judge: Judge):
    judge.behave = by_prediction(
        {"| x = -1 | \n": "no", "What is x? | -1 <AND> -5 | x = -1 | ": "0.5", "a kitten |": "1.0", "| ha |": "Good"}
    )
    judged(mmvet, judge, "--runs", 2, "--unreadable", 0.4)
    result = score(mmvet)
    assert result["headline"] == pytest.approx(75.0)
    assert result["n"] == 2
    assert result["scores"]["run_1"] == result["scores"]["run_2"] == pytest.approx(75.0)
    assert {name: result["scores"].get(name) for name in ("rec", "ocr", "know")} == {
        "rec": 100,
        "ocr": 50,
        "know": None,
    }
    assert (result["scores"]["unreadable"], result["scores"]["verdicts"]) == (2, 6)
    assert [(row["sample_id"], row["run"]) for row in rows(mmvet)] == [
        (f"v1_{at}", run) for run in (1, 2) for at in range(3)
    ]


def test_mmvet_is_asked_as_the_official_evaluator_asks(mmvet: Path, judge: Judge):
    judged(mmvet, judge, "--runs", 1)
    first = next(one for one in judge.requests if one["messages"][0]["content"].endswith("| x = -1 | "))
    assert first["path"] == "/v1/chat/completions"
    assert (first["model"], first["temperature"], first["max_tokens"]) == ("gpt-4-0613", 0.0, 3)
    assert [message["role"] for message in first["messages"]] == ["user"]
    lines = first["messages"][0]["content"].split("\n")
    assert lines[0].endswith("Just complete the last space of the correctness score.")
    assert lines[1:4] == ["", "Question | Ground truth | Prediction | Correctness", "--- | --- | --- | ---"]
    assert lines[4] == "What is x in the equation? | -1 <AND> -5 | x = 3 | 0.0"
    assert [line.rsplit(" | ", 1)[1] for line in lines[4:11]] == ["0.0", "0.5", "0.5", "0.5", "1.0", "0.4", "1.0"]
    assert lines[11:] == ["", "What is x? | -1 <AND> -5 | x = -1 | "]


def test_an_unreadable_grade_is_asked_for_again_hotter_and_with_a_reminder(mmvet: Path, judge: Judge):
    judge.behave = lambda request, number: completion("well" if request["temperature"] < 1.5 else "0.7")
    judged(mmvet, judge, "--runs", 1)
    assert Counter(one["temperature"] for one in judge.requests) == {0.0: 3, 0.5: 3, 1.0: 3, 1.5: 3}
    reminded = [one["messages"][0]["content"].endswith("(digit): ") for one in judge.requests if one["temperature"] > 0]
    assert reminded == [True] * 9
    assert {(row["tries"], row["verdict"][0]) for row in rows(mmvet)} == {(4, 0.7)}


def test_a_judge_whose_replies_cannot_be_read_is_an_error_and_not_a_zero(mmvet: Path, judge: Judge):
    judge.behave = lambda request, number: completion("well, \x1b[31m it depends")
    message = one_error_line(run_script("judge_answers.py", *arguments(mmvet, judge, "--runs", 1)))
    assert f"mmvet: 3 of 3 verdicts of the judge gpt-4-0613 at {judge.url} could not be read" in message
    assert "after 5 tries each" in message
    assert "one reply is 'well, [31m it depends'" in message
    assert "--unreadable" in message
    assert len(judge.requests) == 15
    assert not (mmvet / "judgements.jsonl").exists()


def test_after_twenty_verdicts_without_a_readable_one_no_more_are_paid_for(mmvet: Path, judge: Judge):
    judge.behave = lambda request, number: completion("")
    message = one_error_line(run_script("judge_answers.py", *arguments(mmvet, judge, "--runs", 30, "--concurrency", 2)))
    assert "20 of 20 verdicts" in message
    assert "one reply is empty" in message
    assert len(judge.requests) < 30 * 3 * 5 / 2


def test_only_readable_verdicts_are_kept_and_old_unreadable_ones_are_asked_for_again(mmvet: Path, judge: Judge):
    judge.behave = lambda request, number: completion("0.5" if "a cat" in request["messages"][0]["content"] else "")
    assert run_script("judge_answers.py", *arguments(mmvet, judge, "--runs", 1)).returncode == 1
    kept = list((mmvet / "cache").rglob("*.json"))
    assert [json.loads(path.read_text())["content"] for path in kept] == ["0.5"]
    kept[0].write_text(kept[0].read_text().replace('"content": "0.5"', '"content": ""'))  # as versions before this kept
    before = len(judge.requests)
    judge.behave = lambda request, number: completion("0.7")
    judged(mmvet, judge, "--runs", 1)
    assert len(judge.requests) - before == 3
    assert score(mmvet)["headline"] == pytest.approx(70.0)


def test_a_verdict_of_a_later_try_is_not_paid_for_twice(mmvet: Path, judge: Judge):
    judge.behave = lambda request, number: completion("well" if request["temperature"] < 1 else "0.7")
    judged(mmvet, judge, "--runs", 1)
    first = (mmvet / "judgements.jsonl").read_bytes()
    judged(mmvet, judge, "--runs", 1)
    assert len(judge.requests) == 9
    assert (mmvet / "judgements.jsonl").read_bytes() == first


def test_unreadable_verdicts_within_the_share_are_left_out_and_said(mmvet: Path, judge: Judge):
    judge.behave = lambda request, number: completion("1.0" if "a cat" in request["messages"][0]["content"] else "?")
    done = judged(mmvet, judge, "--runs", 1, "--unreadable", "0.67")
    assert "3 verdicts, 2 unreadable (left out of the score)" in done.stdout
    result = score(mmvet)
    assert (result["headline"], result["n"]) == (100.0, 1)
    before = pd.read_parquet(mmvet / "per_sample.parquet")
    after = before.assign(score=[0.25, 0.75, 0.5])
    compared = benchmarks.compare(benchmarks.get("mmvet"), before, after)  # on the one answer that both have
    assert compared.difference == pytest.approx(100 * (after["score"][before["score"].notna()].item() - 1))


def test_llavabench_from_answers_to_score(tmp_path: Path, judge: Judge):
    fixture = MAKERS["llavabench"]()
    folder = answered(fixture, tmp_path)
    judge.behave = by_prediction(
        {
            f"[Assistant 2]\n{answer}\n": verdict
            for answer, verdict in zip(fixture.answers, fixture.verdicts, strict=True)
        }
    )
    judged(folder, judge, "--unreadable", 0.4, name="llavabench")
    assert len(judge.requests) == 3 * 2 + 3 * 3  # an unreadable one is asked for three times
    result = score(folder, name="llavabench")
    assert result["headline"] == pytest.approx(76.5)
    expected = fixture.scores | {"unreadable": 3.0}
    assert {name: result["scores"][name] for name in expected} == pytest.approx(expected)


def test_llavabench_is_asked_in_the_evaluators_sections(tmp_path: Path, judge: Judge):
    folder = answered(MAKERS["llavabench"](), tmp_path)
    judge.behave = lambda request, number: completion("8 7")
    judged(folder, judge, "--runs", 1, name="llavabench")
    first = next(one for one in judge.requests if "\nSea.\n" in one["messages"][1]["content"])
    assert (first["model"], first["temperature"], first["max_tokens"]) == ("gpt-4-0314", 0.2, 1024)
    assert first["messages"][0]["role"] == "system"
    text = first["messages"][1]["content"]
    assert text.startswith(
        "[Context]\nA hill by the sea.\n\n[Question]\nDescribe it.\n\n[Assistant 1]\nA hill.\n\n[End of Assistant 1]\n\n"
        "[Assistant 2]\nSea.\n\n[End of Assistant 2]\n\n[System]\nWe would like to request your feedback"
    )
    assert text.endswith("does not affect your judgment.\n\n")


def test_it_says_beforehand_how_much_it_will_send(mmvet: Path, judge: Judge):
    done = judged(mmvet, judge, "--runs", 3, "--estimate-only")
    assert judge.requests == []
    assert not (mmvet / "judgements.jsonl").exists()
    assert "9 requests (0 more are in the cache)" in done.stdout
    assert "at most 27 to receive" in done.stdout
    judged(mmvet, judge, "--runs", 2)
    assert "3 requests (6 more are in the cache)" in judged(mmvet, judge, "--runs", 3, "--estimate-only").stdout


def test_the_estimate_of_tokens_is_the_right_size(mmvet: Path, judge: Judge):
    samples = list(benchmarks.read_samples(mmvet / "samples.parquet"))
    settings = Settings(base_url=judge.url, model="m", runs=1, cache=mmvet / "cache")
    load = workload(benchmarks.get("mmvet"), samples, {"v1_0": "x = -1"}, settings)
    assert load.requests == 1
    assert 500 < load.tokens_to_send < 900  # the official prompt has about 700 tokens


def test_a_repeated_run_sends_nothing(mmvet: Path, judge: Judge):
    judged(mmvet, judge, "--runs", 2)
    first = (mmvet / "judgements.jsonl").read_bytes()
    judged(mmvet, judge, "--runs", 2)
    assert len(judge.requests) == 6
    assert (mmvet / "judgements.jsonl").read_bytes() == first


@pytest.mark.parametrize("change", [["--model", "other"], ["--runs", "3"]])
def test_another_model_or_a_further_run_is_asked_anew(change: list[str], mmvet: Path, judge: Judge):
    judged(mmvet, judge, "--runs", 2)
    before = len(judge.requests)
    judged(mmvet, judge, "--runs", 2, *change)
    assert len(judge.requests) - before == (6 if change[0] == "--model" else 3)


def test_a_changed_answer_is_asked_anew(mmvet: Path, judge: Judge):
    judged(mmvet, judge, "--runs", 1)
    write_predictions(mmvet / "predictions.jsonl", ["v1_0", "v1_1", "v1_2"], ["x = -1", "a dog", "ha"])
    judged(mmvet, judge, "--runs", 1)
    assert len(judge.requests) == 4


def test_equal_requests_are_paid_for_once(tmp_path: Path, judge: Judge):
    fixture = MAKERS["mmvet"]()
    fixture.rows[1]["answer"] = fixture.rows[0]["answer"]
    folder = answered(Fixture(fixture.benchmark, fixture.types, fixture.rows, ["x"] * 3, None), tmp_path)
    judge.delay = 0.2
    judged(folder, judge, "--runs", 1)
    assert len(judge.requests) == 2
    assert len(rows(folder)) == 3


def test_a_damaged_cache_file_is_asked_for_again(mmvet: Path, judge: Judge):
    judged(mmvet, judge, "--runs", 1)
    kept = sorted((mmvet / "cache").rglob("*.json"))
    kept[0].write_text('{"content": "0.')
    judged(mmvet, judge, "--runs", 1)
    assert len(judge.requests) == 4


@pytest.mark.parametrize(
    "bad",
    [
        failure(429),
        failure(429, Retry_After="0.01"),
        failure(500),
        failure(503),
        (200, {"Content-Type": "application/json"}, b'{"choices": ['),
        (200, {"Content-Type": "application/json"}, b"{}"),
        (200, {"Content-Type": "application/json"}, b'{"choices": []}'),
        (200, {"Content-Type": "application/json"}, b'{"choices": [{"message": {"content": 5}}]}'),
        (200, {"Content-Type": "text/html"}, b"<html>down</html>"),
    ],
)
def test_a_passing_failure_is_tried_again(bad: Any, mmvet: Path, judge: Judge):
    judge.behave = lambda request, number: bad if number <= 4 else completion("0.5")
    judged(mmvet, judge, "--runs", 1, "--concurrency", 2)
    assert len(judge.requests) == 7
    assert score(mmvet)["headline"] == pytest.approx(50.0)


def test_a_hanging_request_is_given_up_and_tried_again(mmvet: Path, judge: Judge):
    def behave(request: dict[str, Any], number: int) -> Any:
        if number == 1:
            time.sleep(60)
        return completion("0.5")

    judge.behave = behave
    start = time.monotonic()
    judged(mmvet, judge, "--runs", 1, "--timeout", "3", "--concurrency", 1)
    assert len(judge.requests) == 4
    assert time.monotonic() - start < 55


def test_the_pause_that_a_server_asks_for_is_kept(mmvet: Path, judge: Judge):
    arrived: list[float] = []

    def behave(request: dict[str, Any], number: int) -> Any:
        arrived.append(time.monotonic())
        return failure(429, Retry_After="0.7") if number == 1 else completion("0.5")

    judge.behave = behave
    judged(mmvet, judge, "--runs", 1, "--concurrency", 1)
    assert arrived[1] - arrived[0] >= 0.7


def test_an_endpoint_that_stays_down_ends_the_run_and_what_was_paid_for_is_kept(mmvet: Path, judge: Judge):
    judge.behave = lambda request, number: completion("0.5") if number == 1 else failure(500)
    done = run_script("judge_answers.py", *arguments(mmvet, judge, "--runs", 1, "--concurrency", 1, "--attempts", 3))
    message = one_error_line(done)
    assert f"the judge at {judge.url} did not answer in 3 attempts (status 500)" in message
    assert not (mmvet / "judgements.jsonl").exists()
    judge.behave = lambda request, number: completion("0.5")
    before = len(judge.requests)
    judged(mmvet, judge, "--runs", 1)
    assert len(judge.requests) - before == 2


@pytest.mark.parametrize(
    ("status", "advice"), [(401, "check the key"), (404, "check --base-url and --model"), (400, "check --base-url")]
)
def test_a_refusal_is_not_tried_again(status: int, advice: str, mmvet: Path, judge: Judge):
    judge.behave = lambda request, number: failure(status)
    done = run_script("judge_answers.py", *arguments(mmvet, judge, "--runs", 1, "--concurrency", 1))
    message = one_error_line(done)
    assert advice in message
    assert len(judge.requests) == 1


def test_an_endpoint_where_nobody_listens(mmvet: Path, judge: Judge):
    judge.url = "http://user:password@127.0.0.1:9/v1"
    message = one_error_line(run_script("judge_answers.py", *arguments(mmvet, judge, "--runs", 1, "--attempts", 2)))
    assert "the judge at 127.0.0.1:9/v1 did not answer in 2 attempts" in message


def test_the_key_is_sent_and_never_shown_or_written(mmvet: Path, judge: Judge):
    done = judged(mmvet, judge, "--runs", 1)
    assert {headers["authorization"] for headers in judge.headers} == {f"Bearer {KEY}"}
    judge.behave = lambda request, number: failure(401)
    failed = run_script("judge_answers.py", *arguments(mmvet, judge, "--runs", 2))
    assert failed.returncode == 1
    assert "***" in failed.stderr
    files = b"".join(path.read_bytes() for path in mmvet.rglob("*") if path.is_file())
    assert KEY not in done.stdout + done.stderr + failed.stdout + failed.stderr
    assert KEY.encode() not in files


def test_without_a_key_it_says_which_variable_to_set(mmvet: Path, judge: Judge, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.delenv("HIMAP_JUDGE_API_KEY")
    message = one_error_line(run_script("judge_answers.py", *arguments(mmvet, judge)))
    assert "set HIMAP_JUDGE_API_KEY or OPENAI_API_KEY" in message
    monkeypatch.setenv("OPENAI_API_KEY", "another")
    judged(mmvet, judge, "--runs", 1)
    assert judge.headers[0]["authorization"] == "Bearer another"


def test_a_key_that_the_endpoint_repeats_is_masked_wherever_it_comes(mmvet: Path, judge: Judge):
    judge.behave = lambda request, number: completion(f"0.5 by {KEY}", model=f"judge of {KEY}")
    done = judged(mmvet, judge, "--runs", 1)
    judge.behave = lambda request, number: completion(f"{'long ' * 38}{KEY}")  # cut in the middle of the key
    unreadable = run_script("judge_answers.py", *arguments(mmvet, judge, "--runs", 2))
    escaped = json.dumps({"error": {"message": "bad " + KEY}}).replace("-", "\\u002d").encode()
    judge.behave = lambda request, number: (400, {}, escaped)
    refused = run_script("judge_answers.py", *arguments(mmvet, judge, "--runs", 2))
    judge.behave = lambda request, number: (307, {"Location": f"http://elsewhere/?key={KEY}"}, b"")
    redirected = run_script("judge_answers.py", *arguments(mmvet, judge, "--runs", 2))
    judge.behave = lambda request, number: (200, {}, f"<p>{KEY}</p>".encode())
    broken = run_script("judge_answers.py", *arguments(mmvet, judge, "--runs", 2, "--attempts", 1))
    shown = "".join(one.stdout + one.stderr for one in (done, unreadable, refused, redirected, broken))
    files = b"".join(path.read_bytes() for path in mmvet.rglob("*") if path.is_file())
    assert [one.returncode for one in (unreadable, refused, redirected, broken)] == [1, 1, 1, 1]
    assert "bad ***" in refused.stderr
    assert "a redirect to http://elsewhere/?key=***" in redirected.stderr
    assert "<p>***</p>" in broken.stderr
    assert b"0.5 by ***" in files
    assert KEY[:10] not in shown
    assert KEY.encode() not in files


def test_a_placeholder_instead_of_a_key_garbles_no_verdict(mmvet: Path, judge: Judge, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("HIMAP_JUDGE_API_KEY", "0")
    judged(mmvet, judge, "--runs", 1)
    assert score(mmvet)["headline"] == pytest.approx(50.0)


def test_a_key_that_cannot_be_sent_is_refused_without_showing_it(
    mmvet: Path, judge: Judge, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("HIMAP_JUDGE_API_KEY", "sk-one\nsk-two")
    message = one_error_line(run_script("judge_answers.py", *arguments(mmvet, judge)))
    assert "the judge's key in HIMAP_JUDGE_API_KEY holds a blank, a line break" in message
    assert "sk-" not in message


def test_the_cache_is_for_this_user_alone(mmvet: Path, judge: Judge):
    old = mmvet / "cache" / "ab"  # as an earlier version made it
    old.mkdir(parents=True)
    judged(mmvet, judge, "--runs", 1)
    modes = {path: stat.S_IMODE(path.stat().st_mode) for path in [mmvet / "cache", *(mmvet / "cache").rglob("*")]}
    assert {mode for path, mode in modes.items() if path.is_dir()} == {0o700}
    assert {mode for path, mode in modes.items() if path.is_file()} == {0o600}


@pytest.mark.parametrize(
    ("body", "problem"),
    [
        (b'{"choices": [{"message": {"content": "0.5\xff"}}]}', 'a reply that is not UTF-8: \'{"choices"'),
        (b"<html>down</html>", "a reply that is not JSON: '<html>down</html>'"),
        (b"[" * 100_000, "a reply that is not JSON: '[[["),
        (b'["0.5"]', "a malformed reply: JSON, but no chat completion"),
    ],
)
def test_a_reply_that_is_no_completion_is_named_with_the_judges_address(
    body: bytes, problem: str, mmvet: Path, judge: Judge
):
    judge.behave = lambda request, number: (200, {"Content-Type": "application/json"}, body)
    message = one_error_line(run_script("judge_answers.py", *arguments(mmvet, judge, "--attempts", 2)))
    assert f"the judge at {judge.url} did not answer in 2 attempts ({problem}" in message


def test_half_a_surrogate_pair_in_a_reply_is_stored_as_text(mmvet: Path, judge: Judge):
    judge.behave = lambda request, number: completion("0.5 \ud800")
    judged(mmvet, judge, "--runs", 1)
    assert {row["content"] for row in rows(mmvet)} == {"0.5 ?"}


@pytest.mark.parametrize("part", ["headers", "body", "refusal"])
def test_a_judge_that_sends_a_byte_now_and_then_is_given_up(part: str, mmvet: Path, judge: Judge):
    start = b"HTTP/1.1 200 OK\r\n" if part != "refusal" else b"HTTP/1.1 400 Bad Request\r\n"
    head = start + b"Content-Length: 1000\r\n\r\n"
    whole = start + b"X: " + b"x" * 1000 if part == "headers" else head + b" " * 1000
    quick = len(start) if part == "headers" else len(head)
    judge.raw = lambda: itertools.chain([whole[:quick]], slowly(whole[quick:], every=0.05))
    began = time.monotonic()
    more = ("--runs", 1, "--timeout", 0.5, "--attempts", 2)
    message = one_error_line(run_script("judge_answers.py", *arguments(mmvet, judge, *more)))
    assert f"the judge at {judge.url} did not answer in 2 attempts (no whole answer within 0.5 s)" in message
    assert time.monotonic() - began < 10


def slowly(data: bytes, every: float) -> Iterator[bytes]:
    """Yield single bytes with a pause before each."""
    for at in range(len(data)):
        time.sleep(every)
        yield data[at : at + 1]


@pytest.mark.parametrize("compressed", [False, True])
def test_a_huge_body_is_cut_off_and_not_held_in_memory(compressed: bool, mmvet: Path, judge: Judge):
    piece = gzip.compress(b" " * (1 << 20)) * 1000 if compressed else b" " * (1 << 20)
    head = b"HTTP/1.1 200 OK\r\n" + b"Content-Encoding: gzip\r\n" * compressed
    sent = Counter()

    def stream() -> Iterator[bytes]:
        yield head + b"Content-Length: 1000000000\r\n\r\n"
        for _ in range(1000):
            yield piece
            sent["bytes"] += len(piece)

    judge.raw = stream
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    more = ("--runs", 1, "--attempts", 1, "--concurrency", 3)
    message = one_error_line(run_script("judge_answers.py", *arguments(mmvet, judge, *more)))
    assert f"the judge at {judge.url} did not answer in 1 attempts (a reply of more than 4 MiB" in message
    assert sent["bytes"] < 200 << 20  # with what the system buffers
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 200 << 10  # KiB


@pytest.mark.parametrize("address", ["foo", "ftp://example.org/v1", "http:///v1", "http://a:b/v1", "https://a b/v1"])
def test_an_address_that_is_none_is_refused(address: str, mmvet: Path, judge: Judge):
    judge.url = address
    message = one_error_line(run_script("judge_answers.py", *arguments(mmvet, judge)))
    assert f"--base-url: {address!r} is not the address of an endpoint; write http:// or https://" in message


@pytest.mark.parametrize("concurrency", [1, 3])
def test_as_many_requests_as_allowed_are_under_way_and_no_more(concurrency: int, mmvet: Path, judge: Judge):
    all_there = threading.Event()

    def behave(request: dict[str, Any], number: int) -> Any:
        if judge.under_way == concurrency:
            all_there.set()
        all_there.wait(60)
        return completion("0.5")

    judge.behave = behave
    judged(mmvet, judge, "--runs", 3, "--concurrency", concurrency, "--timeout", 100)
    assert judge.most_under_way == concurrency


def test_a_killed_run_pays_for_nothing_twice(mmvet: Path, judge: Judge):
    judge.delay = 0.3
    script = Path(__file__).parents[2] / "workflow_scripts" / "judge_answers.py"
    command = [sys.executable, script, *arguments(mmvet, judge, "--runs", 8, "--concurrency", 2)]
    running = subprocess.Popen(
        [*map(str, command)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=dict(os.environ)
    )
    while len(list((mmvet / "cache").rglob("*.json"))) < 4:
        assert running.poll() is None
        time.sleep(0.02)
    running.send_signal(signal.SIGKILL)
    running.wait()
    kept = len(list((mmvet / "cache").rglob("*.json")))
    assert 4 <= kept < 24
    assert not (mmvet / "judgements.jsonl").exists()
    judge.delay, before = 0.0, len(judge.requests)
    judged(mmvet, judge, "--runs", 8)
    assert len(judge.requests) - before == 24 - kept
    assert len(rows(mmvet)) == 24


def test_two_processes_with_one_cache_pay_once(mmvet: Path, judge: Judge):
    judge.delay = 0.5
    script = Path(__file__).parents[2] / "workflow_scripts" / "judge_answers.py"
    outputs = [mmvet / name for name in ("one.jsonl", "two.jsonl")]
    more = ("--runs", 4, "--concurrency", 2)
    running = [
        subprocess.Popen([sys.executable, script, *map(str, arguments(mmvet, judge, *more, "--out", out))])
        for out in outputs
    ]
    assert [one.wait(120) for one in running] == [0, 0]
    assert len(judge.requests) == 12
    assert outputs[0].read_bytes() == outputs[1].read_bytes()
    assert list((mmvet / "cache").rglob("*.lock")) == []


def test_the_library_gives_the_same_rows_as_the_script(mmvet: Path, judge: Judge):
    judged(mmvet, judge, "--runs", 1)
    samples = list(benchmarks.read_samples(mmvet / "samples.parquet"))
    settings = Settings(base_url=judge.url, model="gpt-4-0613", runs=1, cache=mmvet / "elsewhere")
    answers = {"v1_0": "x = -1", "v1_1": "a cat", "v1_2": "ha"}
    assert run_judge(benchmarks.get("mmvet"), samples, answers, settings) == rows(mmvet)


def test_official_grades_of_mmvet_are_read(mmvet: Path):
    grades = {f"v1_{at}": {"model": ["gpt-4"] * 2, "content": ["0.5", "x"], "score": [0.5, at / 2]} for at in range(3)}
    (mmvet / "grade-2runs.json").write_text(json.dumps(grades))
    result = score(mmvet, mmvet / "grade-2runs.json")
    assert result["headline"] == pytest.approx(50.0)
    assert result["scores"]["run_2"] == pytest.approx(50.0)


def test_official_reviews_of_llavabench_are_read_one_file_a_run(tmp_path: Path):
    folder = answered(MAKERS["llavabench"](), tmp_path)
    contents = [["8 7", "9 6", "refused"], ["8 8", "9 9", "10 5"]]
    for run, given in enumerate(contents, start=1):
        lines = [json.dumps({"question_id": at, "content": text, "category": "x"}) for at, text in enumerate(given)]
        (folder / f"eval{run}.jsonl").write_text("\n".join(lines))
    result = score(folder, folder / "eval1.jsonl", folder / "eval2.jsonl", name="llavabench")
    assert (result["scores"]["run_1"], result["scores"]["run_2"]) == (76.5, 81.5)
    assert result["headline"] == pytest.approx(79.0)
    verdicts = read_judgements(benchmarks.get("llavabench"), [folder / "eval2.jsonl"])
    assert verdicts["2"] == [[10.0, 5.0]]


def test_answers_without_a_verdict_are_an_error(mmvet: Path, judge: Judge):
    judged(mmvet, judge, "--runs", 1)
    lines = (mmvet / "judgements.jsonl").read_text().splitlines()
    (mmvet / "judgements.jsonl").write_text("\n".join(lines[:2]))
    files = ["--samples", mmvet / "samples.parquet", "--predictions", mmvet / "predictions.jsonl"]
    asked = ["--benchmark", "mmvet", *files, "--judgements", mmvet / "judgements.jsonl", "--out", mmvet / "s.json"]
    message = one_error_line(run_script("score_predictions.py", *asked))
    assert "1 answers have no judgement (v1_2); run judge_answers.py again, it sends just these" in message


def test_runs_of_different_number_are_an_error(mmvet: Path, judge: Judge):
    judged(mmvet, judge, "--runs", 2)
    lines = (mmvet / "judgements.jsonl").read_text().splitlines()
    (mmvet / "judgements.jsonl").write_text("\n".join(lines[:5]))
    files = ["--samples", mmvet / "samples.parquet", "--predictions", mmvet / "predictions.jsonl"]
    asked = ["--benchmark", "mmvet", *files, "--judgements", mmvet / "judgements.jsonl", "--out", mmvet / "s.json"]
    assert "answers were judged 1 to 2 times" in one_error_line(run_script("score_predictions.py", *asked))


def test_a_prediction_for_no_sample_is_refused_before_anything_is_sent(mmvet: Path, judge: Judge):
    write_predictions(mmvet / "predictions.jsonl", ["v1_0", "v9_9"], ["a", "b"])
    message = one_error_line(run_script("judge_answers.py", *arguments(mmvet, judge)))
    assert "'v9_9' is not a sample of" in message
    assert judge.requests == []


def test_a_benchmark_without_a_judge_is_not_offered(mmvet: Path, judge: Judge):
    done = run_script("judge_answers.py", *arguments(mmvet, judge, name="pope"))
    assert done.returncode == 2
    assert "choose from" in done.stderr
