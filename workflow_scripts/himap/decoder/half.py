"""Matrix products of float16 on a processor, computed in float32 and rounded: few processors have fast instructions for float16.

The rule asks for no property of the processor, so that the numbers are the same on those that have them. bfloat16 is left
to torch.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

BLOCK = 1 << 20  # weights that are in float32 at a time, 4 MB: they stay in the cache, and memory hardly grows


def is_slow(states: Tensor) -> bool:
    """Return whether products of such numbers are slow where they are."""
    return states.dtype == torch.float16 and states.device.type == "cpu"


class WideLinear(nn.Linear):
    """A linear layer with weights as they are, whose products are computed in float32 where float16 is slow."""

    def forward(self, states: Tensor) -> Tensor:
        """Return the layer's output in the number format of its input."""
        # For a single row, reading the weights takes the time, and torch's own kernel reads half as many bytes.
        if not is_slow(states) or states.numel() == self.in_features:
            return super().forward(states)
        wide, rows = states.float(), max(1, BLOCK // self.in_features)
        parts = [F.linear(wide, weight.float()) for weight in self.weight.split(rows)]
        made = parts[0] if len(parts) == 1 else torch.cat(parts, dim=-1)
        return (made if self.bias is None else made + self.bias).to(states.dtype)


def widen(module: nn.Module) -> None:
    """Make the linear layers of a module fast in float16 on a processor, in place and without a second copy of weights."""
    for part in module.modules():
        # an exact match, since a subclass may compute otherwise
        if type(part) is nn.Linear:
            part.__class__ = WideLinear
