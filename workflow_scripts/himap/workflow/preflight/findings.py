"""A finding: one thing that was checked, how it came out, and what to do if it is wrong."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

MARKS = {True: "✓", False: "✗", None: "–"}


@dataclass(frozen=True)
class Finding:
    """One line of the list. `ok` is None where it could not be checked here, which is no failure."""

    part: str
    name: str
    ok: bool | None
    words: str
    advice: str = ""

    def lines(self) -> list[str]:
        """Return the finding as text, with what to do below it."""
        first = f"  {MARKS[self.ok]} {self.name}: {self.words}"
        return [first, *([f"      {self.advice}"] if self.advice else [])]


Check = Callable[[], Iterable[Finding]]


def tried(part: str, name: str, check: Callable[[], Finding], advice: str) -> Finding:
    """Return a check's finding; what it raises for a user to fix becomes a failure with its own words."""
    try:
        return check()
    except (ValueError, OSError) as error:
        return Finding(part, name, False, one_line(error), advice)


def one_line(error: BaseException) -> str:
    """Return an error's text on one line."""
    return " ".join(str(error).split()) or type(error).__name__


def listed(findings: Iterable[Finding]) -> Iterator[str]:
    """Yield the list line by line, a heading per part."""
    part = ""
    for finding in findings:
        if finding.part != part:
            part = finding.part
            yield part
        yield from finding.lines()


def summary(findings: list[Finding]) -> str:
    """Return how many of the checks failed."""
    wrong, open_ = (sum(finding.ok is value for finding in findings) for value in (False, None))
    unknown = f"; {open_} could not be made here" if open_ else ""
    if not wrong:
        return f"All {len(findings) - open_} checks passed{unknown}."
    return f"{wrong} of {len(findings)} checks failed{unknown}. Fix what is marked ✗ before you start."
