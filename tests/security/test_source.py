"""What the source never does: run code from data, start a shell on data, unpack archives, print secrets."""

from __future__ import annotations

import ast
import re
from collections.abc import Collection
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
SOURCES = sorted((ROOT / "workflow_scripts").rglob("*.py"))
RULES = [ROOT / "Snakefile", *sorted((ROOT / "rules").glob("*.smk"))]
FORBIDDEN = {
    "eval", "exec", "compile", "__import__", "os.system", "os.popen", "pickle.load", "pickle.loads", "pickle.Unpickler",
    "joblib.load", "dill.load", "dill.loads", "marshal.load", "marshal.loads", "shelve.open", "pandas.read_pickle",
    "shutil.unpack_archive", "tarfile.open", "tarfile.TarFile", "zipfile.ZipFile", "torch.hub.load", "torch.jit.load",
    "subprocess.getoutput", "subprocess.getstatusoutput", "asyncio.create_subprocess_shell", "tempfile.mktemp",
    "yaml.unsafe_load", "yaml.unsafe_load_all", "yaml.full_load", "yaml.full_load_all", "gzip.open", "gzip.decompress",
    "gzip.GzipFile", "bz2.open", "bz2.decompress", "bz2.BZ2File", "lzma.open", "lzma.decompress", "lzma.LZMAFile",
    "zlib.decompress", "zlib.decompressobj",
}  # fmt: skip
ALLOWED = {
    "slurm_arrays.py": {"zlib.decompress"},  # of the line with which SLURM's plugin started this very process
    "report/archive.py": {"zipfile.ZipFile"},  # written only
    "comparison/archive.py": {"zipfile.ZipFile"},  # read after names, kinds, sizes and number were checked
}
MARKS = {"extractall": None, "trust_remote_code": False, "shell": False, "allow_pickle": False, "weights_only": True}
SAFE_LOADERS = {"SafeLoader", "CSafeLoader", "LOADER"}
SHELLS = {"sh", "bash", "dash", "ksh", "zsh", "fish"}


def imported(tree: ast.AST) -> dict[str, str]:
    """What each imported name stands for, in full."""
    names = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names |= {one.asname: one.name for one in node.names if one.asname}
        elif isinstance(node, ast.ImportFrom):
            names |= {one.asname or one.name: f"{node.module}.{one.name}" for one in node.names}
    return names


def in_full(node: ast.AST, names: dict[str, str]) -> str:
    """A dotted name with the import behind its first part."""
    first, dot, rest = ast.unparse(node).partition(".")
    return names.get(first, first) + dot + rest


def starts_a_shell(call: ast.Call) -> bool:
    """Whether the words of a call are those of a shell that is given its commands."""
    words = [
        str(one.value)
        for given in (*call.args, *(keyword.value for keyword in call.keywords))
        for one in (given.elts if isinstance(given, ast.List | ast.Tuple) else [given])
        if isinstance(one, ast.Constant)
    ]
    return any(Path(word).name in SHELLS for word in words) and any(re.fullmatch(r"-\w*c", word) for word in words)


def offences(source: str, allowed: Collection[str] = ()) -> list[str]:
    """What a piece of source does that none may do, whatever it calls it."""
    tree, found = ast.parse(source), []
    names = imported(tree)
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.names[0].name == "*":
            found.append(f"line {node.lineno}: from {node.module} import *")
        if isinstance(node, ast.Name | ast.Attribute) and in_full(node, names) in FORBIDDEN - set(allowed):
            found.append(f"line {node.lineno}: {in_full(node, names)}")
        if isinstance(node, ast.Call):
            found += [f"line {node.lineno}: {what}" for what in offences_of_call(node, in_full(node.func, names))]
    return found


