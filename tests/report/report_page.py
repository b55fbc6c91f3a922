"""A rendered page, and a visit to it in a browser that keeps whatever the page does."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass
class Rendered:
    """A page with the run that it is about."""

    facts: dict[str, Any]
    results: Path
    page: Path

    @property
    def html(self) -> str:
        """Its text."""
        return self.page.read_text(encoding="utf-8")


@dataclass
class Visit:
    """An open page and what it has done so far."""

    page: Any
    requests: list[str]
    errors: list[str]
    dialogs: list[str]


ALL_READ = "!document.querySelector('noscript.later')"


def visit(browser: Any, file: Path, width: int = 1280, scheme: str = "light") -> Visit:
    """Open a local file and keep every request, script error and dialog."""
    page = browser.new_page(viewport={"width": width, "height": 900}, color_scheme=scheme)
    page.set_default_timeout(60_000)
    seen = Visit(page, [], [], [])
    page.on("request", lambda request: seen.requests.append(request.url))
    page.on("pageerror", lambda error: seen.errors.append(str(error)))
    page.on("console", lambda message: seen.errors.append(message.text) if message.type == "error" else None)
    page.on("dialog", lambda dialog: (seen.dialogs.append(dialog.message), dialog.dismiss()))
    page.goto(file.as_uri())
    page.wait_for_function(ALL_READ)  # closed parts become elements at leisure
    return seen


def settle(page: Any) -> None:
    """Wait until the layout has followed what was done last."""
    page.evaluate("new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))")
