"""Finding a browser for the report's tests: one that is installed, playwright's own, or else one that playwright downloads."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

NAMES = (
    "chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome", "microsoft-edge", "microsoft-edge-stable",
)  # fmt: skip
FLAGS = [
    "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--disable-background-networking", "--disable-component-update",
    "--disable-default-apps", "--disable-sync", "--no-first-run", "--metrics-recording-only",
]  # fmt: skip
MISSING = (
    "no Chromium, Chrome or Edge here; install one (Debian: apt-get install chromium) or, with network, run: "
    "python -m playwright install --with-deps chromium"
)
PATIENCE = 240  # seconds for a download of about 150 MB


def launch(chromium: Any) -> Any | None:
    """Return a running browser, or None; playwright downloads one only if no other can be started."""
    from playwright.sync_api import Error

    for path in candidates(chromium):
        try:
            return chromium.launch(executable_path=path, args=FLAGS)
        except Error:  # a stub of a package that is not installed, or libraries that are missing
            continue
    return None


def candidates(chromium: Any) -> Iterator[str]:
    """Yield programs that may be a browser, the cheapest first."""
    yield from filter(None, map(shutil.which, NAMES))
    own = chromium.executable_path
    if Path(own).is_file() or download():
        yield own


def download(patience: float = PATIENCE) -> bool:
    """Return whether playwright could download its Chromium in the time allowed; without network it gives up in seconds."""
    environment = {"PLAYWRIGHT_DOWNLOAD_CONNECTION_TIMEOUT": "5000", **os.environ}
    command = [sys.executable, "-m", "playwright", "install", "chromium"]
    try:
        return subprocess.run(command, env=environment, capture_output=True, timeout=patience).returncode == 0
    except (OSError, subprocess.TimeoutExpired):
        return False
