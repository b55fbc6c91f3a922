"""One small run, rendered once, and a real browser for the tests that need one."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import browsers
import pytest
from report_page import Rendered, Visit, visit


@pytest.fixture(scope="session")
def rendered(tmp_path_factory: pytest.TempPathFactory) -> Rendered:
    """The small run's page, written by the script as the workflow calls it."""
    import json

    import render_report
    import small_run
    from himap.workflow.plan.report_settings import report_facts

    plan = small_run.build(tmp_path_factory.mktemp("run"))
    facts, page = report_facts(plan), Path(plan.out) / "report.html"
    render_report.main(["--settings", json.dumps(facts), "--results", plan.out, "--out", str(page)])
    return Rendered(facts, Path(plan.out), page)


@pytest.fixture(scope="session")
def first(rendered: Rendered) -> Path:
    """The results folder of the small run."""
    return rendered.results


@pytest.fixture(scope="session")
def second(first: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the small run in which a few things changed."""
    from two_runs import change_a_copy

    return change_a_copy(first, tmp_path_factory.mktemp("second") / "results")


@pytest.fixture(scope="session")
def chromium() -> Iterator[Any]:
    """A Chromium-based browser; without one the browser tests are skipped, all for one reason."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = browsers.launch(playwright.chromium)
        if browser is None:
            pytest.skip(browsers.MISSING)
        yield browser
        browser.close()


@pytest.fixture(scope="session", params=[1280, 390], ids=["wide", "narrow"])
def opened(request: pytest.FixtureRequest, chromium: Any, rendered: Rendered) -> Iterator[Visit]:
    """The page in the browser at both widths, every section opened by its button."""
    seen = visit(chromium, rendered.page, width=request.param)
    if request.param < 1000:
        seen.page.get_by_role("button", name="Contents").click()
    seen.page.get_by_role("button", name="Open all").click()
    yield seen
    seen.page.close()
