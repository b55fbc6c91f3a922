"""Whether a list of stages makes sense for a model, said before any forward pass."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from himap.costs.formulas import keep_count
from himap.pruning import criteria
from himap.registry import unknown


def check_stages(stages: Sequence[dict[str, Any]], layers: int, n_image: int | None = None) -> None:
    """Raise a ValueError that names the stage, the key, the value and what is allowed."""
    below, left, share = -1, n_image, 1.0
    for number, stage in enumerate(stages):
        where = f"stages[{number}]"
        if not isinstance(stage, dict):
            raise ValueError(f"{where}: {stage!r} is no stage; give an object with layer, keep and criterion")
        for key in stage:
            if key not in ("layer", "keep", "criterion"):
                raise unknown(f"key in {where}", key, ("layer", "keep", "criterion"))
        for key in ("layer", "keep", "criterion"):
            if key not in stage:
                raise ValueError(f"{where}.{key}: missing; a stage needs layer, keep and criterion")
        layer, keep = stage["layer"], stage["keep"]
        if not isinstance(layer, int) or isinstance(layer, bool) or not 0 <= layer < layers - 1:
            raise ValueError(
                f"{where}.layer: {layer!r} is not a layer to drop tokens at; allowed: 0 to {layers - 2}, "
                f"below the last of the model's {layers} layers"
            )
        if layer <= below:
            raise ValueError(
                f"{where}.layer: {layer} does not come after layer {below} of the stage before; put them in order"
            )
        _check_keep(where, keep)
        if isinstance(keep, float):
            if keep > share:
                raise ValueError(
                    f"{where}.keep: {keep} is more than the {share} that is left; "
                    "shares are of the original image tokens and fall from stage to stage"
                )
            share = keep
        if left is not None:
            count = keep_count(keep, n_image or 0)
            if count > left:
                raise ValueError(f"{where}.keep: {keep} is {count} image tokens, but only {left} are left")
            left = count
        chosen = criteria.get(stage["criterion"])
        if layer == 0 and chosen.needs_attention:
            free = [name for name in criteria.names() if not criteria.get(name).needs_attention]
            raise ValueError(
                f"{where}.criterion: {chosen.name!r} looks at the layer below, and layer 0 has none; "
                f"allowed there: {', '.join(free)}"
            )
        below = layer


def _check_keep(where: str, keep: Any) -> None:
    if isinstance(keep, bool) or not isinstance(keep, int | float):
        raise ValueError(f"{where}.keep: {keep!r} is no number; give a share in (0, 1] or a count of image tokens")
    if isinstance(keep, float) and not 0 < keep <= 1:
        raise ValueError(
            f"{where}.keep: {keep} is outside (0, 1]; give a share of the original image tokens, or a whole number as a count"
        )
    if isinstance(keep, int) and keep < 1:
        raise ValueError(f"{where}.keep: {keep} is no count; at least one image token must stay")
