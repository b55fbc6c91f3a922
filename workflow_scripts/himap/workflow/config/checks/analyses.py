"""Checks of the analyses: their layers lie within each model, and their benchmarks can be scored."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import suppress
from typing import Any

from himap.benchmarks import get as benchmark_named
from himap.benchmarks import names as benchmark_names
from himap.pruning.resolve import load_all as builtin_methods
from himap.pruning.resolve import resolve, two_stages
from himap.workflow.config.checks._raw import Problem, depth_of, evaluated_models, items, section, texts, unknown_names
from himap.workflow.config.schema import Grid
from himap.workflow.config.sections.analyses import RandomWeights


def used_benchmarks(raw: Mapping[str, Any], part: str) -> list[tuple[int, str]]:
    """Return the benchmarks of an analysis that the config has, with their positions; without one, nothing of it runs."""
    known = [name for name in section(raw, "benchmarks") if name in benchmark_names()]
    return [(index, name) for index, name in items(section(raw, part).get("benchmarks")) if name in known]


def check_disruption(raw: Mapping[str, Any]) -> Iterator[Problem]:
    """Yield the problems of the disruption: layers beyond a model, a flow that Figure 6 lacks, unscored answers that must be right."""
    used, part = used_benchmarks(raw, "disruption"), section(raw, "disruption")
    # Nothing of it runs, so its layers need not fit.
    if not used:
        return
    for index, layer in items(part.get("layers")):
        for model in evaluated_models(raw):
            depth = depth_of(raw, model)
            if isinstance(layer, int) and depth is not None and layer >= depth:
                yield (
                    f"disruption.layers[{index}]",
                    f"{layer} is not a layer of {model}, which has {depth} (0 to {depth - 1})",
                )
    # The bias ratio of Figure 6 is log(E_vv / E_vt), so it needs both flows.
    flows = part.get("flows")
    if missing := [flow for flow in ("img2txt", "img2img") if isinstance(flows, list) and flows and flow not in flows]:
        yield (
            "disruption.flows",
            f"{flows} lacks {' and '.join(missing)}; Figure 6 compares img2txt with img2img, add it",
        )
    # Disruption compares with answers known to be right, which only a rule can tell.
    for index, name in used:
        if part.get("only_correct") and benchmark_named(name).judged:
            line = f"{name!r} is judged, so no answer is known to be right; set `disruption.only_correct: false` or leave it out"
            yield f"disruption.benchmarks[{index}]", line


def check_grid(raw: Mapping[str, Any]) -> Iterator[Problem]:
    """Yield the problems of the grid: layers beyond a model, no valid point, benchmarks without scores."""
    used, grid = used_benchmarks(raw, "grid"), section(raw, "grid")
    if not used:
        return
    for index, name in used:
        if benchmark_named(name).judged:
            yield f"grid.benchmarks[{index}]", f"{name!r} is judged; a grid needs a benchmark that is scored by rules"
    with suppress(ValueError):
        # Wrong types raise ValueError here and are reported by the typed check.
        points = Grid.model_validate(grid)
        if not two_stages(points.k1, points.r1, points.k2, points.r2):
            yield (
                "grid",
                "has no schedule whose deep stage comes after its shallow one (k2 > k1)",
            )
    models = evaluated_models(raw)
    for key in ("k1", "k2"):
        for index, layer in items(grid.get(key)):
            for model in models if grid.get("models") is None else texts(grid["models"]):
                depth = depth_of(raw, model)
                if isinstance(layer, int) and depth is not None and layer >= depth - 1:
                    yield f"grid.{key}[{index}]", f"{layer} is not below the last layer of {model}, which has {depth}"


def check_random_weights(raw: Mapping[str, Any]) -> Iterator[Problem]:
    """Yield the problems of timing random weights: methods that are not built in, or that do not fit the model's layers."""
    at, entry = "latency.random_weights", section(raw, "latency", "random_weights")
    yield from unknown_names(entry, at, "methods", builtin_methods())
    with suppress(ValueError):  # sizes of the wrong type are reported elsewhere
        # With one method that is always there, as the config's own may be unknown ones.
        dims = RandomWeights.model_validate({**entry, "methods": ["vanilla"]}).dims
        for name in (name for name in texts(entry.get("methods")) if name in builtin_methods()):
            try:
                resolve(name, dims, kind="qa").check(dims)
            except ValueError as error:
                yield f"{at}.methods", f"{name}, as it is built in: {error}"
