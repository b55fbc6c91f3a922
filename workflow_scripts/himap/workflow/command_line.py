"""Sort the words after ./reproduce: targets, options with their values, config files.

Snakemake gives an option all the words that follow it, so that `--configfile small.yaml table9` would name two config files.
Here a word belongs to an option only if it looks like one of its values; any other word is a target, wherever it is.
"""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Callable, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from himap.project import ROOT
from himap.registry import unknown
from himap.yaml_files import ConfigError, Parts, dotted, lay_over, read_config, repeated_keys

if TYPE_CHECKING:
    from himap.workflow.plan.plan import Plan
DEFAULT_CONFIG = "config.yaml"
CONFIG_OPTIONS = ("--configfile", "--configfiles")
TOOLS = {
    "estimate": "himap.workflow.show_estimate",
    "status": "himap.workflow.show_status",
    "inspect": "himap.workflow.inspect_prompt",
    "compare": "himap.workflow.compare_runs",
    "pack": "himap.workflow.pack_run",
    "check": "himap.workflow.check_before",
}  # answered by a script, not by Snakemake
OWN_WORDS = ("inspect", "compare", "pack", "check")  # of these, those that take files and texts of the user
CALLED_FROM = "HIMAP_CALLED_FROM"  # in the environment: the folder in which ./reproduce was typed
TARGETS = "HIMAP_TARGETS"  # the targets of a run, for the rules

# The three tables name the Snakemake options that users type. An option in none of them takes every word up to the next
# option, as Snakemake itself does.
SWITCHES = frozenset(  # options without a value
    ["-n", "--dry-run", "--dryrun", "-p", "--printshellcmds", "-f", "--force", "-F", "--forceall", "-k", "--keep-going",
     "-t", "--touch", "--ri", "--rerun-incomplete", "--nolock", "--unlock", "--verbose", "-S", "--summary",
     "-D", "--detailed-summary", "--nocolor", "--notemp"]
)  # fmt: skip
SINGLE = frozenset(  # options with one value
    ["-c", "--cores", "-j", "--jobs", "-e", "--executor", "-T", "--retries", "-w", "--latency-wait", "--profile",
     "--workflow-profile", "--local-cores", "--max-threads", "--conda-prefix", "--batch"]
)  # fmt: skip
PAIRS = re.compile(r"[^=]+=.*", re.DOTALL)
SHAPES = {  # options with several values, and what those look like
    **dict.fromkeys(CONFIG_OPTIONS, re.compile(r".*\.(ya?ml|json)")),
    **dict.fromkeys(["-C", "--config", "--res", "--resources", "--default-res", "--default-resources"], PAIRS),
    **dict.fromkeys(["--set-threads", "--set-resources", "--set-scatter", "--set-resource-scopes", "--groups"], PAIRS),
    **dict.fromkeys(["-q", "--quiet"], re.compile("all|host|progress|reason|rules")),
    **dict.fromkeys(["--sdm", "--software-deployment-method"], re.compile("apptainer|conda|env-modules")),
    "--rerun-triggers": re.compile("code|input|mtime|params|software-env"),
}
NEEDS_ONE = frozenset([*CONFIG_OPTIONS, "--res", "--resources"])  # whose first word is a value, whatever it looks like


def arranged(words: Sequence[str], here: Path) -> list[str]:
    """Return the words with targets first and config files by their path from the project's folder, as typed in `here`."""
    targets: list[str] = []
    rest: list[str] = []
    option = ""
    belongs: Callable[[str], bool] = refuse
    for number, word in enumerate(words):
        # After `--` all words are targets, whatever they look like.
        if word == "--":
            targets += words[number + 1 :]
            break
        if word.startswith("-"):
            option, equals, value = word.partition("=")
            belongs = refuse if equals else values_of(option)
            is_config = equals and option in CONFIG_OPTIONS
            rest.append(f"{option}={config_path(value, here)}" if is_config else word)
        # A config file may have any ending if it exists: `--configfile my.conf`.
        elif belongs(word) or (option in CONFIG_OPTIONS and (here / word).is_file()):
            rest.append(config_path(word, here) if option in CONFIG_OPTIONS else word)
        else:
            targets.append(word)
    # Targets first, because Snakemake's own parser would give them to an option before them.
    return [*targets, *rest]


def values_of(option: str) -> Callable[[str], bool]:
    """Return a test of whether the next word belongs to an option. To an option that is not known here, all words belong."""
    if option in SHAPES:
        shape = SHAPES[option]
        # A list of one, which the function below empties: only the first word is taken whatever it is.
        first = [option in NEEDS_ONE]
        return lambda word: bool((first and first.pop()) or shape.fullmatch(word))
    if option in SINGLE:
        left = [True]
        return lambda word: bool(left and left.pop())
    attached = option[:2] in SINGLE and not option.startswith("--")  # -j4
    bundled = not option.startswith("--") and all(f"-{letter}" in SWITCHES for letter in option[1:])  # -np
    return refuse if attached or bundled or option in SWITCHES else accept


def refuse(word: str) -> bool:
    """Return False: no word belongs to the option."""
    return False


def accept(word: str) -> bool:
    """Return True: every word belongs to the option."""
    return True


