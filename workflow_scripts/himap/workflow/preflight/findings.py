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

    @property
    def line(self) -> str:
        """Return the finding as text, without what to do."""
        return f"  {MARKS[self.ok]} {self.name}: {self.words}"


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
    """Yield the list line by line, a heading per part, and what to do below the first finding that needs it."""
    # Findings come grouped by part, one after the other.
    part = advice = ""
    for finding in findings:
        if finding.part != part:
            part, advice = finding.part, ""
            yield part
        yield finding.line
        # The same advice for several findings in a row is given once.
        if finding.advice and finding.advice != advice:
            yield f"      {finding.advice}"
        advice = finding.advice


def summary(findings: list[Finding]) -> str:
    """Return how many of the checks failed."""
    wrong, open_ = (sum(finding.ok is value for finding in findings) for value in (False, None))
    unknown = f"; {open_} could not be made here" if open_ else ""
    if not wrong:
        return f"All {len(findings) - open_} checks passed{unknown}."
    return f"{wrong} of {len(findings)} checks failed{unknown}. Fix what is marked ✗ before you start."
