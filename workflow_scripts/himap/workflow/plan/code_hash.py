"""A hash of the code that a script really runs: its syntax tree and those of all first-party modules it imports.

Comments, docstrings and layout do not count, so editing them makes nothing stale. Nothing is imported; imports inside
functions are followed, those under `if TYPE_CHECKING:` are not. What a registry imports by name must be named as a
further root (a benchmark's file, a criterion's file).
"""

from __future__ import annotations

import ast
import hashlib
from collections.abc import Iterator
from functools import cache
from pathlib import Path

from himap.project import ROOT

SCRIPTS = ROOT / "workflow_scripts"
parts: dict[str, dict[str, str]] = {}  # the modules behind each computed version, to tell later which one changed


@cache
def code_version(
    *roots: str, without: tuple[str, ...] = (), unused: tuple[str, ...] = (), folder: Path = SCRIPTS
) -> str:
    """Hash the roots (`evaluate_method.py`, `himap.benchmarks.pope`) and all that they import, as 16 hex digits.

    `without` names modules that are imported but not run by this job. `unused` names the parts of a declaration (the
    keywords of the one call that a registry's file ends with) that this job does not look at, and with them the
    functions and imports that only they need.
    """
    digest = hashlib.sha256()
    skipped = {file for module in without for file in module_files(module, folder)[-1:]}
    modules = {}
    for path, tree in sorted(trees_of(roots, skipped, unused, folder).items()):
        modules[str(path.relative_to(folder))] = fingerprint(tree)[:8]
        digest.update(f"{path.relative_to(folder)}\0{fingerprint(tree)}\0".encode())
    version = digest.hexdigest()[:16]
    parts[version] = modules
    return version


def trees_of(
    roots: tuple[str, ...], skipped: set[Path], unused: tuple[str, ...], folder: Path
) -> dict[Path, ast.Module]:
    """Return the syntax trees behind the roots and all their first-party imports, transitively."""
    modules = {root_files(root, folder)[-1] for root in roots if not root.endswith(".py")}
    queue = [path for root in roots for path in root_files(root, folder)]
    trees: dict[Path, ast.Module] = {}
    while queue:
        path = queue.pop()
        if path in trees or path in skipped:
            continue
        trees[path] = used_part(path, unused) if unused and path in modules else tree_of(path)
        queue += imported_files(trees[path], path.relative_to(folder).parent.parts, folder)
    return trees


def root_files(root: str, folder: Path) -> list[Path]:
    """Return a script's file, or a module's file after those of the packages around it."""
    files = [folder / root] if root.endswith(".py") else module_files(root, folder)
    last = root.removesuffix(".py").split(".")[-1].split("/")[-1]
    if not files or not files[-1].is_file() or last not in (files[-1].stem, files[-1].parent.name):
        raise ValueError(f"{root}: no such script or module below {folder}")
    return files


@cache
def used_part(path: Path, unused: tuple[str, ...]) -> ast.Module:
    """Return a file's declaration without the keywords `unused`, and what that needs of the file."""
    tree = ast.parse(path.read_bytes())
    definitions = {name: statement for statement in tree.body for name in defined_names(statement)}
    needed: list[ast.AST] = [statement for statement in tree.body if not defined_names(statement)]
    calls = [node for node in tree.body if isinstance(node, ast.Assign) and declares(node.value, unused)]
    if not calls:  # a file without a declaration, such as a criterion's: all of it counts
        return tree_of(path)
    if isinstance(calls[-1].value, ast.Call):
        calls[-1].value.keywords = [keyword for keyword in calls[-1].value.keywords if keyword.arg not in unused]
        needed.append(calls[-1])
    used: set[str] = set()
    for statement in needed:  # grows while it is read
        loaded = {node.id for node in ast.walk(statement) if isinstance(node, ast.Name)}
        used |= loaded
        needed += [
            node for name in sorted(loaded) if (node := definitions.get(name)) is not None and node not in needed
        ]
    for statement in needed:
        if isinstance(statement, ast.Import | ast.ImportFrom) and defined_names(statement):
            pairs = zip(statement.names, defined_names(statement), strict=True)
            statement.names = [alias for alias, name in pairs if name in used or name == "annotations"]
    return ast.Module(body=[statement for statement in tree.body if statement in needed], type_ignores=[])


