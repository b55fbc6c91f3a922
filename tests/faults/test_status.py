"""What a run says of itself: progress in log files, failures with reasons, and where it stands."""

from __future__ import annotations

import base64
import errno
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from himap.files import write_json
from himap.locks import try_lock
from himap.workflow import command_line, exclusive_run
from himap.workflow.config.load import load
from himap.workflow.endings import last_lines
from himap.workflow.jobs.model_script import library_versions
from himap.workflow.jobs.progress import bar, progress, span
from himap.workflow.jobs.sole_writer import RUN
from himap.workflow.plan.plan import Plan
from himap.workflow.plan.targets import first_outputs
from himap.workflow.snakemake_log import Failure, failures, latest_log, reason
from himap.workflow.status import Standing, remaining, report, standing, summary
from world import World, configuration

pytestmark = pytest.mark.slow

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
        python workflow_scripts/preloaded.py evaluate_method.py
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
    assert reason(found[0], tmp_path) == f"SLURM rejected it: {why}"
    assert reason(found[1], tmp_path) == "SLURM rejected it: the queue is closed"
    assert found[1].log == "results/logs/flops/m/qa.log"
    assert found[2].refused is None


INVISIBLE = """Execute 1 jobs...
[Sat Nov 21 15:00:02 2026]
rule evaluate_method:
    input: results/models/m/manifest.json
    output: results/evaluation/m/pope/himap/shard-0-of-1.jsonl
    log: results/logs/evaluation/m/pope/himap/shard-0-of-1.log
    jobid: 2
    reason: Missing output files: results/evaluation/m/pope/himap/shard-0-of-1.jsonl
    resources: tmpdir=/tmp
Waiting at most 1 seconds for missing files:
results/evaluation/m/pope/himap/shard-0-of-1.jsonl (missing locally)
MissingOutputException in rule evaluate_method in file "/w/rules/evaluation.smk", line 4:
Job 2  completed successfully, but some output files are missing. Missing files after 1 seconds. This might be due to filesystem latency. If that is the case, consider to increase the wait time with --latency-wait:
results/evaluation/m/pope/himap/shard-0-of-1.jsonl (missing locally, parent dir contents: )
Trying to restart job 2.
"""


@pytest.mark.parametrize(("later", "count"), [("", 1), ("Finished jobid: 2 (Rule: evaluate_method)\n", 0)])
def test_a_result_that_never_becomes_visible_is_a_failure_unless_a_later_attempt_made_it(
    tmp_path: Path, later: str, count: int
) -> None:
    found = failures(INVISIBLE + later)
    assert len(found) == count
    for one in found:
        assert one.rule == "evaluate_method"
        assert one.output == "results/evaluation/m/pope/himap/shard-0-of-1.jsonl"
        assert one.log == "results/logs/evaluation/m/pope/himap/shard-0-of-1.log"
        assert "longer wait (--latency-wait 300)" in reason(one, tmp_path)


def test_a_reason_is_the_clusters_word_or_the_last_line_of_the_log(tmp_path: Path) -> None:
    log = tmp_path / "a.log"
    log.write_text("loading\n  0%|   |\r 50%|#  |\r100%|###|\nerror: the file is broken; make it again\n\n")
    assert reason(Failure("r", "o", "a.log"), tmp_path) == "error: the file is broken; make it again"
    assert reason(Failure("r", "o", "a.log", "TIMEOUT"), tmp_path).startswith("SLURM says TIMEOUT: it ran out of time")
    log.write_text("")
    assert reason(Failure("r", "o", "a.log", "FAILED"), tmp_path) == "it ended without a message"
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


def test_a_run_under_way_shows_its_jobs_with_their_progress_and_an_estimate(tmp_path: Path) -> None:
    plan = Plan(load(configuration(benchmarks={"pope": {"shards": 3}})))
    files = first_outputs(plan)["table1"]
    shards = [file for file in files if "/shard-" in file]
    assert len(shards) == 3  # passes of three methods
    done = [*files[:2], shards[0]]
    for file in done:
        (tmp_path / file).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / file).touch()
    rules = {file: "evaluate_method" if file in shards else "other" for file in files}
    lines = [f"{file}\t-\t{rules[file]}\t-\tok\t{'no update' if file in done else 'update pending'}" for file in files]
    state = tmp_path / ".snakemake"
    for folder in ("incomplete", "metadata", "log"):
        (state / folder).mkdir(parents=True)
    (state / "reproduce.running").touch()
    (state / "incomplete" / base64.urlsafe_b64encode(shards[1].encode()).decode()).touch()
    note = '{"rule": "evaluate_method", "starttime": 100, "endtime": 160}'
    (state / "metadata" / base64.urlsafe_b64encode(shards[0].encode()).decode()).write_text(note)
    log = tmp_path / plan.paths.log(shards[1])
    log.parent.mkdir(parents=True)
    log.write_text(bar(12, 48, 30.0, "mini pope 3 methods") + "\n")
    (state / "log" / "1.snakemake.log").write_text("Execute 1 jobs...\n" + ENDED.replace("results/", "elsewhere/"))

    with (state / "reproduce.lock").open("w") as lock:
        assert try_lock(lock)
        now = standing(tmp_path, "\n".join(lines))
    told = report(plan, tmp_path, now)
    assert row(told, "table1") == [3, 1, 0, len(files) - 4]
    running = f"  evaluate_method -> {shards[1]}\n    [#####---------------] 12/48 mini pope 3 methods, 0:00:30 so far, 0:01:30 to go"
    assert running in told
    assert f"3/{len(files)} jobs; about 0:02:00 to go with 1 at a time" in told  # two evaluations of a minute
    assert "failed:" not in told  # the last run was of another config
    assert row(report(plan, tmp_path, standing(tmp_path, "\n".join(lines))), "table1")[1] == 0  # nobody holds the lock


