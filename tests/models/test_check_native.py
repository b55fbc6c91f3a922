"""The tool that compares a checkpoint here and in transformers' own classes, for every family."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from chat_families import FAMILIES as CHAT
from cross_families import FAMILIES as CROSS
from himap.tools import check_native

FAMILIES = {**CHAT, **CROSS}


@pytest.mark.parametrize("name", FAMILIES)
def test_prompts_pixels_logits_and_answers_are_those_of_transformers_own_processor_and_class(
    name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Wide and tall pictures in RGB and gray, half transparent ones, and two at once."""
    FAMILIES[name].write(tmp_path / name)
    out = tmp_path / "compared.json"
    check_native.main(["--model", str(tmp_path / name), "--pictures", "3", "--out", str(out)])
    rows = json.loads(out.read_text())["rows"]
    assert [row["question"] for row in rows][:3] == ["640x480-RGB", "333x517-L", "900x70-RGBA"]
    assert len(rows) == (3 if name == "instructblip" else 4)  # whose class takes one picture per prompt
    for row in rows:
        assert row["same"]
        assert row["same_ids"]
        assert row["pixel_difference"] == 0
        assert row["logit_difference"] < 1e-4
    assert capsys.readouterr().out.count("same=True") == len(rows)


def test_a_difference_ends_with_status_1(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    CHAT["qwen3_vl"].write(tmp_path)
    template = tmp_path / "chat_template.jinja"
    # A template that rewrites a question, where the project takes it as it is.
    template.write_text(template.read_text().replace("content['text']", "content['text'].replace('picture', 'scene')"))
    with pytest.raises(SystemExit) as ended:
        check_native.main(["--model", str(tmp_path), "--pictures", "1"])
    assert ended.value.code == 1
    assert "same_ids=False" in capsys.readouterr().out
