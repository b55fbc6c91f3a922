"""A made-up run of fourteen models: the small run's folder once more under other names, so that its page is as large as they come.

As a script it writes that page and says how large it is and how soon it answers: `python tests/report/large_run.py FOLDER`.
"""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path
from typing import Any

import pandas as pd

MODELS = 14
FOLDERS = ("evaluation", "disruption", "saliency", "latency", "flops", "grid", "models")


def build(facts: dict[str, Any], results: Path, folder: Path) -> dict[str, Any]:
    """Copy a run to another folder with its one model under fourteen names; return the facts of that run."""
    shutil.copytree(results, folder, ignore=shutil.ignore_patterns("report.html"))
    names = [f"model-{number}" for number in range(MODELS)]
    for part in FOLDERS:
        for name in names:
            shutil.copytree(folder / part / "mini", folder / part / name)
        shutil.rmtree(folder / part / "mini")
    for path in [*(folder / "tables").glob("*.csv"), *(folder / "figures" / "data").glob("*.csv")]:
        frame = pd.read_csv(path)
        if "model" in frame:
            pd.concat([frame.assign(model=name) for name in names]).to_csv(path, index=False)
    large = json.loads(json.dumps(facts))
    large["models"] = dict.fromkeys(names, facts["models"]["mini"])
    large["evaluated"] = [[name, task, method] for name in names for _, task, method in facts["evaluated"]]
    return large


CLICK = """() => new Promise((done) => {
  const button = document.getElementById('with-paper');
  button.addEventListener('click', () => requestAnimationFrame(() => done(performance.now())), { once: true });
  button.click();
})"""


def main(folder: Path) -> None:
    """Write the page, open it three times and print how soon its first screen is drawn and a button answers.

    Where other work holds the machine, only the page's own processor time says something.
    """
    import browsers
    import small_run
    from himap.report.page import render
    from himap.workflow.plan.report_settings import report_facts
    from playwright.sync_api import sync_playwright

    plan = small_run.build(folder)
    facts = build(report_facts(plan), Path(plan.out), folder / "large")
    page_file = folder / "large" / "report.html"
    page_file.write_text(render(facts, folder / "large"), encoding="utf-8")
    print(f"{page_file}: {page_file.stat().st_size / 1e6:.1f} MB")
    with sync_playwright() as playwright:
        browser = browsers.launch(playwright.chromium)
        if browser is None:
            raise SystemExit(browsers.MISSING)
        for _ in range(3):
            page = browser.new_page(viewport={"width": 1280, "height": 800})
            meter = page.context.new_cdp_session(page)
            meter.send("Performance.enable", {"timeDomain": "threadTicks"})
            page.goto(page_file.as_uri(), wait_until="commit")
            page.wait_for_selector("#with-paper", state="attached")
            answered = page.evaluate(CLICK)
            drawn = page.evaluate("performance.getEntriesByName('first-contentful-paint')[0]?.startTime")
            page.wait_for_load_state("load")
            whole = page.evaluate("performance.timing.domInteractive - performance.timing.navigationStart")
            metrics = {entry["name"]: entry["value"] for entry in meter.send("Performance.getMetrics")["metrics"]}
            print(f"{metrics['Nodes']:.0f} nodes, {1000 * metrics['TaskDuration']:.0f} ms of processor time; ", end="")
            print(f"drawn after {drawn:.0f} ms, a button answers after {answered:.0f} ms, all is read after {whole} ms")
            page.close()
        browser.close()


if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "workflow_scripts"))
    main(Path(sys.argv[1]))
