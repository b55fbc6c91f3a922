"""What a run says of itself: progress in log files, failures with reasons, and where it stands."""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest
from himap.jobs import bar, progress, span
from himap.status import Failure, failures, last_lines, latest_log, reason, summary
from world import World

ENDED = """Select jobs to execute...
Error in rule evaluate_method:
    message: SLURM-job '4_2' failed, SLURM status is: 'OUT_OF_MEMORY'. For further error details see the cluster/cloud log
    jobid: 7
    input: a, b
    output: results/evaluation/m/pope/himap/shard-0-of-1.jsonl
    log: results/logs/evaluation/m/pope/himap/shard-0-of-1.log (check log file(s) for error details)
    external_jobid: 4_2

Trying to restart job 7.
Error in rule count_flops:
    jobid: 3
    output: results/flops/m/qa.csv
    log: results/logs/flops/m/qa.log (check log file(s) for error details)

Trying to restart job 3.
Finished jobid: 3 (Rule: count_flops)
Error in rule evaluate_method:
    message: SLURM-job '9' failed, SLURM status is: 'OUT_OF_MEMORY'. For further error details see the cluster/cloud log
    jobid: 7
    output: results/evaluation/m/pope/himap/shard-0-of-1.jsonl
    log: results/logs/evaluation/m/pope/himap/shard-0-of-1.log, /w/slurm/m_pope/9.log (check log file(s) for error details)

Error in rule make_table:
    jobid: 1
    output: results/tables/t.csv, results/tables/t.tex
    log: results/logs/tables/t.log (check log file(s) for error details)

"""


def test_failures_are_those_that_no_later_attempt_made_good() -> None:
    found = failures(ENDED)
    assert [one.rule for one in found] == ["evaluate_method", "make_table"]
    assert found[0].output == "results/evaluation/m/pope/himap/shard-0-of-1.jsonl"
    assert found[0].log == "results/logs/evaluation/m/pope/himap/shard-0-of-1.log"
    assert found[0].state == "OUT_OF_MEMORY"
    assert found[0].cluster_log == "/w/slurm/m_pope/9.log"
    assert found[1].output == "results/tables/t.csv"
    assert (found[1].state, found[1].cluster_log) == (None, None)


REFUSED = """[Sat Nov 21 11:02:34 2026]
rule evaluate_method:
    output: results/evaluation/m/pope/himap/shard-0-of-1.jsonl
SLURM sbatch failed for array job submission (tasks 1-3). The error message was 'sbatch: error: invalid account
sbatch: error: Batch job submission failed'.
    sbatch call:
        sbatch --parsable

[Sat Nov 21 11:02:34 2026]
Error in rule evaluate_method:
    message: Part of failed array sbatch submission (tasks 1-3); see log for details.For further error details see the log.
    jobid: 5
    output: results/evaluation/m/pope/himap/shard-0-of-1.jsonl
    log: results/logs/evaluation/m/pope/himap/shard-0-of-1.log (check log file(s) for error details)
    shell:
        python workflow_scripts/warm.py evaluate_method.py
[Sat Nov 21 11:02:35 2026]
Error in rule count_flops:
    message: SLURM sbatch failed. The error message was 'the queue is closed'.
    sbatch call:
        sbatch --parsable --wrap="python -m snakemake"
For further error details see the cluster/cloud log and the log files of the involved rule(s).
    jobid: 13
    output: results/flops/m/qa.csv
    log: results/logs/flops/m/qa.log (check log file(s) for error details)
[Sat Nov 21 11:02:36 2026]
Error in rule make_table:
    message: None
    jobid: 1
    output: results/tables/t.csv
    log: results/logs/tables/t.log (check log file(s) for error details)
"""


def test_a_job_that_was_not_taken_is_named_with_what_slurm_said(tmp_path: Path) -> None:
    found = failures(REFUSED)
    assert [one.output.split("/")[1] for one in found] == ["evaluation", "flops", "tables"]
    why = "sbatch: error: invalid account sbatch: error: Batch job submission failed"
    assert reason(found[0], tmp_path) == f"SLURM did not take it: {why}"
    assert reason(found[1], tmp_path) == "SLURM did not take it: the queue is closed"
    assert found[1].log == "results/logs/flops/m/qa.log"
    assert found[2].refused is None


def test_a_reason_is_the_clusters_word_or_the_last_line_of_the_log(tmp_path: Path) -> None:
    log = tmp_path / "a.log"
    log.write_text("loading\n  0%|   |\r 50%|#  |\r100%|###|\nerror: the file is broken; make it again\n\n")
    assert reason(Failure("r", "o", "a.log"), tmp_path) == "error: the file is broken; make it again"
    assert reason(Failure("r", "o", "a.log", "TIMEOUT"), tmp_path).startswith(
        "SLURM says TIMEOUT: its time was not enough"
    )
    log.write_text("")
    assert "killed from outside" in reason(Failure("r", "o", "a.log", "FAILED"), tmp_path)
    assert last_lines(tmp_path / "none.log") == []
    said = summary(failures(ENDED), tmp_path, "./reproduce --profile 'a b'")
    assert said.startswith("2 jobs failed:")
    assert said.endswith("  ./reproduce --profile 'a b'")


