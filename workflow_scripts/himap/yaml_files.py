"""Read YAML files of settings: UTF-8, no key twice, several files merged; errors name the file, the line and the key."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from himap.registry import did_you_mean

Parts = list[str | int]  # a path in a config: ["methods", "himap", "stages", 0, "layer"]


class ConfigError(ValueError):
    """All problems of a config, one line each."""

    def __init__(self, problems: Sequence[str], name: str = "the config") -> None:
        self.problems = list(problems)
        count = f"{name} has {len(self.problems)} problems; nothing was run"
        several = "\n".join([count, *(f"  {line}" for line in self.problems)])
        super().__init__(several if len(self.problems) > 1 else f"{name}: {self.problems[0]}")


def read_config(files: Sequence[str | Path]) -> dict[str, Any]:
    """Return the settings of config files, each merged over the one before."""
    merged: dict[str, Any] = {}
    for file in files:
        merged = lay_over(merged, read_mapping(file))
    return merged


def lay_over(below: Mapping[str, Any], above: Mapping[str, Any]) -> dict[str, Any]:
    """Return one mapping merged over another, key by key.

    Neither is changed in place, because a YAML alias is the same object in two places of a file.
    """
    merged = dict(below)
    for key, value in above.items():
        lower = below.get(key)
        # Only mappings are merged. A list replaces the one below, since nobody could take an entry out of it otherwise.
        merged[key] = lay_over(lower, value) if isinstance(lower, Mapping) and isinstance(value, Mapping) else value
    return merged


def read_mapping(file: str | Path) -> dict[str, Any]:
    """Return a YAML file's keys and values. Raise ConfigError with the file, the line and what to do."""
    text = read_text(Path(file))
    try:
        if problems := [repeated_line(*key) for key in repeated_keys(yaml.compose(text, Loader=yaml.SafeLoader))]:
            raise ConfigError(problems, str(file))
        content = yaml.safe_load(text)
    # It is a ValueError too, and has its message already; the last branch would wrap it once more.
    except ConfigError:
        raise
    except yaml.YAMLError as error:
        raise ConfigError([yaml_problem(error, text)], str(file)) from None
    except RecursionError:
        raise ConfigError(["is nested too deeply"], str(file)) from None
    except ValueError as error:  # e.g. a date that does not exist, or a number with thousands of digits
        raise ConfigError([f"holds a value that cannot be read: {error}"], str(file)) from None
    if content is None:
        raise ConfigError(["holds no settings; it is empty, or all of it is comments"], str(file))
    if not isinstance(content, dict):
        raise ConfigError([f"should hold keys and values, as in `seed: 0`, but is a {kind_of(content)}"], str(file))
    return content


def read_text(file: Path) -> str:
    """Return the text of a file. Raise ConfigError if it is missing, a folder, unreadable or not UTF-8."""
    try:
        data = file.read_bytes()
    except FileNotFoundError:
        raise ConfigError([f"no such file{did_you_mean(file.name, siblings(file.parent))}"], str(file)) from None
    except IsADirectoryError:
        files = ", ".join(str(file / name) for name in siblings(file))
        raise ConfigError([f"is a folder; name a YAML file{f' in it: {files}' if files else ''}"], str(file)) from None
    except OSError as error:
        raise ConfigError([f"cannot be read ({error.strerror})"], str(file)) from None
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        way_out = "save it as UTF-8" if b"\0" not in data else "it looks like a binary file; name a YAML file"
        raise ConfigError(
            [f"line {line} is not UTF-8 text (byte 0x{data[error.start]:02x}); {way_out}"], str(file)
        ) from None


def siblings(folder: Path) -> list[str]:
    """Return the names of a folder's YAML files."""
    return sorted(path.name for path in folder.glob("*.y*ml")) if folder.is_dir() else []


def yaml_problem(error: yaml.YAMLError, text: str) -> str:
    """Return in which line a text is not YAML, and why."""
    # PyYAML's marks count lines and columns from 0, editors from 1.
    mark = getattr(error, "problem_mark", None) or getattr(error, "context_mark", None)
    if mark is None:  # a character that YAML does not allow comes with its position only
        line = text.count("\n", 0, getattr(error, "position", 0)) + 1
        return f"line {line} holds a character that YAML does not allow; is this a text file?"
    line = mark.line + 1
    content = [*text.split("\n"), ""][mark.line]  # the mark may lie one line behind the last
    if "\t" in content[: len(content) - len(content.lstrip())]:
        return f"line {line} is indented with a tab; use spaces"
    problem = getattr(error, "problem", None) or getattr(error, "context", None)
    return f"line {line}, column {mark.column + 1}: {problem}; look at the colons, quotes, brackets and indentation up to there"


def repeated_keys(tree: yaml.Node | None) -> Iterator[tuple[Parts, list[int]]]:
    """Yield the path and the lines of each key that a mapping has more than once."""
    # PyYAML accepts such a file and keeps the last value without a word: usually an edit that did not replace the first.
    waiting: list[tuple[Parts, yaml.Node]] = [] if tree is None else [([], tree)]
    seen: set[int] = set()
    while waiting:
        # In the order of the file, and without recursion, which deep nesting would exhaust.
        parts, node = waiting.pop(0)
        if id(node) in seen:  # the same node again through an alias, which may even form a circle
            continue
        seen.add(id(node))
        if isinstance(node, yaml.MappingNode):
            lines: dict[str, list[int]] = {}  # of each key
            for key, value in node.value:
                # Another kind of key, such as a list, is refused by `safe_load`.
                if isinstance(key, yaml.ScalarNode):
                    lines.setdefault(key.value, []).append(key.start_mark.line + 1)
                    waiting.append(([*parts, key.value], value))
            yield from (([*parts, key], numbers) for key, numbers in lines.items() if len(numbers) > 1)
        elif isinstance(node, yaml.SequenceNode):
            waiting += [([*parts, index], item) for index, item in enumerate(node.value)]


def repeated_line(parts: Parts, lines: list[int]) -> str:
    """Return the message for a key that is given more than once."""
    listed = f"{', '.join(map(str, lines[:-1]))} and {lines[-1]}"
    return f"{dotted(parts)}: is given {len(lines)} times, in lines {listed}; keep one"


def dotted(parts: Parts) -> str:
    """Return a path in a config as text: methods.himap.stages[0].layer"""
    text = ""
    for part in parts:
        text += f"[{part}]" if isinstance(part, int) else f"{'.' if text else ''}{part}"
    return text or "(whole file)"


def kind_of(value: Any) -> str:
    """Return the name of a value's type in the words of someone who writes YAML."""
    # Exact types: bool is a subclass of int, and `true` is no number to a reader.
    kinds = {str: "text", list: "list", bool: "true or false", int: "number", float: "number", type(None): "nothing"}
    return kinds.get(type(value), type(value).__name__)
