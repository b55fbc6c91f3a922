"""Finding a browser on machines that have none, a broken one, or one under another name."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import browsers
import pytest


class Starter:
    """In playwright's place: starts the programs whose text says that they work, and has no browser of its own."""

    executable_path = "/nowhere/playwright/chrome"

    def launch(self, executable_path: str, args: list[str]) -> str:
        from playwright.sync_api import Error

        if "works" not in Path(executable_path).read_text():
            raise Error("it ended at once")
        return executable_path


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A machine without a browser and without network; programs are put into its folder."""
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(browsers.subprocess, "run", lambda *_, **__: subprocess.CompletedProcess([], 1))
    return tmp_path


def put(folder: Path, name: str, text: str) -> str:
    """A program in the folder."""
    (folder / name).write_text(text)
    (folder / name).chmod(0o755)
    return str(folder / name)


@pytest.mark.parametrize("name", ["chromium", "chromium-browser", "google-chrome", "chrome", "microsoft-edge"])
def test_a_browser_is_taken_under_any_of_its_names_and_one_that_does_not_start_is_passed_over(
    machine: Path, name: str
) -> None:
    put(machine, next(other for other in browsers.NAMES if other != name), "only a stub")
    path = put(machine, name, "works")
    assert browsers.launch(Starter()) == path


def test_playwrights_own_browser_is_taken_where_it_is_or_can_be_downloaded(
    machine: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    starter: Any = Starter()
    starter.executable_path = str(machine / "of-playwright")
    monkeypatch.setattr(
        browsers.subprocess,
        "run",
        lambda *_, **__: subprocess.CompletedProcess([put(machine, "of-playwright", "works")], 0),
    )
    assert browsers.launch(starter) == starter.executable_path
    monkeypatch.setattr(browsers.subprocess, "run", lambda *_, **__: pytest.fail("it is there already"))
    assert browsers.launch(starter) == starter.executable_path


def test_without_any_the_way_out_is_one_line(machine: Path) -> None:
    assert browsers.launch(Starter()) is None
    assert "apt-get install chromium" in browsers.MISSING
    assert "playwright install" in browsers.MISSING
    assert "\n" not in browsers.MISSING


def test_a_download_that_hangs_is_given_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        browsers.sys, "executable", put(tmp_path, "python", f"#!{sys.executable}\nimport time\ntime.sleep(60)\n")
    )
    begun = time.monotonic()
    assert browsers.download(patience=0.5) is False
    assert time.monotonic() - begun < 30