@pytest.mark.parametrize(
    ("words", "state"),
    [
        (
            "slurmstepd-n1: error: StepId=3.0 exceeded memory limit (263106560 > 262144000), being killed",
            "OUT_OF_MEMORY",
        ),
        ("slurmstepd: error: Detected 1 oom_kill event in StepId=7.0", "OUT_OF_MEMORY"),
        ("slurmstepd: error: *** JOB 6 ON n1 CANCELLED AT 2026-01-01T00:00:00 DUE TO TIME LIMIT ***", "TIMEOUT"),
        ("slurmstepd: error: *** JOB 6 ON n1 CANCELLED AT 2026-01-01T00:00:00 DUE TO PREEMPTION ***", "PREEMPTED"),
        ("slurmstepd: error: *** JOB 6 ON n1 CANCELLED AT 2026-01-01T00:00:00 ***", "CANCELLED"),
        ("srun: error: task 0: Exited with exit code 1", None),
    ],
)
def test_what_slurm_writes_of_a_jobs_end_is_understood(tmp_path: Path, words: str, state: str | None) -> None:
    (tmp_path / "4_2.log").write_text(f"host: n1\n{words}\nsrun: Force Terminated\n")
    found = reason(Failure("r", "o", None, "FAILED", str(tmp_path / "model_task" / "4_2.log")), tmp_path)
    assert found.startswith(f"SLURM says {state}: " if state else "see Snakemake's message")


def test_a_look_at_the_workflow_does_not_hide_the_last_run(tmp_path: Path) -> None:
    (tmp_path / "log").mkdir()
    for number, text in enumerate(
        ("Execute 2 jobs...\nfirst", "Execute 1 jobs...\nsecond", "Building DAG of jobs...\n")
    ):
        log = tmp_path / "log" / f"{number}.snakemake.log"
        log.write_text(text)
        os.utime(log, (1000 + number, 1000 + number))
    assert latest_log(tmp_path).endswith("second")
    assert latest_log(tmp_path, since=1002) == ""


def test_progress_in_a_log_file_is_whole_lines(capsys: pytest.CaptureFixture[str]) -> None:
    assert list(progress(range(4), 4, "m pope himap", every=0.0)) == [0, 1, 2, 3]
    lines = capsys.readouterr().err.splitlines()
    assert lines[0].startswith("[--------------------] 0/4 m pope himap, 0:00:00 so far")
    assert lines[2].startswith("[##########----------] 2/4")
    assert re.search(r"0:00:0\d to go$", lines[2])
    assert lines[-1].startswith("[####################] 4/4")
    assert len(lines) == 5
    assert bar(3, None, 61.0, "m") == "3 m, 0:01:01 so far"
    assert span(3725) == "1:02:05"


def test_progress_says_little_when_little_time_has_passed(capsys: pytest.CaptureFixture[str]) -> None:
    assert len(list(progress(range(500), 500, "m"))) == 500
    assert len(capsys.readouterr().err.splitlines()) == 2


@pytest.mark.slow
def test_status_counts_what_is_done_what_waits_and_what_failed(copy_of_finished: World) -> None:
    world = copy_of_finished
    told = world.run("status")
    assert told.returncode == 0, told.stdout[-2000:]
    assert row(told.stdout, "table1") == [13, 0, 0, 0]  # model, samples, three times three, costs, table
    assert row(told.stdout, "figure7")[3] > 0
    assert (
        "no job of the kinds that are left has finished yet" in told.stdout or " to go with 1 at a time" in told.stdout
    )

    world.shard("himap").write_text("torn")
    (world.folder / "results/tables/table1.csv").unlink()
    world.shard("fastv").unlink()
    (world.model / "model.safetensors").write_bytes(b"cut short")
    failed = world.run("table1", "--cores", "1")
    assert failed.returncode == 1
    assert re.search(r"jobs? failed:\n  evaluate_method -> results/evaluation/mini/pope/", failed.stdout)
    assert "start again; only the rest is run:\n  ./reproduce table1 --cores 1" in failed.stdout
    told = world.run("status")
    # All four jobs with the model failed, also those whose old products are there; nothing of theirs counts as done.
    assert row(told.stdout, "table1") == [2, 0, 4, 7]
    _, _, named = told.stdout.partition("failed:\n")
    assert re.findall(r"^  (\w+) -> ", named, re.MULTILINE).count("evaluate_method") == 3
    assert "  count_flops -> results/flops/mini/qa.csv" in named
    assert named.count("    | error: models/mini: its weights are not whole safetensors files") == 4


def row(text: str, name: str) -> list[int]:
    """The counts in one line of the status."""
    line = next(line for line in text.splitlines() if line.split(" ")[0] == name)
    return [int(word) for word in line.split()[1:5]]
