"""The house's language: plain current English, American spelling, docstrings of functions that begin with a verb."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
LIBRARY = ROOT / "workflow_scripts" / "himap"
CODE = [*(ROOT / "workflow_scripts").glob("*.py"), *LIBRARY.rglob("*.py")]
NOUNS = (  # where docstrings may begin with a noun
    LIBRARY / "pruning" / "criteria",  # a criterion's docstring is its description in lists
)
PAGES = [
    *ROOT.glob("*.md"),
    *(ROOT / "docs").rglob("*.md"),
    *(ROOT / "rules").glob("*.smk"),
    *(ROOT / "envs").glob("*.sh"),
    ROOT / "models/mini/README.md",
]
# Each of these has a plain word: downloaded, fix, is, embedded world, finish, mentioned, available, by, so, in it, again.
ARCHAIC = re.compile(
    r"\b(be had|mend(ed|s)?|stands? in|mini world|c(o|a)mes? to no end|spoken of|at hand|whereby|hence|thereof|wherein|anew)\b",
    re.IGNORECASE,
)
BRITISH = re.compile(  # but for names in quotes, such as a key of models/mini/training.json
    r"(?<!\")\b(colours?|behaviours?|centre[sd]?|learnt|honour\w*|neighbours?|normalis\w+|recognis\w+|grey)\b"
)
NOUN_FIRST = {"A", "All", "An", "Both", "How", "One", "That", "The", "What", "Where", "Whether", "Which", "Who"}


def matches(pattern: re.Pattern[str]) -> list[str]:
    """Return where a pattern occurs in code and pages, as file:line: words."""
    return [
        f"{path.relative_to(ROOT)}:{number}: {match[0]}"
        for path in (*CODE, *PAGES)
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1)
        for match in pattern.finditer(line)
    ]


def docstrings(path: Path) -> Iterator[tuple[str, int, str]]:
    """Yield name, line and docstring of each function that has one."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.FunctionDef) and (text := ast.get_docstring(node)):
            yield node.name, node.lineno, text


def test_no_archaic_turn_is_left() -> None:
    assert matches(ARCHAIC) == []


def test_spelling_is_american() -> None:
    assert matches(BRITISH) == []


def test_docstrings_of_functions_begin_with_a_verb() -> None:
    assert [
        f"{path.relative_to(ROOT)}:{line}: {name}: {text.splitlines()[0]}"
        for path in CODE
        if not any(folder in path.parents for folder in NOUNS)
        for name, line, text in docstrings(path)
        if text.split()[0] in NOUN_FIRST
    ] == []
