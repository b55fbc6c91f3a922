"""What a file of Python does to a hash of code: the fingerprint of its syntax tree, and the names that it imports.

Reading the syntax trees of the whole project takes seconds, so what a file's content came to is kept between processes.
"""

from __future__ import annotations

import ast
import atexit
import hashlib
import json
import sys
from collections.abc import Iterator
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import NamedTuple

from himap.files import write_text
from himap.project import ROOT

KEPT = ROOT / ".snakemake" / "code-files.json"
FILES_KEPT = 1000


class Code(NamedTuple):
    """What counts of a file."""

    fingerprint: str
    imports: list[str]


@cache
def read_code(file: str, folder: Path, unused: tuple[str, ...] = ()) -> Code:
    """Return what counts of a file below a folder, of a declaration without the keywords `unused`."""
    # The package resolves relative imports: himap/report/page.py lies in [himap, report].
    content, package = (folder / file).read_bytes(), file.split("/")[:-1]
    key = hashlib.sha256(repr((content, package, unused)).encode()).hexdigest()
    code = kept_codes().get(key)
    if code is None:
        tree = used_part(parsed(content, folder / file), unused) if unused else parsed(content, folder / file)
        code = kept_codes()[key] = Code(fingerprint(tree), list(dict.fromkeys(imported_names(tree, package))))
        remember()
    return code


@cache
def kept_codes() -> dict[str, Code]:
    """Return what earlier processes read, as far as this way of reading and this Python did; a damaged file counts as empty."""
    with suppress(OSError, ValueError, TypeError, KeyError):
        kept = json.loads(KEPT.read_text(encoding="utf-8"))
        if kept["reader"] == reader():
            return {key: Code(fingerprint, imports) for key, (fingerprint, imports) in kept["files"].items()}
    return {}


@cache
def remember() -> None:
    """Keep what was read for later processes, once this one ends."""

    def write() -> None:
        newest = dict(list(kept_codes().items())[-FILES_KEPT:])
        with suppress(OSError):  # it only saves time
            write_text(KEPT, json.dumps({"reader": reader(), "files": newest}))

    atexit.register(write)


@cache
def reader() -> str:
    """Return what decides how a file is read: this module and the version of Python."""
    return f"{sys.version_info[:2]} {hashlib.sha256(Path(__file__).read_bytes()).hexdigest()}"


def parsed(content: bytes, path: Path) -> ast.Module:
    """Return a file's syntax tree. Raise ValueError with its name if it is not valid Python."""
    try:
        return ast.parse(content)
    except SyntaxError as error:
        raise ValueError(f"{path}: not valid Python ({error})") from error


def used_part(tree: ast.Module, unused: tuple[str, ...]) -> ast.Module:
    """Return a file's declaration without the keywords `unused`, and what that needs of the file. Its tree is used up."""
    # Definitions and imports count only if something needed uses their names. Bare statements always count.
    definitions = {name: statement for statement in tree.body for name in defined_names(statement)}
    needed: list[ast.AST] = [statement for statement in tree.body if not defined_names(statement)]
    # The declaration is the last call with such a keyword: BENCHMARK = Benchmark(name=..., rows=score,
    # make_prompt=...).
    calls = [node for node in tree.body if isinstance(node, ast.Assign) and declares(node.value, unused)]
    if not calls:  # a file without a declaration, such as a criterion's: all of it counts
        return tree
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
            # Of `from a import b, c` only the names in use stay; `annotations` is the import from __future__.
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


def imported_names(node: ast.AST, package: list[str]) -> Iterator[str]:
    """Yield dotted names in all import statements below a node; `from a import b` gives both a and a.b."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.Import):
            yield from (alias.name for alias in child.names)
        elif isinstance(child, ast.ImportFrom):
            # `from .x import y` in package a.b means a.b.x (level 1), `from ..x` means a.x (level 2).
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
                # Field names and lengths of lists keep different trees from giving the same bytes.
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
