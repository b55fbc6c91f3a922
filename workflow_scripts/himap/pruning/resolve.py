"""Read methods and resolve them: from a name to the stages on one model.

A method takes one of these forms:

* `stages`: a list of {layer, keep, criterion}, or one list per task kind (`qa`, `caption`, `open`);
* `like: other`, with `criterion` or `criteria` (one per stage) put in its place, and `only: [0]` to use some stages
  (`relative: true`: each keeps its share of what the other's stages before it left, instead of the same tokens);
* `every_layer: {criterion}` and `flops_of: other`: the same share dropped at every layer, at the other's cost;
* `before_decoder: {criterion}` and `flops_of: other`: dropped once, before the first layer;
* `downsample: true` and `flops_of: other`: a smaller image instead.

`rerank: true` ranks anew at every generated token without a cache, as the released code does. `models` holds
schedules of single models: {model: {stages: ...}}. `resolve` turns all of it into a plain description for one model.
"""

from __future__ import annotations

from collections.abc import Mapping
from copy import deepcopy
from functools import cache
from itertools import product
from pathlib import Path
from typing import Any

from himap.costs.formulas import flops, keep_count
from himap.models.sizes import Dims
from himap.pruning.stage import check_stages
from himap.registry import unknown
from himap.yaml_files import read_mapping

KEYS = (
    "title", "about", "stages", "like", "criterion", "criteria", "only", "relative", "every_layer", "before_decoder",
    "downsample", "flops_of", "rerank", "protocol", "dtype", "models",
)  # fmt: skip
FORMS = ("stages", "like", "every_layer", "before_decoder", "downsample")
KINDS = ("qa", "caption", "open")


def load_all() -> dict[str, dict[str, Any]]:
    """The methods that come with the library, by name."""
    return deepcopy(_read_all())


@cache
def _read_all() -> dict[str, dict[str, Any]]:
    folder = Path(__file__).parent / "methods"
    return {path.stem: read_mapping(path) for path in sorted(folder.glob("*.yaml"))}


