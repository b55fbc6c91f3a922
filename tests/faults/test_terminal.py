"""What a user sees on the terminal: a line for each job, why a job failed, what an edit causes, how an interrupted run ends."""

from __future__ import annotations

import io
import os
import pty
import re
import select
import shutil
import signal
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from himap.workflow.last_words import interruption, places
from himap.workflow.progress_view import Job, Pace, View, rules_with_output, spell
from himap.workflow.reasons import Planned, explain
from himap.workflow.snakemake_log import failures, reason
from world import ROOT, World

pytestmark = pytest.mark.slow

COMMAND = "python workflow_scripts/preloaded.py make_table.py --settings '{\"a\": 1}' > x.log 2>&1"


def log_of_failure(ending: str, log: str = "x.log", more: str = "") -> str:
    """Snakemake's log file of a job that began at noon and failed."""
    return (
        "Execute 1 jobs...\n[Thu Nov 26 12:00:00 2026]\nlocalrule make_table:\n    input: a\n    output: t.csv, t.tex\n"
        f'    jobid: 2\n    reason: Missing output files: t.csv\nRuleException:\nCalledProcessError in file "t.smk", line 1:\n'
        f"Command 'set -euo pipefail;  {COMMAND}' {ending}\n[Thu Nov 26 12:00:09 2026]\nError in rule make_table:\n"
        f"    message: None\n    jobid: 2\n    output: t.csv, t.tex\n    log: {log}{more} (check log file(s) for error details)\n"
        f"    shell:\n        {COMMAND}\n        (command exited with non-zero exit code)\n[Thu Nov 26 12:00:09 2026]\n"
    )


@pytest.mark.parametrize(
    ("ending", "words"),
    [
        ("returned non-zero exit status 137.", "killed by signal 9 (SIGKILL)"),
        ("died with <Signals.SIGKILL: 9>.", "killed by signal 9 (SIGKILL)"),
        ("returned non-zero exit status 139.", "crashed with signal 11 (SIGSEGV)"),
        ("returned non-zero exit status 143.", "ended from outside by signal 15 (SIGTERM)"),
        (
            "returned non-zero exit status 1.",
            "it ended without a message; last progress: [####----------------] 1/5 m",
        ),
    ],
)
def test_a_killed_jobs_reason_is_its_signal_and_never_a_progress_bar(tmp_path: Path, ending: str, words: str) -> None:
    (tmp_path / "x.log").write_text("[####----------------] 1/5 m, 0:00:01 so far, 0:00:04 to go\n")
    after = time.mktime(time.strptime("Thu Nov 26 12:00:05 2026"))
    os.utime(tmp_path / "x.log", (after, after))
    (failure,) = failures(log_of_failure(ending))
    assert reason(failure, tmp_path).startswith(words)


def test_a_log_that_could_not_be_opened_is_not_read_for_the_reason(tmp_path: Path) -> None:
    (tmp_path / "x.log").write_text("error: what the attempt of yesterday said\n")
    os.utime(tmp_path / "x.log", (1000, 1000))
    (failure,) = failures(log_of_failure("returned non-zero exit status 1."))
    assert reason(failure, tmp_path).startswith("it never opened its log (was the disk full")
    (tmp_path / "file").write_text("")
    (failure,) = failures(log_of_failure("returned non-zero exit status 1.", log="file/x.log"))
    assert "could not be written (" in reason(failure, tmp_path)


def test_a_job_that_slurm_could_not_start_is_told_in_slurms_own_words(tmp_path: Path) -> None:
    cluster = tmp_path / "9.log"
    cluster.write_text(
        "host: n1\nslurmstepd: error: execve(): /gone/python: No such file or directory\n"
        "srun: error: n1: task 0: Exited with exit code 2\n"
    )
    (failure,) = failures(log_of_failure("returned non-zero exit status 1.", more=f", {cluster}"))
    words = reason(failure, tmp_path)
    assert "slurmstepd: error: execve(): /gone/python: No such file or directory" in words
    assert str(cluster) in words
    assert "memory" not in words


