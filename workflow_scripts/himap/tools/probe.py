"""Run one prompt from raw tensors, without a processor: python -m himap.tools.probe --model DIR --inputs X --runs R --out OUT.

The inputs are safetensors with `input_ids` [n] (the image token's id once per image, or once per image token) and
`pixel_values` [images, 3, H, W]. The runs are a JSON list of objects; every key except `name` is optional:

  name        the key of this run's results
  stages      [{"layer", "keep", "criterion"}]
  rerank      true: rank again at every generated token, without a cache
  disrupt     {"flow", "layer", "extent": "single"|"suffix"|"window", "block": "pre"|"post", "window": n}
  saliency    {"target": token id}
  new_tokens  how many tokens to generate (default: 1)
  seed        of random criteria and random cuts (default: 0)

It writes OUT/logits.safetensors (next-token logits by name) and OUT/runs.json (generated ids, kept image tokens per
stage, saliency per layer).
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from himap.files import read_json, replacing, write_json
from himap.registry import unknown
from himap.workflow.jobs import script

if TYPE_CHECKING:
    from torch import Tensor

    from himap.decoder.tokens import Rows
    from himap.experiments.disruption import Cut
    from himap.models.model import Model

KEYS = ("name", "stages", "rerank", "disrupt", "saliency", "new_tokens", "seed")
DISRUPT_KEYS = ("flow", "layer", "extent", "block", "window")
TYPES = {list: "a list", bool: "true or false", dict: "an object", int: "a whole number"}


def main(argv: Sequence[str] | None = None) -> None:
    """Check all runs, then do them, and write both result files."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", required=True, metavar="DIR", help="folder of a checkpoint, or a hub id")
    parser.add_argument("--inputs", required=True, metavar="FILE", help="safetensors with input_ids and pixel_values")
    parser.add_argument("--runs", required=True, metavar="FILE", help="JSON list of runs")
    parser.add_argument("--out", required=True, metavar="DIR", help="folder for logits.safetensors and runs.json")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--dtype", default="float32")
    parser.add_argument("--attention", default="sdpa", choices=("sdpa", "flash", "eager"))
    arguments = parser.parse_args(argv)
    runs = read_runs(arguments.runs)

    from safetensors.torch import save_file

    from himap.models.loading import load

    model = load(arguments.model, device=arguments.device, dtype=arguments.dtype, attention=arguments.attention)
    ids, pixels = read_inputs(arguments.inputs, model)
    for number, run in enumerate(runs):
        check_run(run, number, model, pixels.shape[0] * model.dims.tokens_per_image)
    prompt = model.embed([ids], [model.encode_images(pixels.to(model.device))])
    results, logits = {}, {}
    for run in runs:
        results[run["name"]], logits[run["name"]] = do_run(model, prompt, run)
    out = Path(arguments.out)
    with replacing(out / "logits.safetensors") as temporary:
        save_file(logits, temporary)
    write_json(out / "runs.json", results)


def read_runs(path: str) -> list[dict[str, Any]]:
    """Return the list of runs. Raise ValueError unless each has a name of its own."""
    runs = read_json(path)
    if not isinstance(runs, list) or not all(isinstance(run, dict) for run in runs):
        raise ValueError(f"{path}: a JSON list of objects is needed, one per run")
    names = [run.get("name") for run in runs]
    for number, name in enumerate(names):
        if not isinstance(name, str) or not name:
            raise ValueError(f"{path}: runs[{number}].name: missing; every run needs a name")
        if names.index(name) != number:
            raise ValueError(f"{path}: runs[{number}].name: {name!r} is used twice; rename one of the two")
    return runs


def check_run(run: dict[str, Any], number: int, model: Model, image_tokens: int) -> None:
    """Raise ValueError for a run that the model cannot do, before any forward pass."""
    from himap.experiments.disruption import BLOCKS
    from himap.pruning.stage import check_stages

    where = f"runs[{number}] ({run['name']!r})"
    try:
        for key in run:
            if key not in KEYS:
                raise unknown("key", key, KEYS)
        for key, type_ in (("stages", list), ("rerank", bool), ("disrupt", dict), ("saliency", dict), ("seed", int)):
            if run.get(key) is not None and not isinstance(run[key], type_):
                raise ValueError(f"{key}: {run[key]!r} is not {TYPES[type_]}")
        check_stages(run.get("stages") or [], model.dims.layers, image_tokens)
        disrupt = run.get("disrupt")
        if disrupt is not None:
            for key in disrupt:
                if key not in DISRUPT_KEYS:
                    raise unknown("key in disrupt", key, DISRUPT_KEYS)
            for key in ("flow", "layer"):
                if key not in disrupt:
                    raise ValueError(f"disrupt.{key}: missing")
            _cut(disrupt, model)
            if disrupt.get("block", "pre") not in BLOCKS:
                raise unknown("block", disrupt["block"], BLOCKS)
        if run.get("saliency") is not None:
            target = run["saliency"].get("target")
            if not isinstance(target, int) or isinstance(target, bool) or not 0 <= target < model.dims.vocab:
                raise ValueError(f"saliency.target: {target!r} is not a token id; allowed: 0 to {model.dims.vocab - 1}")
        count = run.get("new_tokens", 1)
        if not isinstance(count, int) or isinstance(count, bool) or count < 1:  # to Python, true is the number 1
            raise ValueError(f"new_tokens: {count!r} is not a number of tokens; allowed: 1 or more")
    except ValueError as error:
        raise ValueError(f"{where}: {error}") from error


