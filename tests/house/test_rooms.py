"""Who may import whom: the rooms of the library, by the syntax trees of their files.

Imports inside functions count, since they run; those under `if TYPE_CHECKING:` do not.
"""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
SCRIPTS = ROOT / "workflow_scripts"
MODULES = {
    ".".join(path.relative_to(SCRIPTS).with_suffix("").parts).removesuffix(".__init__"): path
    for path in sorted(SCRIPTS.rglob("*.py"))
}
LIBRARY = sorted(name for name in MODULES if name.partition(".")[0] == "himap")

KNOWS_NOTHING_OF = {  # a room, and what neither it nor anything that it imports may reach
    "himap.decoder": ("himap.pruning", "himap.experiments", "himap.models", "himap.benchmarks", "himap.tables", "himap.report"),
    "himap.pruning": ("himap.experiments", "himap.benchmarks", "himap.tables", "himap.report"),
    "himap.experiments": ("himap.paper", "himap.tables", "himap.report"),
    "himap.metrics": ("himap.decoder", "himap.pruning", "himap.experiments", "himap.models", "himap.benchmarks", "himap.report"),
    "himap.paper": ("himap.pruning", "himap.experiments", "himap.benchmarks", "himap.tables", "himap.report"),
    "himap.benchmarks": ("himap.experiments", "himap.tables", "himap.report"),
    "himap.tables": ("himap.experiments", "himap.report"),
}  # fmt: skip
KNOW_THE_WORKFLOW = ("himap.workflow", "himap.report", "himap.tools")
MAY_START_WITH_TORCH = (
    "himap.models", "himap.decoder", "himap.experiments", "himap.pruning.intervention", "himap.mini", "himap.tools.release_baseline",
)  # fmt: skip


def inside(name: str, *rooms: str) -> bool:
    """Return whether a module is one of the rooms or lies in one."""
    return any(name == room or name.startswith(f"{room}.") for room in rooms)


def is_for_types(node: ast.AST) -> bool:
    """Return whether a statement is `if TYPE_CHECKING:`."""
    return isinstance(node, ast.If) and "TYPE_CHECKING" in ast.dump(node.test)


def statements(tree: ast.AST, *, functions: bool) -> Iterator[ast.stmt]:
    """Yield the import statements below a node that run, those inside functions only where asked for."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.Import | ast.ImportFrom):
            yield node
        elif is_for_types(node) and isinstance(node, ast.If):
            yield from (found for other in node.orelse for found in statements(other, functions=functions))
        elif functions or not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
            yield from statements(node, functions=functions)


def names_in(name: str, *, functions: bool = True) -> Iterator[str]:
    """Yield the dotted names that a module imports; of `from a import b` a.b where that is a module, else a."""
    for node in statements(ast.parse(MODULES[name].read_bytes()), functions=functions):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, f"{name}: import by the whole name, not relative"
            for alias in node.names:
                whole = f"{node.module}.{alias.name}"
                yield whole if whole in MODULES else str(node.module)


@cache
def imports() -> dict[str, frozenset[str]]:
    """Return the modules of this project that each one imports."""
    return {name: frozenset(other for other in names_in(name) if other in MODULES) for name in MODULES}


def reached(name: str) -> set[str]:
    """Return all modules that a module imports, directly or through others."""
    known: set[str] = set()
    waiting = [name]
    while waiting:
        new = imports()[waiting.pop()] - known
        known |= new
        waiting += new
    return known


def test_the_imports_are_read_as_python_does() -> None:
    assert "himap.benchmarks._base" in imports()["himap.tables.records"]  # from a package import a module
    assert "himap.benchmarks._scoring" in imports()["himap.benchmarks"]  # inside a function
    assert not inside("himap.pruning_by_hand", "himap.pruning")
    assert "himap.paper.published" in reached("render_report")  # through others
    assert "himap.metrics.paired" not in imports()["himap.benchmarks"]  # for types alone


def test_no_module_imports_itself_through_others() -> None:
    try:
        list(TopologicalSorter(imports()).static_order())
    except CycleError as error:
        pytest.fail(f"a circle of imports: {' <- '.join(error.args[1])}")


@pytest.mark.parametrize("room", KNOWS_NOTHING_OF)
def test_a_room_reaches_none_that_stand_on_it(room: str) -> None:
    wrong = {
        (name, other)
        for name in LIBRARY
        if inside(name, room)
        for other in reached(name)
        if inside(other, *KNOWS_NOTHING_OF[room])
    }
    assert wrong == set()


def test_only_workflow_report_tools_and_scripts_import_the_workflow() -> None:
    wrong = {
        (name, other)
        for name in LIBRARY
        if not inside(name, *KNOW_THE_WORKFLOW)
        for other in imports()[name]
        if inside(other, "himap.workflow")
    }
    assert wrong == set()


def test_the_library_imports_no_script() -> None:
    assert {(name, other) for name in LIBRARY for other in imports()[name] if not inside(other, "himap")} == set()


def test_torch_is_imported_at_the_top_only_where_models_are_computed() -> None:
    heavy = {
        name for name in LIBRARY for other in names_in(name, functions=False) if inside(other, "torch", "transformers")
    }
    assert {name for name in heavy if not inside(name, *MAY_START_WITH_TORCH)} == set()
    assert "himap.decoder.loop" in heavy


def test_reading_and_planning_a_config_imports_neither_torch_nor_pandas_nor_matplotlib() -> None:
    code = (
        "import sys; from himap.workflow.config.load import load; from himap.yaml_files import read_config;"
        "from himap.workflow.plan.plan import Plan; from himap.workflow.plan import settings, staleness, targets;"
        "plan = Plan(load(read_config(['presets/paper.yaml']))); assert targets.jobs(plan);"
        "assert [staleness.evaluation(plan, *cell) for cell in plan.evaluations()];"
        "assert [settings.table(plan, name) for name in plan.tables()];"
        "print(sorted({'torch', 'transformers', 'pandas', 'pyarrow', 'matplotlib'} & set(sys.modules)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, env={"PYTHONPATH": str(SCRIPTS)}, text=True, capture_output=True
    )
    assert done.stdout.strip() == "[]", done.stdout + done.stderr