def test_a_run_without_a_terminal_says_one_line_for_each_job(finished: World) -> None:
    lines = finished.words.splitlines()
    jobs = [line for line in lines if re.match(r"\[ *\d+/6\] [a-z]+ [a-z]+ +\S.* \d[\d.]* (?:s|min)", line)]
    assert len(jobs) == 6, finished.words
    assert re.match(r"\[6/6\] make table +table1 ", jobs[-1])
    assert any(re.search(r"evaluate method +mini · pope  ", line) for line in jobs)
    assert len(lines) <= 6 + 27
    assert "table1: results/tables/table1.{csv,tex,md,html}   made now" in lines
    assert "Finished jobid: " in newest_log(finished).read_text()  # Snakemake's own log is whole


def newest_log(world: World) -> Path:
    """The log file of Snakemake's last run."""
    return max((world.folder / ".snakemake" / "log").glob("*.log"))


def test_a_dry_run_names_the_setting_the_module_and_the_file_that_changed(copy_of_finished: World) -> None:
    world = copy_of_finished
    world.config["methods"]["himap"]["stages"][1]["keep"] = 0.25
    world.write_config()
    module = world.folder / "workflow_scripts" / "himap" / "metrics" / "statistics.py"
    module = module if module.exists() else world.folder / "workflow_scripts" / "himap" / "statistics.py"
    module.write_text(module.read_text() + "\nCHANGED = True\n")
    told = world.run("table1", "-n")
    assert told.returncode == 0, told.stdout
    place = str(module.relative_to(world.folder))
    assert re.search(
        r"1  evaluate method +methods\.himap\.stages\[1\]\.keep: 0\.125 → 0\.25$", told.stdout, re.MULTILINE
    )
    assert re.search(rf"1  score predictions +(?:.*\n +)?changed code: {re.escape(place)}", told.stdout)
    assert not re.search(r": (.+) → \1$", told.stdout, re.MULTILINE)  # nothing is said to change to what it was
    assert re.search(r"1  count flops +methods\.himap\.stages\[1\]\.keep: 0\.125 → 0\.25$", told.stdout, re.MULTILINE)
    assert '{"' not in told.stdout
    assert len(told.stdout.splitlines()) < 20


def test_what_was_up_to_date_is_said_with_its_place(copy_of_finished: World) -> None:
    told = copy_of_finished.run("table1")
    assert told.returncode == 0
    assert "Nothing to be done" in told.stdout
    assert "table1: results/tables/table1.{csv,tex,md,html}   up to date" in told.stdout


class Terminal:
    """`./reproduce` in a pseudo-terminal, and all that it showed."""

    def __init__(self, world: World, *words: str, **more: str) -> None:
        self.shown = ""
        self.number, self.terminal = pty.fork()
        if self.number == 0:
            os.chdir(world.folder)
            environment = world.environment(TERM="xterm", COLUMNS="110", LINES="40", **more)
            signal.signal(signal.SIGINT, signal.SIG_DFL)  # as in a terminal, even if these tests run in the background
            os.execve("./reproduce", ["./reproduce", *words], environment)

    def read(self, until: Callable[[str], object], seconds: float = 900) -> None:
        """Read what it shows until something is there, or it ends."""
        end = time.monotonic() + seconds
        while not until(self.shown):
            assert time.monotonic() < end, self.shown[-3000:]
            if select.select([self.terminal], [], [], 1)[0]:
                try:
                    self.shown += os.read(self.terminal, 65536).decode(errors="replace")
                except OSError:  # closed at its other end
                    return

    def press(self, key: str) -> None:
        """What a key sends."""
        os.write(self.terminal, key.encode())

    def end(self) -> int:
        """Its exit status."""
        self.read(lambda _: False)
        return os.waitstatus_to_exitcode(os.waitpid(self.number, 0)[1])