def resolve(
    name: str,
    dims: Dims,
    *,
    methods: Mapping[str, Mapping[str, Any]] | None = None,
    kind: str = "qa",
    model: str | None = None,
    schedules: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """One method for one model and task kind: {"name", "stages", "rerank", "image_grid"}, checked against the model's depth.

    `schedules` are the model's own stages by method and kind, as the file beside a checkpoint holds them; they come
    before the method's.
    """
    known = {**_read_all(), **(methods or {})}
    if name not in known:
        raise unknown("method", name, known)
    method = known[name]
    forms = check_form(name, method)
    resolved: dict[str, Any] = {
        "name": name,
        "stages": [],
        "rerank": bool(method.get("rerank", False)),
        "image_grid": None,
    }
    if schedules and name in schedules:
        resolved["stages"] = _for_kind(schedules[name], kind, name)
    elif model and model in method.get("models", {}):
        resolved["stages"] = _for_kind(method["models"][model]["stages"], kind, name)
    elif "like" in forms:
        other = resolve(method["like"], dims, methods=methods, kind=kind, model=model, schedules=schedules)
        resolved["stages"] = _replaced(name, method, other["stages"], dims)
    elif "stages" in forms:
        resolved["stages"] = _for_kind(method["stages"], kind, name)
    else:
        other = resolve(method["flops_of"], dims, methods=methods, kind=kind, model=model, schedules=schedules)
        resolved.update(_matched(method, dims, flops(dims, other["stages"])))
    check_stages(resolved["stages"], dims.layers, dims.tokens_per_image)
    return resolved


def check_form(name: str, method: Mapping[str, Any]) -> list[str]:
    """The form of a method; unknown keys, no form and two forms at once are refused."""
    for key in method:
        if key not in KEYS:
            raise unknown(f"key in method {name!r}", key, KEYS)
    forms = [form for form in FORMS if form in method]
    if len(forms) != 1:
        raise ValueError(
            f"method {name!r} has {' and '.join(forms) or 'no form'}; give exactly one of {', '.join(FORMS)}"
        )
    if forms[0] in ("every_layer", "before_decoder", "downsample") and "flops_of" not in method:
        raise ValueError(f"method {name!r}: {forms[0]} needs flops_of, the method whose cost it is to match")
    return forms


def two_stages(grid: Mapping[str, Any]) -> list[tuple[tuple[int, float], tuple[int, float]]]:
    """The stages (k1, r1), (k2, r2) of a grid's schedules: the deep one comes later and keeps no more."""
    points = product(grid["k1"], grid["r1"], grid["k2"], grid["r2"])
    return [((k1, r1), (k2, r2)) for k1, r1, k2, r2 in points if k2 > k1 and r2 <= r1]


def kind_taken(stages: Mapping[str, Any], kind: str) -> str | None:
    """The kind whose stages a task kind takes: its own, else open questions those of captions, as in the paper, else those of `qa`."""
    choices = (kind, "caption" if kind == "open" else kind, "qa")
    return next((choice for choice in choices if stages.get(choice) is not None), None)


def _for_kind(stages: Any, kind: str, name: str) -> list[dict[str, Any]]:
    """The stages of a task kind."""
    if isinstance(stages, Mapping):
        taken = kind_taken(stages, kind)
        if taken is None:
            raise ValueError(f"method {name!r} has no stages for {kind!r}; it has {', '.join(stages)}")
        stages = stages[taken]
    return [dict(stage) for stage in stages]


def _replaced(name: str, method: Mapping[str, Any], stages: list[dict[str, Any]], dims: Dims) -> list[dict[str, Any]]:
    """Another method's stages with other criteria, or only some of them."""
    for index in method.get("only", []):
        if index >= len(stages):
            raise ValueError(f"method {name!r}: only: {index} is beyond the {len(stages)} stages of {method['like']!r}")
    shares = [
        stage["keep"] if isinstance(stage["keep"], float) else stage["keep"] / dims.tokens_per_image for stage in stages
    ]
    if method.get("relative"):
        before = [1.0, *shares[:-1]]
        stages = [{**stage, "keep": share / left} for stage, share, left in zip(stages, shares, before, strict=True)]
    chosen = [stages[i] for i in method["only"]] if "only" in method else stages
    criteria = method.get("criteria") or [method.get("criterion")] * len(chosen)
    if len(criteria) != len(chosen):
        raise ValueError(f"method {name!r}: {len(criteria)} criteria for {len(chosen)} stages of {method['like']!r}")
    return [{**stage, "criterion": c or stage["criterion"]} for stage, c in zip(chosen, criteria, strict=True)]


def _matched(method: Mapping[str, Any], dims: Dims, budget: float) -> dict[str, Any]:
    """Stages, or the smaller grid of image tokens, whose cost comes nearest to `budget`."""
    if "downsample" in method:
        rows, columns = dims.grid
        sides = range(1, rows + 1)
        grids = [(side, max(1, round(columns * side / rows))) for side in sides]
        cost = {grid: abs(flops(dims, [], n_image=grid[0] * grid[1]) - budget) for grid in grids}
        nearest = sorted(grids, key=lambda grid: cost[grid])[0]
        return {"image_grid": list(nearest)}
    if "before_decoder" in method:
        criterion = method["before_decoder"]["criterion"]
        return {"stages": [{"layer": 0, "keep": _count_before(dims, budget), "criterion": criterion}]}
    criterion = method["every_layer"]["criterion"]
    share = _share_per_layer(dims, budget)
    return {"stages": [{**stage, "criterion": criterion} for stage in _geometric(dims, share)]}


@cache
def _count_before(dims: Dims, budget: float) -> int:
    """The count of tokens that enters the decoder at a cost nearest to the budget."""
    counts = range(1, dims.tokens_per_image + 1)
    return min(counts, key=lambda n: abs(flops(dims, [{"layer": 0, "keep": n}]) - budget))


def _geometric(dims: Dims, share: float) -> list[dict[str, Any]]:
    """The same share kept at every layer after the first, as counts of the original tokens that fall."""
    counts = [keep_count(share**layer, dims.tokens_per_image) for layer in range(1, dims.layers - 1)]
    return [{"layer": layer, "keep": count} for layer, count in enumerate(counts, start=1)]


@cache
def _share_per_layer(dims: Dims, budget: float) -> float:
    """The share, kept at every layer, that spends the budget: by bisection."""
    low, high = 0.0, 1.0
    for _ in range(50):
        middle = (low + high) / 2
        if flops(dims, _geometric(dims, middle)) > budget:
            high = middle
        else:
            low = middle
    return low
