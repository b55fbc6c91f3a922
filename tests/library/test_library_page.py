"""The code of docs/library.md runs exactly as it is printed there."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from himap.mini.scenes import generator, make_scene, png

pytestmark = pytest.mark.slow

ROOT = Path(__file__).resolve().parents[2]


def test_all_python_of_the_librarys_page_runs_in_order_and_the_lens_ends_in_the_models_answer(tmp_path: Path) -> None:
    page = (ROOT / "docs" / "library.md").read_text(encoding="utf-8")
    blocks = re.findall(r"^```python\n(.*?)^```", page, re.MULTILINE | re.DOTALL)
    assert len(blocks) >= 4
    rng = generator("test", 0)
    (tmp_path / "picture.png").write_bytes(png(make_scene("shapes", rng)))
    (tmp_path / "models").symlink_to(ROOT / "models")
    plain = (
        "print(himap.generate(model, 'picture.png', 'How many circles are there?', method='vanilla', max_new_tokens=1))"
    )
    (tmp_path / "page.py").write_text("\n".join([*blocks, plain]), encoding="utf-8")
    said = subprocess.run(
        [sys.executable, "page.py"],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT / "workflow_scripts")},
        text=True,
        capture_output=True,
    )
    assert said.returncode == 0, said.stderr
    lens = re.findall(r"^(\d+) '(.*)'$", said.stdout, re.MULTILINE)
    assert [int(layer) for layer, _ in lens] == list(range(len(lens)))
    assert len(lens) > 5
    assert lens[-1][1] == said.stdout.splitlines()[-1] != ""