def without_codes(shown: str) -> str:
    """The text that a terminal was sent."""
    return re.sub(r"\x1b\[[0-9;?]*[A-Za-z]|\r", "", shown)


def test_ctrl_c_stops_the_run_and_says_what_is_kept_and_how_to_go_on(make_world: Callable[..., World]) -> None:
    world = make_world(batch_size=2)
    terminal = Terminal(world, "table1", "--cores", "2", WORLD_PAUSE="1")
    terminal.read(
        lambda shown: re.search(r"running +evaluate method +mini · pope +[\d.]+ s +\[#", without_codes(shown))
    )
    terminal.press("\x03")
    assert terminal.end() == 130
    text = without_codes(terminal.shown)
    bar = re.findall(r" (\d+)/6 +[\d.]+ s so far", text)[-1]
    assert "FAILED" not in text
    assert "failed:" not in text
    finished = newest_log(world).read_text().count("Finished jobid: ")
    assert int(bar) in (finished - 1, finished)  # a job may end after the bar was last drawn
    assert 1 <= finished < 6
    assert f"Interrupted (Ctrl-C). {finished} job{'s' * (finished > 1)} finished in this run." in text
    assert text.rstrip().endswith("To go on:\n  ./reproduce table1 --cores 2")
    if place := os.environ.get("HIMAP_TERMINAL_CAPTURE"):
        Path(place).write_text(terminal.shown)


def test_a_run_that_is_asked_to_end_has_the_status_of_its_signal(make_world: Callable[..., World]) -> None:
    world = make_world()
    process = world.start(
        "results/models/mini/manifest.json", "results/benchmarks/pope/samples.parquet", "--cores", "1"
    )
    end = time.monotonic() + 300
    while "to run" not in (world.folder / "said.log").read_text() and time.monotonic() < end:
        time.sleep(0.1)
    process.send_signal(signal.SIGTERM)
    assert process.wait(300) == 143
    assert "Interrupted (SIGTERM)" in (world.folder / "said.log").read_text()


def test_a_job_that_failed_before_an_interrupt_is_still_named(tmp_path: Path) -> None:
    log = tmp_path / "log" / "1.snakemake.log"
    log.parent.mkdir()
    log.write_text(
        log_of_failure("returned non-zero exit status 137.")
        + log_of_failure("returned non-zero exit status 130.")
        .replace("12:00:09", "12:01:00")
        .replace("jobid: 2", "jobid: 3")
    )
    moment = time.mktime(time.strptime("Thu Nov 26 12:00:59 2026"))
    text = interruption(signal.SIGINT, moment, tmp_path, 0.0, tmp_path, "./reproduce")
    assert text.startswith("1 job failed:")
    assert "killed by signal 9" in text
    assert "Interrupted (Ctrl-C). 0 jobs finished in this run." in text


def test_a_failed_job_is_shown_at_once_with_its_reason_and_log(tmp_path: Path) -> None:
    shutil.copytree(ROOT / "rules", tmp_path / "rules")
    stream = io.StringIO()
    view = View(tmp_path, stream, live=False, clock=iter(range(100)).__next__)
    view.planned({"make_table": 2, "all": 1, "total": 3})
    view.described(2, Job("make_table", {"table": "table1"}, "x.log", started=0))
    (tmp_path / "x.log").write_text("loading\nerror: the file is broken\n")
    (failure,) = failures(log_of_failure("returned non-zero exit status 1."))
    view.failed(2, failure)
    lines = stream.getvalue().splitlines()
    assert lines[0].startswith("2 jobs to run")
    assert lines[1:] == [
        "FAILED make table  table1   after 1.0 s",
        "    reason: error: the file is broken",
        "    log: x.log",
    ]


