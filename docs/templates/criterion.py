"""Template of a criterion: a score for every image token; the tokens with the highest scores are kept.

Copy this file to `workflow_scripts/himap/pruning/criteria/<name>.py` and change name, docstring and score. The config
then knows the function's name: `{layer: 8, keep: 0.25, criterion: late_reading}`. Two things to keep in mind:

* Scores of tokens that are not image tokens are ignored, so a score for every row [B, T] is fine.
* Import torch inside the function: the config is checked without torch, and it reads this file.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from himap.pruning.criteria import View, criterion

if TYPE_CHECKING:
    from torch import Tensor


@criterion(
    needs_attention=True
)  # True: `view.attention` is the attention of the layer below, computed for this stage alone
def late_reading(view: View) -> Tensor:
    """Attention received from the last quarter of the instruction, where a question usually names what it asks for."""
    if view.attention is None:  # a stage at layer 0 has no layer below it
        raise ValueError(
            f"late_reading needs a layer below, but its stage is at layer {view.layer}; use layer 1 or later"
        )
    from_the_end = view.is_instruction.flip(1).cumsum(1).flip(1)  # [B, T]: 1 at the last instruction token
    quarter = view.is_instruction.sum(dim=1, keepdim=True).div(4).ceil()  # [B, 1]
    return view.attention.received(view.is_instruction & (from_the_end <= quarter))  # [B, T]