def declares(value: ast.expr, unused: tuple[str, ...]) -> bool:
    """Return whether a value is a call that gives some of these keywords."""
    return isinstance(value, ast.Call) and any(keyword.arg in unused for keyword in value.keywords)


def defined_names(statement: ast.stmt) -> list[str]:
    """Return the names that a definition, an import or a plain assignment brings into a module."""
    if isinstance(statement, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
        return [statement.name]
    if isinstance(statement, ast.Import | ast.ImportFrom):
        return [(alias.asname or alias.name).split(".")[0] for alias in statement.names]
    targets = statement.targets if isinstance(statement, ast.Assign) else [getattr(statement, "target", None)]
    return [target.id for target in targets if isinstance(target, ast.Name)]


@cache
def imported_files(tree: ast.Module, package: tuple[str, ...], folder: Path) -> list[Path]:
    """Return the files that a module's imports run."""
    names = dict.fromkeys(imported_names(tree, list(package)))
    return [file for name in names for file in module_files(name, folder)]


def imported_names(node: ast.AST, package: list[str]) -> Iterator[str]:
    """Yield dotted names in all import statements below a node; `from a import b` gives both a and a.b."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.Import):
            yield from (alias.name for alias in child.names)
        elif isinstance(child, ast.ImportFrom):
            above = package[: len(package) - child.level + 1] if child.level else []
            base = ".".join([*above, *([child.module] if child.module else [])])
            # `from a import b` runs a, and b may be a name in it or a module of its own: a file is looked for behind both.
            yield base
            yield from (f"{base}.{alias.name}" for alias in child.names)
        # These imports serve the type checker alone and run no code; the `else` branch does run.
        elif isinstance(child, ast.If) and "TYPE_CHECKING" in ast.dump(child.test):
            for other in child.orelse:
                yield from imported_names(other, package)
        else:
            yield from imported_names(child, package)


@cache
def module_files(name: str, folder: Path) -> list[Path]:
    """Return the files that importing a dotted name runs: the __init__ of each package on the way, and the module's own."""
    files: list[Path] = []
    place = folder
    for part in name.split("."):
        place = place / part
        if (place / "__init__.py").is_file():
            files.append(place / "__init__.py")
        elif place.with_suffix(".py").is_file():
            return [*files, place.with_suffix(".py")]
        elif not place.is_dir():
            break
    return files


@cache
def tree_of(path: Path) -> ast.Module:
    """Return a file's syntax tree. Raise ValueError with its name if it is not valid Python."""
    try:
        return ast.parse(path.read_bytes())
    except SyntaxError as error:
        raise ValueError(f"{path}: not valid Python ({error})") from error


@cache
def fingerprint(tree: ast.Module) -> str:
    """Hash a syntax tree without docstrings, the same on every Python version for the same code."""
    digest = hashlib.sha256()
    stack: list[object] = [tree]
    while stack:
        node = stack.pop()
        if isinstance(node, ast.AST):
            digest.update(type(node).__name__.encode())
            for name, value in ast.iter_fields(node):
                # Newer Pythons add empty fields to the tree; the same code must have one hash on all of them.
                if value is None or value == [] or name in ("type_comment", "type_ignores", "kind", "ctx"):
                    continue
                digest.update(b"." + name.encode())
                stack.append(without_docstring(node, value) if name == "body" else value)
        elif isinstance(node, list):
            digest.update(f"[{len(node)}".encode())
            stack += reversed(node)
        else:
            digest.update(f"={node!r}".encode())
    return digest.hexdigest()


def without_docstring(node: ast.AST, body: object) -> object:
    """Return the statements of a module, class or function without a leading docstring."""
    owners = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
    if isinstance(node, owners) and isinstance(body, list) and body and is_text(body[0]):
        return body[1:]
    return body


def is_text(statement: ast.AST) -> bool:
    """Return whether a statement is a bare string."""
    return (
        isinstance(statement, ast.Expr)
        and isinstance(statement.value, ast.Constant)
        and isinstance(statement.value.value, str)
    )
