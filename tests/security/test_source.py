"""What the source never does: run code from data, start a shell on data, unpack archives, print secrets."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
SOURCES = sorted((ROOT / "workflow_scripts").rglob("*.py"))
RULES = [ROOT / "Snakefile", *sorted((ROOT / "rules").glob("*.smk"))]
FORBIDDEN = {
    "eval", "exec", "compile", "__import__", "os.system", "os.popen", "pickle.load", "pickle.loads", "pickle.Unpickler",
    "joblib.load", "dill.load", "dill.loads", "marshal.loads", "shelve.open", "pandas.read_pickle", "pd.read_pickle",
    "shutil.unpack_archive", "tarfile.open", "zipfile.ZipFile", "torch.hub.load", "torch.jit.load", "subprocess.getoutput",
    "subprocess.getstatusoutput", "yaml.unsafe_load", "yaml.full_load", "tempfile.mktemp",
}  # fmt: skip
MARKS = {"extractall": None, "trust_remote_code": False, "shell": False, "allow_pickle": False, "weights_only": True}


def calls(tree: ast.AST) -> Iterator[tuple[str, dict[str, ast.expr], int]]:
    """Every call: its dotted name, its keywords, its line."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            yield ast.unparse(node.func), {one.arg: one.value for one in node.keywords if one.arg}, node.lineno


def offences(source: str) -> list[str]:
    """What a piece of source does that none may do."""
    found = []
    for name, keywords, line in calls(ast.parse(source)):
        if name in FORBIDDEN or name.endswith(".extractall"):
            found.append(f"line {line}: {name}")
        for key, allowed in MARKS.items():
            if key in keywords and not (isinstance(keywords[key], ast.Constant) and keywords[key].value is allowed):
                found.append(f"line {line}: {name}({key}={ast.unparse(keywords[key])})")
        if name == "torch.load" and "weights_only" not in keywords:
            found.append(f"line {line}: torch.load without weights_only=True")
        safe = {"SafeLoader", "CSafeLoader", "LOADER"}
        if name == "yaml.load" and ast.unparse(keywords.get("Loader", ast.Constant(None))).split(".")[-1] not in safe:
            found.append(f"line {line}: yaml.load without a safe loader")
    return found


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: path.name)
def test_no_module_runs_what_it_reads(path: Path) -> None:
    assert offences(path.read_text()) == []


@pytest.mark.parametrize(
    "source",
    [
        "import torch; torch.load('x')",
        "torch.load('x', weights_only=False)",
        "subprocess.run(f'cat {x}', shell=True)",
        "AutoModel.from_pretrained('x', trust_remote_code=True)",
        "AutoModel.from_pretrained('x', trust_remote_code=settings['code'])",
        "np.load('x', allow_pickle=True)",
        "yaml.load(text, Loader=yaml.Loader)",
        "yaml.load(text)",
        "tarfile.open('x')",
        "archive.extractall('x')",
        "pickle.loads(b'')",
        "eval('1')",
        "os.system('ls')",
    ],
)
def test_the_search_finds_what_it_looks_for(source: str) -> None:
    assert len(offences(source)) == 1


def test_the_safe_yaml_loader_is_the_only_one_behind_a_name() -> None:
    for path in SOURCES:
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "LOADER":
                assert "SafeLoader" in ast.unparse(node.value)


@pytest.mark.parametrize("path", RULES, ids=lambda path: path.name)
def test_every_value_from_the_config_is_quoted_in_a_shell_line(path: Path) -> None:
    free = {"wildcards", "out", "params.benchmark", "threads"}  # names that match a pattern without any shell sign
    for line in re.findall(r'^\s+"(.*)"$', path.read_text(), re.MULTILINE):
        if not ("python " in line or " --" in line):
            continue
        for field in re.findall(r"(?<!\{)\{([^{}]+)\}(?!\})", line):
            name, _, form = field.partition(":")
            assert form == "q" or name in free or name.split(".")[0] in free, f"{path.name}: {{{field}}} in {line}"


def test_no_rule_runs_python_inside_snakemake_or_a_script_of_the_data() -> None:
    for path in RULES:
        assert not re.search(r"^\s+(run|script|notebook|wrapper|cwl):", path.read_text(), re.MULTILINE), path.name