@pytest.mark.parametrize(
    ("states", "lanes", "said"),
    [
        ({"a1": "done", "b1": "done"}, 1, ""),
        ({"a1": "done", "a2": "waiting", "a3": "failed"}, 1, "; about 0:00:20 to go with 1 at a time"),
        ({"a1": "running", "a2": "running"}, 2, "; about 0:00:10 to go with 2 at a time"),
        (
            {"a1": "waiting", "b1": "waiting"},
            1,
            "; about 0:00:10 to go with 1 at a time, plus 1 jobs of steps that have not run yet",
        ),
        ({"b1": "waiting"}, 1, "; no job of the remaining steps has finished yet, so there is no estimate"),
    ],
)
def test_what_remains_is_judged_by_finished_jobs_of_the_same_kind(
    states: dict[str, str], lanes: int, said: str
) -> None:
    now = Standing(states, {job: job[0] for job in states}, [], {"a": [5.0, 15.0]})
    assert remaining(now, states, lanes) == said


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder in which run_workflow.py finds and leaves its notes; Snakemake's place is taken by `call`."""
    for name, path in {
        "STATE": "",
        "LOCK": "reproduce.lock",
        "MARK": "reproduce.running",
        "LATEST": "reproduce.latest",
    }.items():
        monkeypatch.setattr(exclusive_run, name, tmp_path / ".snakemake" / path)
    monkeypatch.setattr(exclusive_run, "ROOT", tmp_path)
    (tmp_path / "config.yaml").write_text("{}")
    monkeypatch.chdir(tmp_path)
    return tmp_path


ELSEWHERE = ("--profile", "profiles/slurm")


def ending(text: str) -> list[str]:
    """A command that leaves a log in Snakemake's place and fails."""
    code = "import pathlib, sys; log = pathlib.Path('.snakemake/log/1.snakemake.log'); log.parent.mkdir(); log.write_text(sys.argv[1]); sys.exit(1)"
    return [sys.executable, "-c", code, text]


def test_a_full_disk_after_the_run_does_not_swallow_the_summary(
    project: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    looks = iter([None, OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))])

    def look(words: object) -> list[str]:
        if problem := next(looks):
            raise problem
        return []

    monkeypatch.setattr(exclusive_run, "set_altered_aside", look)
    with pytest.raises(OSError, match="No space left"):
        exclusive_run.run_alone(ending("Execute 2 jobs...\n" + ENDED), ELSEWHERE)
    assert "2 jobs failed:" in capfd.readouterr().err
    assert not exclusive_run.MARK.exists()


