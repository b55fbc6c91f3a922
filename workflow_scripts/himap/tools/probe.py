"""Look into one prompt from raw tensors, no processor needed: python -m himap.tools.probe --model DIR --inputs X --runs R --out OUT.

The inputs are safetensors with `input_ids` [n] (the image token's id once per image, or once per image token) and
`pixel_values` [images, 3, H, W]. The runs are a JSON list of objects, every key but `name` optional:

  name        what the results are called
  stages      [{"layer", "keep", "criterion"}]
  rerank      true: rank again at every generated token, without a cache
  disrupt     {"flow", "layer", "extent": "single"|"suffix"|"prefix"|"window", "block": "pre"|"post", "window": n}
  saliency    {"target": token id}
  new_tokens  how many tokens to generate (1)
  seed        for what is drawn at random (0)

Written are OUT/logits.safetensors (next-token logits by name) and OUT/runs.json (generated ids, kept image tokens per
stage, saliency per layer).
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from himap.files import read_json, replacing, write_json
from himap.registry import unknown
from himap.workflow.jobs.script import run

if TYPE_CHECKING:
    from torch import Tensor

    from himap.decoder.tokens import Rows
    from himap.experiments.disruption import Cut
    from himap.models.model import Model

KEYS = ("name", "stages", "rerank", "disrupt", "saliency", "new_tokens", "seed")
DISRUPT_KEYS = ("flow", "layer", "extent", "block", "window")
KINDS = {list: "list", bool: "true or false", dict: "object", int: "whole number"}


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", required=True, metavar="DIR", help="folder of a checkpoint, or a hub id")
    parser.add_argument("--inputs", required=True, metavar="FILE", help="safetensors with input_ids and pixel_values")
    parser.add_argument("--runs", required=True, metavar="FILE", help="JSON list of runs")
    parser.add_argument("--out", required=True, metavar="DIR", help="where logits.safetensors and runs.json go")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--dtype", default="float32")
    parser.add_argument("--attention", default="sdpa", choices=("sdpa", "flash", "eager"))
    arguments = parser.parse_args(argv)
    runs = read_runs(arguments.runs)

    from safetensors.torch import save_file

    from himap.models.loading import load

    model = load(arguments.model, device=arguments.device, dtype=arguments.dtype, attention=arguments.attention)
    ids, pixels = read_inputs(arguments.inputs, model)
    for number, one in enumerate(runs):
        # All runs before the first one starts: a typo in the last must not cost the others.
        check_run(one, number, model, pixels.shape[0] * model.dims.tokens_per_image)
    # Once: every run begins with the same rows.
    prompt = model.embed([ids], [model.encode_images(pixels.to(model.device))])
    results, logits = {}, {}
    for one in runs:
        results[one["name"]], logits[one["name"]] = look(model, prompt, one)
    out = Path(arguments.out)
    with replacing(out / "logits.safetensors") as temporary:
        save_file(logits, temporary)
    write_json(out / "runs.json", results)


def read_runs(path: str) -> list[dict[str, Any]]:
    """Return the list of runs, each with a name of its own and no unknown key."""
    runs = read_json(path)
    if not isinstance(runs, list) or not all(isinstance(one, dict) for one in runs):
        raise ValueError(f"{path}: a JSON list of objects is needed, one per run")
    names = [one.get("name") for one in runs]  # names are keys of both output files
    for number, name in enumerate(names):
        if not isinstance(name, str) or not name:
            raise ValueError(f"{path}: runs[{number}].name: missing; every run needs a name")
        if names.index(name) != number:  # the first of its name is elsewhere
            raise ValueError(f"{path}: runs[{number}].name: {name!r} is there twice")
    return runs


def check_run(one: dict[str, Any], number: int, model: Model, image_tokens: int) -> None:
    """Refuse what cannot be run, before any forward pass."""
    from himap.experiments.disruption import BLOCKS
    from himap.pruning.stage import read_stages

    where = f"runs[{number}] ({one['name']!r})"
    try:
        for key in one:
            if key not in KEYS:
                raise unknown("key", key, KEYS)
        for key, kind in (("stages", list), ("rerank", bool), ("disrupt", dict), ("saliency", dict), ("seed", int)):
            if one.get(key) is not None and not isinstance(one[key], kind):  # null is as good as no key
                raise ValueError(f"{key}: {one[key]!r} is no {KINDS[kind]}")
        read_stages(one.get("stages") or [], layers=model.dims.layers, image_tokens=image_tokens)
        disrupt = one.get("disrupt")
        if disrupt is not None:
            for key in disrupt:
                if key not in DISRUPT_KEYS:
                    raise unknown("key in disrupt", key, DISRUPT_KEYS)
            for key in ("flow", "layer"):
                if key not in disrupt:
                    raise ValueError(f"disrupt.{key}: missing")
            _cut(disrupt, model)  # raises for a wrong flow, layer or extent
            if disrupt.get("block", "pre") not in BLOCKS:
                raise unknown("block", disrupt["block"], BLOCKS)
        if one.get("saliency") is not None:
            target = one["saliency"].get("target")
            # Python takes true for the number 1; in a JSON file it is a mistake.
            if not isinstance(target, int) or isinstance(target, bool) or not 0 <= target < model.dims.vocab:
                raise ValueError(f"saliency.target: {target!r} is no token id; allowed: 0 to {model.dims.vocab - 1}")
        new = one.get("new_tokens", 1)
        if not isinstance(new, int) or isinstance(new, bool) or new < 1:
            raise ValueError(f"new_tokens: {new!r} is no number of tokens; at least 1")
    except ValueError as error:
        raise ValueError(f"{where}: {error}") from error


def _cut(disrupt: dict[str, Any], model: Model) -> Cut:
    """Return the cut that a run's `disrupt` describes."""
    from himap.experiments.disruption import make_cut

    extent, window = disrupt.get("extent", "single"), disrupt.get("window", 5)
    return make_cut(disrupt["flow"], disrupt["layer"], extent, model.dims.layers, window)


