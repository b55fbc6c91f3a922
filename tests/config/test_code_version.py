"""A script's code version changes with the code that it runs, and with nothing else."""

from __future__ import annotations

from pathlib import Path

import pytest
from himap.workflow.plan import code_file
from himap.workflow.plan.code_file import fingerprint, parsed, read_code, used_part
from himap.workflow.plan.code_hash import code_version as cached_version
from himap.workflow.plan.code_hash import module_files
from himap.workflow.plan.staleness import FIGURE_PAGE, FIGURE_PLAN

CACHED = (cached_version, module_files, read_code)
FILES = {
    "script.py": "import json\nfrom typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    import lib.typed\n\n\ndef main():\n    from lib.deep import one\n    return one()\n",
    "lib/__init__.py": "",
    "lib/deep.py": '"""About."""\nfrom . import sibling\n\n\ndef one():\n    """Return it."""\n    return sibling.VALUE\n',
    "lib/sibling.py": "VALUE = 1\n",
    "lib/typed.py": "X = 1\n",
    "lib/other.py": "Y = 1\n",
    "lib/declared.py": "from lib import scoring, asking\n\n\ndef ask():\n    return asking.Q\n\n\ndef score():\n    return scoring.S\n\n\nENTRY = dict(ask=ask, score=score)\n",
    "lib/scoring.py": "S = 1\n",
    "lib/asking.py": "Q = 1\n",
    "lib/plots.py": "WIDTH = 2\n\n\ndef helper():\n    return 1\n\n\ndef first():\n    return helper()\n\n\ndef second():\n    return WIDTH\n",
}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A small package with a script."""
    for name, text in FILES.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    return tmp_path


def version(folder: Path, *roots: str, **options: tuple[str, ...]) -> str:
    """The version as a new process would compute it."""
    for function in CACHED:
        function.cache_clear()
    return cached_version(*roots, folder=folder, **options)


def changes(folder: Path, name: str, text: str, *roots: str, **options: tuple[str, ...]) -> bool:
    """Whether an edit changes the version."""
    before = version(folder, *roots, **options)
    (folder / name).write_text(text)
    return version(folder, *roots, **options) != before


def test_an_edit_of_a_module_imported_at_any_depth_counts(folder: Path) -> None:
    assert changes(folder, "lib/sibling.py", "VALUE = 2\n", "script.py")
    assert changes(folder, "lib/__init__.py", "import os\n", "script.py")


def test_comments_docstrings_and_layout_do_not_count(folder: Path) -> None:
    text = '"""Reworded."""\n\n# a remark\nfrom . import sibling\n\n\ndef one():\n    """Differently."""\n    return (sibling\n            .VALUE)\n'
    assert not changes(folder, "lib/deep.py", text, "script.py")


def test_text_that_is_no_docstring_counts(folder: Path) -> None:
    assert changes(folder, "lib/sibling.py", "VALUE = '1'\n", "script.py")
    assert changes(folder, "lib/sibling.py", "VALUE = b'1'\n", "script.py")


def test_modules_that_are_not_imported_do_not_count(folder: Path) -> None:
    assert not changes(folder, "lib/other.py", "Y = 2\n", "script.py")
    assert not changes(folder, "lib/typed.py", "X = 2\n", "script.py")


def test_what_a_registry_imports_by_name_is_named_as_a_root(folder: Path) -> None:
    assert changes(folder, "lib/other.py", "Y = 2\n", "script.py", "lib.other")
    with pytest.raises(ValueError, match="no such script or module"):
        version(folder, "script.py", "lib.missing")


def test_of_a_declaration_only_the_used_part_counts(folder: Path) -> None:
    assert not changes(folder, "lib/scoring.py", "S = 2\n", "lib.declared", unused=("score",))
    assert changes(folder, "lib/scoring.py", "S = 3\n", "lib.declared", unused=("ask",))
    text = FILES["lib/declared.py"].replace("return scoring.S", "return scoring.S + 1")
    assert not changes(folder, "lib/declared.py", text, "lib.declared", unused=("score",))
    text = text.replace("return asking.Q", "return asking.Q + 1")
    assert changes(folder, "lib/declared.py", text, "lib.declared", unused=("score",))


def test_a_question_figures_numbers_do_not_hang_on_its_caption_nor_its_drawing_on_its_numbers() -> None:
    path = Path(__file__).resolve().parents[2] / "workflow_scripts/himap/figures/blocking.py"
    numbers, drawing = (*FIGURE_PLAN, *FIGURE_PAGE, "title", "panels"), (*FIGURE_PLAN, *FIGURE_PAGE, "numbers")

    def counted(old: str, new: str, unused: tuple[str, ...]) -> bool:
        text = path.read_text()
        assert old in text
        before, after = (used_part(parsed(source.encode(), path), unused) for source in (text, text.replace(old, new)))
        return fingerprint(before) != fingerprint(after)

    assert not counted("Bars are 95 % intervals", "Whiskers are 95 % intervals", numbers)
    assert not counted("assign(measure=measure)", "assign(measure=str(measure))", drawing)
    assert counted("assign(measure=measure)", "assign(measure=str(measure))", numbers)
    assert counted('"picture late or gone"', '"late or gone"', drawing)


def test_a_module_that_declares_nothing_counts_as_a_whole(folder: Path) -> None:
    assert changes(folder, "lib/plots.py", FILES["lib/plots.py"] + "\nNEW = 1\n", "lib.plots", unused=("score",))
    text = FILES["lib/plots.py"] + "\nPATTERN = dict(other=1)\n"
    assert changes(folder, "lib/plots.py", text, "lib.plots", unused=("score",))
    assert changes(folder, "lib/plots.py", text.replace("WIDTH = 2", "WIDTH = 3"), "lib.plots", unused=("score",))


def test_code_that_cannot_be_read_is_named(folder: Path) -> None:
    (folder / "lib/sibling.py").write_text("VALUE =\n")
    with pytest.raises(ValueError, match=r"sibling\.py: not valid Python"):
        version(folder, "script.py")


def test_what_an_earlier_process_read_is_taken_and_a_damaged_note_of_it_is_not(
    folder: Path, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept = tmp_path_factory.mktemp("state") / "code-files.json"
    parse, parsed, ends = code_file.parsed, [], []
    monkeypatch.setattr(code_file, "KEPT", kept)
    monkeypatch.setattr(code_file.atexit, "register", ends.append)
    monkeypatch.setattr(code_file, "parsed", lambda text, path: (parsed.append(path.name), parse(text, path))[1])

    def in_a_new_process() -> tuple[str, list[str]]:
        for function in (code_file.kept_codes, code_file.remember):
            function.cache_clear()
        parsed.clear()
        found = version(folder, "script.py")
        while ends:
            ends.pop()()
        return found, sorted(parsed)

    first, read = in_a_new_process()
    assert read == ["__init__.py", "deep.py", "script.py", "sibling.py"]
    assert in_a_new_process() == (first, [])
    (folder / "lib/sibling.py").write_text("VALUE = 2\n")
    changed, read = in_a_new_process()
    assert changed != first
    assert read == ["sibling.py"]
    for damaged in ("", "[]", '{"reader": 1}', kept.read_text()[:-9], kept.read_text().replace('"files"', '"x"')):
        kept.write_text(damaged)
        assert in_a_new_process() == (changed, ["__init__.py", "deep.py", "script.py", "sibling.py"])
