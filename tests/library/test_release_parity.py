"""The published code's own answers, recorded on a tiny random model, against those of `python -m himap.tools.probe`.

How `release.json` was recorded is told in `tests/fixtures/library/record_release.py`; the model is built again here
from its seed. HiMAP's pruning (ranking anew at every token), disruption of all layers from one on, saliency, and FastV.
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import release_recipe as recipe
from himap.tools import probe
from safetensors.numpy import load_file

RECORDED = json.loads(Path(recipe.__file__).with_name("release.json").read_text(encoding="utf-8"))


@pytest.fixture(scope="module", params=[(m, p) for m in recipe.MODELS for p in recipe.PROMPTS], ids="-".join)
def probed(request, tmp_path_factory):
    """What the probe writes for one model and prompt, beside what the release answered."""
    model, kind = request.param
    folder = tmp_path_factory.mktemp("probe")
    checkpoint = recipe.write_checkpoint(folder / "model", model)
    inputs = recipe.write_inputs(folder / "inputs.safetensors", kind)
    (folder / "runs.json").write_text(json.dumps(recipe.runs()), encoding="utf-8")
    words = {"--model": checkpoint, "--inputs": inputs, "--runs": folder / "runs.json", "--out": folder / "out"}
    probe.main([str(part) for pair in words.items() for part in pair])
    written = json.loads((folder / "out" / "runs.json").read_text(encoding="utf-8"))
    return written, load_file(folder / "out" / "logits.safetensors"), RECORDED[model][kind]


@pytest.mark.slow
@pytest.mark.parametrize("name", [one["name"] for one in recipe.runs()])
def test_equals_the_published_code(probed, name):
    written, logits, recorded = (part[name] for part in probed)
    np.testing.assert_allclose(logits, recorded["logits"], rtol=0, atol=1e-4)
    assert written["generated"] == recorded["generated"]
    assert written["kept"] == recorded["kept"]
    for layer, (ours, theirs) in enumerate(zip(written.get("saliency", []), recorded.get("saliency", []), strict=True)):
        assert ours["layer"] == layer
        for key in ("rows", "img2img", "img2txt"):
            np.testing.assert_allclose(ours["released"][key], theirs[key], rtol=1e-4, atol=0, err_msg=f"{layer} {key}")


def test_the_runs_differ_from_one_another():
    """So that agreement means something: no run of the fixture gives the logits of the undisturbed one by doing nothing."""
    for kinds in RECORDED.values():
        for answers in kinds.values():
            plain = np.array(answers["vanilla"]["logits"])
            for name, answer in answers.items():
                changed = np.abs(np.array(answer["logits"]) - plain).max()
                last_row_only = name == f"img2img-{recipe.LAYERS - 1}"  # changes image rows after which nothing is read
                assert (changed > 1e-2) != (last_row_only or name == "vanilla" or name.startswith("saliency")), name