def test_a_run_that_fails_without_a_failed_job_names_its_log_and_what_to_type(
    project: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    assert exclusive_run.run_alone(ending("Building DAG of jobs...\nWorkflowError"), ELSEWHERE) == 1
    said = capfd.readouterr().err
    assert str(project / ".snakemake/log/1.snakemake.log") in said
    assert said.endswith("  ./reproduce --profile profiles/slurm\n")


@pytest.mark.parametrize(
    ("before", "told"), [("--profile profiles/slurm -j 5", True), ("table1", False), (None, False)]
)
def test_the_start_after_a_killed_run_speaks_of_jobs_that_may_still_be_queued(
    project: Path, capfd: pytest.CaptureFixture[str], before: str | None, told: bool
) -> None:
    exclusive_run.STATE.mkdir()
    if before is not None:
        exclusive_run.MARK.write_text(before)
    show = f"import os; print('RUN', os.environ['{RUN}'])"
    assert exclusive_run.run_alone([sys.executable, "-c", show], ELSEWHERE) == 0
    said, warned = capfd.readouterr()
    assert ("`squeue --me`" in warned) is told
    assert said.startswith(f"RUN {exclusive_run.LATEST}:{exclusive_run.LATEST.read_text()}")
    assert not exclusive_run.MARK.exists()


def made_with(project: Path, name: str, **versions: str) -> None:
    """A result's provenance with the library versions that it was computed with."""
    path = project / "results" / "evaluation" / f"{name}.jsonl.provenance.json"
    write_json(path, {"versions": {"python": "3.9.1", **library_versions(), **versions}})


def test_a_run_says_once_which_results_were_computed_with_other_library_versions(
    project: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    done = [sys.executable, "-c", ""]
    now = library_versions()
    made_with(project, "a", transformers="4.1.0")
    made_with(project, "b", transformers="4.1.0", pillow="9.0.0")
    made_with(project, "c", torch=f"{now['torch'].partition('+')[0]}+cu130")  # the same version, built for a GPU
    (project / "results" / "cut.provenance.json").write_text("{")
    assert exclusive_run.run_alone(done, ELSEWHERE) == 0
    warning = capfd.readouterr().err
    assert f"  transformers 4.1.0 (2 results), now {now['transformers']}\n" in warning
    assert f"  pillow 9.0.0 (1 result), now {now['pillow']}\n" in warning
    assert "torch" not in warning
    assert warning.count("other library versions") == 1
    assert "./reproduce --forceall" in warning


def test_a_run_says_nothing_of_versions_when_they_are_todays(project: Path, capfd: pytest.CaptureFixture[str]) -> None:
    made_with(project, "a")
    assert exclusive_run.run_alone([sys.executable, "-c", ""], ELSEWHERE) == 0
    assert "versions" not in capfd.readouterr().err


@pytest.mark.parametrize(
    ("words", "folder"),
    [
        ((), "of the config"),
        (("--config", "seed=1", "output=a", "--cores", "2"), "a"),
        (("-C", "output=/b/c"), "/b/c"),
        (("--cores", "2", "output=no option"), "of the config"),
    ],
)
def test_the_results_folder_is_the_one_that_was_named(project: Path, words: tuple[str, ...], folder: str) -> None:
    (project / "config.yaml").write_text("output: of the config")
    assert command_line.results_folder(words) == folder


def test_what_the_entry_cannot_do_is_one_line(tmp_path: Path) -> None:
    root = Path(exclusive_run.__file__).parents[3]
    for part in ("workflow_scripts", "rules"):
        shutil.copytree(root / part, tmp_path / part)
    shutil.copy(root / "Snakefile", tmp_path)
    (tmp_path / "models").symlink_to(root / "models")
    (tmp_path / ".snakemake").write_text("in the way")
    (tmp_path / "config.yaml").write_text((root / "config.yaml").read_text())
    done = subprocess.run(
        [sys.executable, "-m", "himap.workflow.run", "--profile", "x"],
        env={**os.environ, "PYTHONPATH": str(tmp_path / "workflow_scripts")}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 1
    assert done.stderr.splitlines() == [
        f"{tmp_path / '.snakemake'} cannot be written (File exists); nothing was run. Free some space there or make it writable"
    ]


def test_status_counts_what_is_done_what_waits_and_what_failed(copy_of_finished: World) -> None:
    world = copy_of_finished
    told = world.run("status")
    assert told.returncode == 0, told.stdout[-2000:]
    # model, samples, all answers, all scores, all costs, table
    assert row(told.stdout, "table1") == [6, 0, 0, 0]
    assert row(told.stdout, "figure7")[3] > 0
    assert "no job of the remaining steps has finished yet" in told.stdout or " to go with 1 at a time" in told.stdout

    world.shard("himap").write_text("torn")
    (world.folder / "results/tables/table1.csv").unlink()
    world.shard("fastv").unlink()
    (world.model / "model.safetensors").write_bytes(b"cut short")
    failed = world.run("table1", "--cores", "1")
    assert failed.returncode == 1
    assert re.search(r"jobs? failed:\n(?s:.*)  evaluate_method -> results/evaluation/mini/pope/", failed.stdout)
    assert "start again; only the rest is run:\n  ./reproduce table1 --cores 1" in failed.stdout
    at_once = (
        r"^FAILED evaluate method +mini · pope +after [\d.]+ s\n"
        r"    reason: error: models/mini: its weights are not complete .*\n    log: results/logs/evaluation/mini/pope/"
    )
    assert re.search(at_once, failed.stdout, re.MULTILINE), failed.stdout
    told = world.run("status")
    # All jobs with the model failed, also those whose old products are there; nothing of theirs counts as done. What no
    # longer has answers is one pass from now on.
    assert row(told.stdout, "table1") == [2, 0, 2, 2]
    _, _, named = told.stdout.partition("failed:\n")
    assert re.findall(r"^  (\w+) -> ", named, re.MULTILINE).count("evaluate_method") == 2
    assert "  count_flops -> results/flops/mini/qa/fastv.csv" in named
    assert named.count("    | error: models/mini: its weights are not complete safetensors files") == 3


def row(text: str, name: str) -> list[int]:
    """The counts in one line of the status."""
    line = next(line for line in text.splitlines() if line.split(" ")[0] == name)
    return [int(word) for word in line.split()[1:5]]