def read_inputs(path: str, model: Model) -> tuple[list[int], Tensor]:
    """Return the prompt's ids and pixels [images, 3, H, W], checked against the model and against each other."""
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    from himap.decoder.ids import check_image_marks

    try:
        tensors = load_file(path)
    except (SafetensorError, OSError) as error:
        raise ValueError(f"{path}: cannot be read as safetensors ({error})") from error
    for key, dimensions in (("input_ids", 1), ("pixel_values", 4)):
        if key not in tensors:
            raise ValueError(f"{path}: no tensor {key!r}; it holds {', '.join(sorted(tensors)) or 'nothing'}")
        if tensors[key].ndim != dimensions:
            raise ValueError(f"{path}: {key} has shape {list(tensors[key].shape)}; {dimensions} dimensions are needed")
    if tensors["pixel_values"].shape[1] != 3:
        raise ValueError(
            f"{path}: pixel_values has shape {list(tensors['pixel_values'].shape)}; [images, 3, H, W] is needed"
        )
    ids = tensors["input_ids"].tolist()
    beyond = [token for token in ids if not 0 <= token < model.dims.vocab]
    if beyond:
        raise ValueError(f"{path}: input_ids holds {beyond[0]}; the vocabulary ends at {model.dims.vocab - 1}")
    try:
        # One mark per picture, or one per image token.
        check_image_marks(ids, model.image_token_id, tensors["pixel_values"].shape[0], model.dims.tokens_per_image)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error
    return ids, tensors["pixel_values"]


def look(model: Model, prompt: Rows, one: dict[str, Any]) -> tuple[dict[str, Any], Any]:
    """Do one run; return what is written of it, and its next-token logits."""
    from himap.decoder.generation import generate
    from himap.decoder.loop import Intervention
    from himap.experiments.disruption import Disruption
    from himap.pruning.intervention import Pruning
    from himap.pruning.stage import read_stages

    stages, seed = read_stages(one.get("stages") or []), one.get("seed") or 0
    pruning = Pruning(model, stages, prompt, [seed])
    interventions: list[Intervention] = [pruning]
    if disrupt := one.get("disrupt"):
        interventions.append(Disruption([_cut(disrupt, model)], prompt, [seed], disrupt.get("block", "pre")))
    done = generate(model, prompt, one.get("new_tokens", 1), interventions, rerank=bool(one.get("rerank")))
    result: dict[str, Any] = {
        "generated": done.ids[0],
        "kept": [pruning.kept[stage.layer][0] for stage in stages],  # [0]: the batch holds one prompt
    }
    if one.get("saliency") is not None:
        result["saliency"] = describe_saliency(model, prompt, one["saliency"]["target"])
    return result, done.first_logits[0].cpu().contiguous()  # as safetensors wants them


def describe_saliency(model: Model, prompt: Rows, target: int) -> list[dict[str, Any]]:
    """Per layer and definition: group shares by rows and by columns, and the raw sums of the two image blocks."""
    from himap.experiments.saliency import DEFINITIONS, saliency

    flows = saliency(model, prompt, target)
    return [
        {
            "layer": layer,
            **{
                name: {
                    "rows": flows.rows(name)[layer].tolist(),  # flow into each group, as the released code sums
                    "columns": flows.columns(name)[layer].tolist(),  # flow out of each group, as the paper does
                    "img2img": float(flows.block(name, "image", "image")[layer]),
                    "img2txt": float(flows.block(name, "instruction", "image")[layer]),
                }
                for name in DEFINITIONS
            },
        }
        for layer in range(model.dims.layers)
    ]


if __name__ == "__main__":
    run(main)