def offences_of_call(call: ast.Call, name: str) -> list[str]:
    """What a call does that depends on its arguments."""
    keywords = {one.arg: one.value for one in call.keywords if one.arg}
    found = [f"{name} is no way to unpack"] if name.endswith(".extractall") else []
    for key, allowed in MARKS.items():
        if key in keywords and not (isinstance(keywords[key], ast.Constant) and keywords[key].value is allowed):
            found.append(f"{name}({key}={ast.unparse(keywords[key])})")
    if name == "torch.load" and "weights_only" not in keywords:
        found.append("torch.load without weights_only=True")
    loader = ast.unparse(keywords.get("Loader", ast.Constant(None))).split(".")[-1]
    if name in ("yaml.load", "yaml.load_all") and loader not in SAFE_LOADERS:
        found.append(f"{name} without a safe loader")
    escapes = keywords.get("autoescape")
    if name == "jinja2.Environment" and not (isinstance(escapes, ast.Constant) and escapes.value is True):
        found.append("jinja2.Environment without autoescape=True")
    if starts_a_shell(call):
        found.append(f"{name} of a shell with commands")
    return found


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: path.name)
def test_no_module_runs_what_it_reads(path: Path) -> None:
    allowed = next((names for place, names in ALLOWED.items() if f"/{path}".endswith(f"/{place}")), ())
    assert offences(path.read_text(), allowed) == []


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
        "from pickle import loads; loads(b'')",
        "from pickle import loads as read; list(map(read, rows))",
        "import pickle; read = pickle.loads",
        "from pickle import *",
        "from zipfile import ZipFile; ZipFile(x).extract('a', 'b')",
        "import zipfile as z; z.ZipFile(x).extract('a', 'b')",
        "from torch import load; load('x')",
        "from torch import hub; hub.load('x')",
        "from yaml import load; load(text)",
        "import yaml as y; y.load(text)",
        "yaml.load_all(text)",
        "yaml.load_all(text, Loader=yaml.FullLoader)",
        "from pandas import read_pickle; read_pickle('x')",
        "import gzip; gzip.decompress(data)",
        "import lzma; lzma.open(path)",
        "import jinja2; jinja2.Environment()",
        "from jinja2 import Environment; Environment(autoescape=False)",
        "subprocess.run(['bash', '-c', data])",
        "subprocess.Popen(('/bin/sh', '-ec', data))",
        "os.execl('/bin/sh', 'sh', '-c', data)",
    ],
)
def test_the_search_finds_what_it_looks_for(source: str) -> None:
    assert len(offences(source)) == 1


@pytest.mark.parametrize(
    "source",
    [
        "import re; re.compile('x')",
        "model.eval()",
        "import torch; torch.load('x', weights_only=True)",
        "from yaml import load, SafeLoader; load(text, Loader=SafeLoader)",
        "from jinja2 import Environment; Environment(autoescape=True)",
        "import zipfile; zipfile.is_zipfile(path)",
        "subprocess.run([sys.executable, 'script.py'])",
    ],
)
def test_the_search_leaves_alone_what_is_safe(source: str) -> None:
    assert offences(source) == []


def test_every_exception_is_still_needed() -> None:
    for name, allowed in ALLOWED.items():
        (path,) = (one for one in SOURCES if f"/{one}".endswith(f"/{name}"))
        assert {line.split(": ")[1] for line in offences(path.read_text())} == allowed


def test_the_safe_yaml_loader_is_the_only_one_behind_a_name() -> None:
    for path in SOURCES:
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "LOADER":
                assert "SafeLoader" in ast.unparse(node.value)


def unquoted(rules: str) -> list[str]:
    """Fields of shell lines, in either kind of quotes, that a shell would read as more than one word."""
    free = {"wildcards", "out", "params.benchmark", "threads"}  # names that match a pattern without any shell sign
    found = []
    for _, line in re.findall(r"""^\s+(?:shell:\s*)?[rf]?(["'])(.*)\1,?$""", rules, re.MULTILINE):
        if "python" not in line.lower() and " --" not in line:
            continue
        for field in re.findall(r"(?<!\{)\{([^{}]+)\}(?!\})", line):
            name, _, form = field.partition(":")
            if form != "q" and name not in free and name.split(".")[0] not in free:
                found.append(f"{{{field}}} in {line}")
    return found


@pytest.mark.parametrize("path", RULES, ids=lambda path: path.name)
def test_every_value_from_the_config_is_quoted_in_a_shell_line(path: Path) -> None:
    assert unquoted(path.read_text()) == []


@pytest.mark.parametrize("quote", ['"', "'"])
@pytest.mark.parametrize("line", ["python x.py --model {params.model}", "${{PYTHON}} x.py {input}", " --out {output}"])
@pytest.mark.parametrize("before", ["        ", "    shell: "])
def test_an_unquoted_value_is_found_in_either_kind_of_line(quote: str, line: str, before: str) -> None:
    quoted = re.sub(r"(?<!\{)\{([\w.]+)\}(?!\})", r"{\1:q}", line)
    assert len(unquoted(f"{before}{quote}{line}{quote}\n")) == 1
    assert unquoted(f"{before}{quote}{quoted}{quote}\n") == []


def test_no_rule_runs_python_inside_snakemake_or_a_script_of_the_data() -> None:
    for path in RULES:
        assert not re.search(r"^\s+(run|script|notebook|wrapper|cwl):", path.read_text(), re.MULTILINE), path.name
