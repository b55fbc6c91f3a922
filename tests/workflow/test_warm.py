"""Jobs forked from a process that has the libraries imported behave as jobs of their own."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from himap.workflow.snakemake_process import preloaded

pytestmark = pytest.mark.slow

SCRIPTS = Path(__file__).resolve().parents[2] / "workflow_scripts"
SCRIPT = """
import os, sys, time
print(sys.argv[1:], os.getcwd(), os.environ.get("MARK"))
print("to standard error", file=sys.stderr)
if sys.argv[1:] == ["sleep"]:
    open("pid", "w").write(str(os.getpid()))
    time.sleep(60)
sys.exit(int(sys.argv[1]) if sys.argv[1:] and sys.argv[1].isdigit() else 0)
"""


@pytest.fixture
def server(tmp_path: Path) -> Iterator[tuple[subprocess.Popen[bytes], dict[str, str], Path]]:
    """A server without large libraries, the environment that names it, and a folder with a script beside it."""
    (tmp_path / "preloaded.py").write_text(
        (SCRIPTS / "preloaded.py").read_text().replace('"torch", ', "").replace('"transformers.', '"missing.')
    )
    (tmp_path / "script.py").write_text(SCRIPT)
    with tempfile.TemporaryDirectory(prefix="warm-") as short:
        place = f"{short}/socket"
        with subprocess.Popen(
            [sys.executable, str(tmp_path / "preloaded.py"), "--serve", place], stdin=subprocess.PIPE
        ) as process:
            until = time.monotonic() + 20
            while not Path(place).exists() and time.monotonic() < until:
                time.sleep(0.02)
            yield process, {**os.environ, "HIMAP_WARM": f"{place}:{sys.prefix}", "MARK": "own"}, tmp_path
            assert process.stdin is not None
            process.stdin.close()


def run(folder: Path, environment: dict[str, str], *words: str) -> subprocess.CompletedProcess[str]:
    """One job."""
    command = [sys.executable, str(folder / "preloaded.py"), "script.py", *words]
    return subprocess.run(command, cwd=folder, env=environment, text=True, capture_output=True, timeout=60)


def test_a_job_has_its_own_arguments_folder_environment_and_files(
    server: tuple[subprocess.Popen[bytes], dict[str, str], Path],
) -> None:
    _, environment, folder = server
    said = run(folder, environment, "a b", "{'c'}")
    assert said.stdout == f"{['a b', chr(123) + chr(39) + 'c' + chr(39) + chr(125)]} {folder} own\n"
    assert said.stderr == "to standard error\n"
    assert said.returncode == 0


def test_a_jobs_exit_status_is_its_own(server: tuple[subprocess.Popen[bytes], dict[str, str], Path]) -> None:
    _, environment, folder = server
    assert run(folder, environment, "3").returncode == 3
    (folder / "script.py").write_text("raise ValueError('wrong')")
    said = run(folder, environment)
    assert said.returncode == 1
    assert "ValueError: wrong" in said.stderr


def test_an_edit_of_a_script_counts_at_once(server: tuple[subprocess.Popen[bytes], dict[str, str], Path]) -> None:
    _, environment, folder = server
    assert run(folder, environment, "0").returncode == 0
    (folder / "script.py").write_text("print('edited')")
    assert run(folder, environment).stdout == "edited\n"


def test_a_server_that_the_environment_names_serves_the_runs_of_other_copies_of_the_project(
    server: tuple[subprocess.Popen[bytes], dict[str, str], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    _, environment, folder = server
    other = folder / "other"
    other.mkdir()
    shutil.copy(folder / "preloaded.py", other)
    (other / "script.py").write_text(
        "import os, sys; print(__file__, sys.path[0], '--serve' in open(f'/proc/{os.getppid()}/cmdline').read())"
    )
    assert run(other, environment).stdout == f"{other / 'script.py'} {other} True\n"
    monkeypatch.setenv("HIMAP_WARM", environment["HIMAP_WARM"])
    monkeypatch.setattr(subprocess, "Popen", lambda *_, **__: pytest.fail("a second server was started"))
    with preloaded(True) as (given, held):
        assert given["HIMAP_WARM"] == environment["HIMAP_WARM"]
        assert held == []


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_a_job_ends_with_its_caller(server: tuple[subprocess.Popen[bytes], dict[str, str], Path], number: int) -> None:
    _, environment, folder = server
    with subprocess.Popen(
        [sys.executable, str(folder / "preloaded.py"), "script.py", "sleep"], cwd=folder, env=environment
    ) as caller:
        worker = started(folder)
        caller.send_signal(number)
        caller.wait(20)
    assert gone(worker)


def test_all_jobs_end_with_the_workflow(server: tuple[subprocess.Popen[bytes], dict[str, str], Path]) -> None:
    process, environment, folder = server
    with subprocess.Popen(
        [sys.executable, str(folder / "preloaded.py"), "script.py", "sleep"], cwd=folder, env=environment
    ) as caller:
        worker = started(folder)
        assert process.stdin is not None
        process.stdin.close()
        assert caller.wait(20) != 0
    assert gone(worker)
    assert process.wait(20) == 0


def test_without_a_server_the_script_runs_all_the_same(tmp_path: Path) -> None:
    (tmp_path / "preloaded.py").write_text((SCRIPTS / "preloaded.py").read_text())
    (tmp_path / "script.py").write_text(SCRIPT)
    for place in ("", f"{tmp_path}/nobody:{sys.prefix}", f"{tmp_path}/nobody:/another/python"):
        assert run(tmp_path, {**os.environ, "HIMAP_WARM": place}, "5").returncode == 5


def test_a_killed_run_leaves_nothing_in_the_temporary_folder_however_long_its_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """The server of a run that is killed leaves its socket in the project, and the next run's server takes its place."""
    long = tmp_path / ("long" * 30)
    for folder in (long, tmp_path / "workflow_scripts", tmp_path / ".snakemake"):
        folder.mkdir()
    text = (SCRIPTS / "preloaded.py").read_text().replace('"torch", ', "").replace('"transformers.', '"missing.')
    (tmp_path / "workflow_scripts" / "preloaded.py").write_text(text)
    (tmp_path / "workflow_scripts" / "script.py").write_text(
        "import os; parent = f'/proc/{os.getppid()}'\n"
        "print(open(f'{parent}/stat').read().split(') ')[1].split()[1], open(f'{parent}/cmdline').read())"
    )
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TMPDIR", str(long))
    monkeypatch.setattr(tempfile, "tempdir", str(long))
    for _ in range(2):
        with preloaded(True) as (environment, _):
            place = Path(environment["HIMAP_WARM"].split(":")[0])
            until = time.monotonic() + 20
            served = ""
            while "--serve" not in served and time.monotonic() < until:
                command = [sys.executable, "workflow_scripts/preloaded.py", "script.py"]
                served = subprocess.run(command, env=environment, text=True, capture_output=True, timeout=60).stdout
            assert "--serve" in served  # the job was forked from the server
            assert place.stat().st_mode & 0o077 == 0
            assert not list(long.iterdir())
            os.kill(int(served.split()[0]), signal.SIGKILL)
    assert "Traceback" not in capfd.readouterr().err


def started(folder: Path) -> int:
    """The process of a job that has written its number."""
    until = time.monotonic() + 30
    while time.monotonic() < until:
        if (folder / "pid").exists() and (text := (folder / "pid").read_text()):
            return int(text)
        time.sleep(0.02)
    raise AssertionError("the job did not start")


def gone(process: int) -> bool:
    """Whether a process ends within some seconds."""
    until = time.monotonic() + 10
    while time.monotonic() < until:
        try:
            state = Path(f"/proc/{process}/stat").read_text()
        except (FileNotFoundError, ProcessLookupError):  # it may end between any two looks
            return True
        if state.split(") ")[1][0] in "ZX":
            return True
        time.sleep(0.02)
    return False


def test_on_macos_jobs_start_without_the_server_that_forks_after_torch(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(subprocess, "Popen", lambda *_, **__: pytest.fail("a server was started"))
    monkeypatch.setattr(sys, "platform", "darwin")
    monkeypatch.setattr(os, "pidfd_open", None, raising=False)  # even where this Python has the call
    with preloaded(True) as (environment, held):
        assert "HIMAP_WARM" not in environment
        assert held == []
