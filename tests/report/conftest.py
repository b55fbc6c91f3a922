"""One small run, rendered once, and a real browser for the tests that need one."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from report_page import Rendered, Visit, visit

FLAGS = [
    "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--disable-background-networking", "--disable-component-update",
    "--disable-default-apps", "--disable-sync", "--no-first-run", "--metrics-recording-only",
]  # fmt: skip


@pytest.fixture(scope="session")
def rendered(tmp_path_factory: pytest.TempPathFactory) -> Rendered:
    """The small run's page, written by the script as the workflow calls it."""
    import json

    import render_report
    import small_run
    from himap.report.facts import report_facts

    plan = small_run.build(tmp_path_factory.mktemp("run"))
    facts, page = report_facts(plan), Path(plan.out) / "report.html"
    render_report.main(["--settings", json.dumps(facts), "--results", plan.out, "--out", str(page)])
    return Rendered(facts, Path(plan.out), page)


@pytest.fixture(scope="session")
def chromium() -> Iterator[Any]:
    """Debian's Chromium; without it the browser tests cannot say anything."""
    from playwright.sync_api import sync_playwright

    path = shutil.which("chromium") or shutil.which("chromium-browser")
    if path is None:
        pytest.skip("no Chromium on this machine; install Debian's chromium")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=FLAGS)
        yield browser
        browser.close()


@pytest.fixture(scope="session", params=[1280, 390], ids=["wide", "narrow"])
def opened(request: pytest.FixtureRequest, chromium: Any, rendered: Rendered) -> Iterator[Visit]:
    """The page in the browser at both widths."""
    seen = visit(chromium, rendered.page, width=request.param)
    yield seen
    seen.page.close()