def test_what_a_step_took_before_tells_how_long_the_rest_takes() -> None:
    pace = Pace({"evaluate_method": [100.0], "make_table": [1.0]})
    pace.begun = 0.0
    done, left = {"make_table": 3}, {"evaluate_method": 2}
    assert pace.to_go(done, left, now=3.0) == "about 3 min to go"  # 200 s of work at one second per second
    assert pace.to_go(done, left, now=1.5) == "about 2 min to go"  # two at a time
    assert pace.to_go({"make_table": 1}, left, now=1.0) == ""
    assert [spell(value) for value in (1.24, 41, 125, 4325)] == ["1.2 s", "41 s", "2 min 5 s", "1 h 12 min"]


PARAMS = "Params have changed since last execution: Union of exclusive params before and now across all output: "


@pytest.mark.parametrize(
    ("rule", "wildcards", "why", "words"),
    [
        (
            "extract_saliency",
            {"model": "m", "benchmark": "pope"},
            """before: '{"dtype": "float32", "protocol": {}}' now: '{"dtype": "float16", "protocol": {"cot": true}}' """,
            ["models.m.dtype: float32 → float16", "benchmarks.pope.protocol.cot: (nothing) → true"],
        ),
        (
            "measure_latency",
            {"model": "m", "benchmark": "pope"},
            """before: '{"name": "x", "stages": [{"layer": 2}]}' now: '{"name": "x", "stages": [{"layer": 3}]}' """,
            ["methods.x.stages[0].layer: 2 → 3"],
        ),
        (
            "draw_figure",
            {"figure": "figure4"},
            """before: '{"note": "a, now: b", "width": 7}' now: '{"note": "a, now: b", "width": 9}' """,
            ["figures.figure4.width: 7 → 9"],
        ),
        (
            "fetch_model",
            {"model": "m"},
            """before: '{"contents": "0123456789abcdef", "path": "models/m"}' now: '{"contents": "1123456789abcdef", "path": "models/m"}' """,
            ["models.m.contents: its contents changed"],
        ),
        (
            "draw_figure",
            {"figure": "figure4"},
            "before: '0123456789abcdef' now: '1123456789abcdef' ",
            ["its code changed (the module is not known"],
        ),
    ],
)
def test_a_changed_setting_is_named_by_its_key_in_the_config_with_both_values(
    tmp_path: Path, rule: str, wildcards: dict[str, str], why: str, words: list[str]
) -> None:
    told = explain([Planned(Job(rule, wildcards), ["o"], PARAMS + why)], tmp_path)
    for expected in words:
        assert expected in told
    assert told.startswith("1 job to run:")


def test_the_rules_that_make_files_are_told_from_the_names_of_targets() -> None:
    making = rules_with_output(ROOT / "rules")
    assert {"evaluate_method", "make_table", "report", "train_mini", "convert_checkpoint"} <= making
    assert not {"all", "tables", "verify_original", "table1"} & making


def test_a_target_is_listed_with_the_files_that_are_there(tmp_path: Path) -> None:
    for name in ("a.csv", "a.tex", "b.png"):
        (tmp_path / name).write_text("")
    os.utime(tmp_path / "b.png", (1000, 1000))
    targets = {"both": ["a.csv", "a.tex", "b.png", "c.csv"]}
    assert places(["both", "--cores", "b.png"], targets, tmp_path, 2000.0) == [
        "both: a.{csv,tex}   made now",
        "both: b.png   up to date",
        "b.png   up to date",
    ]


def test_the_start_after_a_killed_run_finds_the_folder_unlocked(copy_of_finished: World) -> None:
    world = copy_of_finished
    locks = world.folder / ".snakemake" / "locks"
    locks.mkdir(exist_ok=True)
    (locks / "0.output.lock").write_text("results/tables/table1.csv\n")
    (world.folder / ".snakemake" / "reproduce.running").write_text("table1")
    (world.folder / "results" / "tables" / "table1.csv").unlink()
    done = world.run("table1", "--cores", "1")
    assert done.returncode == 0, done.stdout
    assert "[1/1] make table" in done.stdout
