"""Small functions on vectors that several criteria share."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor


def full(states: Tensor) -> Tensor:
    """Return states in fp32, or in their own format if that is finer: choices in many steps must not hang on half precision."""
    import torch

    return states if states.dtype == torch.float64 else states.float()


def unit(states: Tensor) -> Tensor:
    """Return vectors [n, D] at length 1, and zero where they are zero."""
    from torch.nn.functional import normalize

    return normalize(full(states), dim=-1)


def descending(values: Tensor) -> Tensor:
    """Return the order of values [n] from the highest on; the earlier one wins a tie."""
    # stable, since topk and a plain sort promise no order among equals, which half precision has many of
    return values.argsort(descending=True, stable=True)