def _cut(disrupt: dict[str, Any], model: Model) -> Cut:
    """Return the cut that a run's `disrupt` describes."""
    from himap.experiments.disruption import make_cut

    extent, window = disrupt.get("extent", "single"), disrupt.get("window", 5)
    return make_cut(disrupt["flow"], disrupt["layer"], extent, model.dims.layers, window)


def read_inputs(path: str, model: Model) -> tuple[list[int], Tensor]:
    """Return the prompt's ids and pixels [images, 3, H, W]. Raise ValueError unless they fit the model and each other."""
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    from himap.decoder.tokens import check_image_marks

    try:
        tensors = load_file(path)
    except (SafetensorError, OSError) as error:
        raise ValueError(f"{path}: cannot be read as safetensors ({error})") from error
    for key, dimensions in (("input_ids", 1), ("pixel_values", 4)):
        if key not in tensors:
            raise ValueError(f"{path}: no tensor {key!r}; the file has {', '.join(sorted(tensors)) or 'none'}")
        if tensors[key].ndim != dimensions:
            raise ValueError(f"{path}: {key} has shape {list(tensors[key].shape)}; {dimensions} dimensions are needed")
    if tensors["pixel_values"].shape[1] != 3:
        raise ValueError(
            f"{path}: pixel_values has shape {list(tensors['pixel_values'].shape)}; [images, 3, H, W] is needed"
        )
    ids = tensors["input_ids"].tolist()
    beyond = [token for token in ids if not 0 <= token < model.dims.vocab]
    if beyond:
        raise ValueError(f"{path}: input_ids has the id {beyond[0]}; the vocabulary ends at {model.dims.vocab - 1}")
    try:
        check_image_marks(ids, model.image_token_id, tensors["pixel_values"].shape[0], model.dims.tokens_per_image)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error
    return ids, tensors["pixel_values"]


def do_run(model: Model, prompt: Rows, run: dict[str, Any]) -> tuple[dict[str, Any], Any]:
    """Do one run, and return its entry in runs.json and its next-token logits [vocabulary]."""
    from himap.decoder.generation import generate
    from himap.decoder.loop import Intervention
    from himap.experiments.disruption import Disruption
    from himap.pruning.intervention import Pruning
    from himap.pruning.stage import check_stages

    stages, seed = run.get("stages") or [], run.get("seed") or 0
    pruning = Pruning(model, stages, prompt, [seed])
    check_stages(stages, model.dims.layers, pruning.image_tokens[0])
    interventions: list[Intervention] = [pruning]
    if disrupt := run.get("disrupt"):
        interventions.append(Disruption([_cut(disrupt, model)], prompt, [seed], disrupt.get("block", "pre")))
    generation = generate(model, prompt, run.get("new_tokens", 1), interventions, rerank=bool(run.get("rerank")))
    result: dict[str, Any] = {
        "generated": generation.ids[0],
        "kept": [pruning.kept[stage["layer"]][0] for stage in stages],
    }
    if run.get("saliency") is not None:
        result["saliency"] = describe_saliency(model, prompt, run["saliency"]["target"])
    return result, generation.first_logits[0].cpu().contiguous()


def describe_saliency(model: Model, prompt: Rows, target: int) -> list[dict[str, Any]]:
    """Return, per layer and definition, group shares by rows and by columns, and the raw sums of the two image blocks."""
    from himap.experiments.saliency import DEFINITIONS, saliency

    result = saliency(model, prompt, target)
    return [
        {
            "layer": layer,
            **{
                name: {
                    "rows": result.rows(name)[layer].tolist(),
                    "columns": result.columns(name)[layer].tolist(),
                    "img2img": float(result.block(name, "image", "image")[layer]),
                    "img2txt": float(result.block(name, "instruction", "image")[layer]),
                }
                for name in DEFINITIONS
            },
        }
        for layer in range(model.dims.layers)
    ]


if __name__ == "__main__":
    script.run(main)
