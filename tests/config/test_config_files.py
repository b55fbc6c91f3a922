"""Config files that cannot be read: the file, the line, the key and the way out in one line."""

from __future__ import annotations

from pathlib import Path

import pytest
from himap.yaml_files import ConfigError, read_config

TWICE = "seed: 0\nmodels:\n  mini: {path: a}\n  other: {path: b}\n  mini: {path: c}\nseed: 1\n"


def refusal(*files: Path) -> str:
    """What is said about config files."""
    with pytest.raises(ConfigError) as caught:
        read_config(files)
    return str(caught.value)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"seed: 0\noutput: a\nseed: 1\n", "seed: is given 2 times, in lines 1 and 3; keep one"),
        (b"grid: {k1: [1], k1: [2], k1: [3]}\n", "grid.k1: is given 3 times, in lines 1, 1 and 1; keep one"),
        (b"a:\n- {layer: 1,\n   layer: 2}\n", "a[0].layer: is given 2 times, in lines 2 and 3; keep one"),
        (b"models:\n\tmini: {}\n", "line 2 is indented with a tab; use spaces"),
        (b"models: [a\nseed: 0\n", "line 2, column 5: expected ',' or ']', but got ':'; look at the colons"),
        (b"seed: !!python/name:os.system\n", "line 1, column 7: could not determine a constructor"),
        (b"seed: 2026-13-45\n", "holds a value that cannot be read: month must be in 1..12"),
        (b"a: b\x07\n", "line 1 holds a character that YAML does not allow; is this a text file?"),
        ("seed: 0\n# méthode\n".encode("latin-1"), "line 2 is not UTF-8 text (byte 0xe9); save it as UTF-8"),
        (b"\x80\x02}\x00\x01", "line 1 is not UTF-8 text (byte 0x80); it looks like a binary file; name a YAML file"),
        (b"# all of it\n", "holds no settings; it is empty, or all of it is comments"),
        (b"just words\n", "should hold keys and values, as in `seed: 0`, but is a text"),
        (b"[" * 5000, "is nested too deeply"),
    ],
    ids=["twice", "thrice", "in a list", "tab", "bracket", "tag", "date", "bell", "latin-1", "binary", "empty", "text", "deep"],
)  # fmt: skip
def test_a_file_that_is_no_config_is_named_with_the_line(tmp_path: Path, content: bytes, message: str) -> None:
    file = tmp_path / "small.yaml"
    file.write_bytes(content)
    text = refusal(file)
    assert text.startswith(f"{file}: {message}")
    assert "\n" not in text


def test_all_keys_that_are_given_twice_are_listed_at_once(tmp_path: Path) -> None:
    file = tmp_path / "small.yaml"
    file.write_text(TWICE)
    assert refusal(file).splitlines() == [
        f"{file} has 2 problems; nothing was run",
        "  seed: is given 2 times, in lines 1 and 6; keep one",
        "  models.mini: is given 2 times, in lines 3 and 5; keep one",
    ]


def test_a_missing_file_and_a_folder_are_named_with_what_is_there(tmp_path: Path) -> None:
    (tmp_path / "small.yaml").write_text("seed: 0")
    missing = tmp_path / "smal.yaml"
    assert refusal(missing) == f"{missing}: no such file (did you mean 'small.yaml'?)"
    assert refusal(tmp_path) == f"{tmp_path}: is a folder; name a YAML file in it: {tmp_path / 'small.yaml'}"


def test_files_are_laid_over_each_other_and_an_alias_stays_what_it_was(tmp_path: Path) -> None:
    below, above = tmp_path / "below.yaml", tmp_path / "above.yaml"
    below.write_text("seed: 0\na: &shared {limit: 1, shards: 2}\nb: *shared\n")
    above.write_text("seed: 1\na: {limit: 9}\n")
    assert read_config([below, above]) == {"seed": 1, "a": {"limit": 9, "shards": 2}, "b": {"limit": 1, "shards": 2}}
