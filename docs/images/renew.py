"""Renew the pictures of the docs from a finished run of the default config: drawings, and the first screen of its report.

    python docs/images/renew.py --results results

The screen is taken by Playwright in the machine's Chromium, Chrome or Edge, or in its own (envs/requirements-dev.txt).
"""

from __future__ import annotations

import argparse
import shutil
from collections.abc import Sequence
from pathlib import Path

from PIL import Image

IMAGES = Path(__file__).resolve().parent
DRAWINGS = {"frontier": "frontier", "figure4": "mini-saliency", "figure5": "mini-disruption"}
BROWSERS = ("chromium", "chromium-browser", "google-chrome", "chrome", "microsoft-edge")
WIDTH = 1280


def main(argv: Sequence[str] | None = None) -> None:
    """Write every picture, and say which run each is from."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--results", default="results", type=Path, metavar="DIR", help="folder of a finished run")
    parser.add_argument("--out", default=IMAGES, type=Path, metavar="DIR", help="where the pictures go")
    arguments = parser.parse_args(argv)
    sources = [arguments.results / "figures" / f"{name}.png" for name in DRAWINGS]
    missing = [str(path) for path in [arguments.results / "report.html", *sources] if not path.is_file()]
    if missing:
        parser.error(
            f"{', '.join(missing)} missing: run ./reproduce first, or name the folder of its results (--results)"
        )
    for path, name in zip(sources, DRAWINGS.values(), strict=True):
        reduce(path, arguments.out / f"{name}.png")
    picture = arguments.out / "report.png"
    take_first_screen(arguments.results / "report.html", picture)
    reduce(picture, picture)
    print(f"{len(DRAWINGS) + 1} pictures written to {arguments.out}")


def take_first_screen(report: Path, picture: Path) -> None:
    """Take a picture of the report as it opens, down to the end of its first section."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        installed = next(filter(None, map(shutil.which, BROWSERS)), None)
        browser = playwright.chromium.launch(executable_path=installed, args=["--no-sandbox"])
        page = browser.new_page(viewport={"width": WIDTH, "height": 800}, color_scheme="light")
        page.goto(report.resolve().as_uri())
        height = page.eval_on_selector("#top", "one => Math.ceil(one.getBoundingClientRect().bottom + 24)")
        page.set_viewport_size({"width": WIDTH, "height": height})
        page.screenshot(path=picture)
        browser.close()


def reduce(source: Path, target: Path) -> None:
    """Write a picture as small as it can be with every color as it is."""
    with Image.open(source) as image:
        image.convert("RGB").save(target, "PNG", optimize=True)


if __name__ == "__main__":
    main()