def config_path(word: str, here: Path) -> str:
    """Return a config file's path from the project's folder; the user's folder comes first, then the project's."""
    typed = Path(word).expanduser()
    # The user's file wins over one of the same name in the project.
    path = next((folder / typed for folder in (here, ROOT) if (folder / typed).exists()), here / typed)
    return str(path.relative_to(ROOT)) if path.is_relative_to(ROOT) else str(path)


def typed_path(word: str) -> Path:
    """Return the path of a file that the user named, as seen from the folder in which ./reproduce was typed."""
    return Path(os.environ.get(CALLED_FROM, os.getcwd())) / Path(word).expanduser()


def plan_of(files: Sequence[str]) -> Plan:
    """Return the plan of config files, which are looked for in the user's folder and then in the project."""
    from himap.workflow.config.load import load
    from himap.workflow.plan.plan import Plan

    return Plan(load(read_config([config_path(file, typed_path("")) for file in files]), ", ".join(files)))


def option(words: Sequence[str], *names: str) -> list[str]:
    """Return the words that follow an option on the command line, wherever it is given."""
    values, taking = [], False
    for word in words:
        name, equals, value = word.partition("=")
        if word.startswith("-"):
            taking = name in names and not equals  # --cores=4 takes no further word
            values += [value] if name in names and equals else []
        elif taking:
            values.append(word)
    return values


def is_local(words: Sequence[str]) -> bool:
    """Return whether the jobs run on this machine by this project's own profile."""
    named = option(words, "--profile")
    # `--executor slurm`, or a profile other than the project's local one, may send jobs anywhere.
    return not option(words, "--executor", "-e") and (not named or Path(named[0]) == Path("profiles/local"))


def has_letter(words: Sequence[str], letter: str) -> bool:
    """Return whether a bundle of short options (-np) holds a letter."""
    return any(re.fullmatch(rf"-[a-zA-Z]*{letter}[a-zA-Z]*", word) for word in words)


def config_files(words: Sequence[str]) -> list[str]:
    """Return the config files that are named, or the default one."""
    return option(words, *CONFIG_OPTIONS) or [DEFAULT_CONFIG]


def settings(words: Sequence[str]) -> dict[str, Any]:
    """Return the config that the words name: files laid over each other, single values of --config above them."""
    return lay_over(read_config(config_files(words)), single_values(words))


def single_values(words: Sequence[str]) -> dict[str, Any]:
    """Return the values of --config by key. Raise ConfigError for a key that is given twice, also inside a value."""
    # --config seed=1 'models={mini: {path: models/mini}}': a value may be YAML with keys of its own.
    pairs = [word.partition("=") for word in option(words, "--config", "-C")]
    count = Counter(key for key, equals, _ in pairs if equals)
    problems = [f"{key}: is given {times} times; keep one" for key, times in count.items() if times > 1]
    values = {}
    for key, equals, text in pairs:
        if equals:
            values[key], repeated = value_of(text)
            problems += [f"{dotted([key, *parts])}: is given {times} times; keep one" for parts, times in repeated]
    if problems:
        raise ConfigError(problems, "--config")
    return values


def value_of(text: str) -> tuple[Any, list[tuple[Parts, int]]]:
    """Return a value from the command line as YAML reads it, or as text, and its keys that are there more than once."""
    try:
        tree = yaml.compose(text, Loader=yaml.SafeLoader)
        # Parsed twice: `safe_load` silently takes the last of two equal keys, the tree still has both.
        return yaml.safe_load(text), [(parts, len(lines)) for parts, lines in repeated_keys(tree)]
    except (yaml.YAMLError, ValueError):  # ValueError: an impossible date, as 2024-13-01
        return text, []


def results_folder(words: Sequence[str]) -> str:
    """Return the results folder that the words or their config name."""
    try:
        return str(settings(words).get("output", "results"))
    except (OSError, ValueError):  # a broken config is reported by `check`
        return "results"


def check(words: Sequence[str]) -> None:
    """Raise a ValueError that names what is wrong with the config or a target, before anything is touched."""
    from himap.workflow.config.load import load
    from himap.workflow.plan.plan import Plan

    files = config_files(words)
    if any(word in CONFIG_OPTIONS for word in words) and not option(words, *CONFIG_OPTIONS):
        raise ValueError("--configfile needs a file, e.g. --configfile presets/paper.yaml")
    name = ", ".join(files)
    plan = Plan(load(settings(words), name))
    for target in targets(words):
        check_target(target, plan, name)


def targets(words: Sequence[str]) -> list[str]:
    """Return the targets of arranged words: those before the first option."""
    first = next((number for number, word in enumerate(words) if word.startswith("-")), len(words))
    return list(words[:first])


def check_target(target: str, plan: Plan, name: str) -> None:
    """Raise a ValueError if a target is neither known nor a file."""
    from himap.workflow.plan import targets as named

    known = [*named.targets(plan), *named.OTHER_TARGETS]
    # A path is a file, which Snakemake knows or refuses by itself.
    if target in known or "/" in target or "." in target:
        return
    # A table of the config that is no target has lost all its columns.
    if target in plan.config.tables:
        columns = ", ".join(plan.config.tables[target].benchmarks) or "none"
        raise ValueError(
            f"{target} has no column under {name}: `benchmarks` has no entry for any of its benchmarks ({columns})"
        )
    raise unknown("target", target, [*known, *TOOLS])


def versions() -> str:
    """Return this project's version and Snakemake's."""
    import tomllib

    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    return f"{project['name']} {project['version']} (Snakemake {version('snakemake')})"
