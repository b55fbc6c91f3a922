"""Criteria on what a token holds: the hidden states that enter the layer."""

from __future__ import annotations

from typing import TYPE_CHECKING

from himap.pruning.criteria import View, criterion

if TYPE_CHECKING:
    from torch import Tensor


@criterion(needs_attention=False, amounts=True)
def embedding_norm(view: View) -> Tensor:
    """Length of the token's hidden state."""
    # in fp32: a sum of thousands of squares would round in half precision
    return view.rows.hidden.float().norm(dim=-1)


@criterion(needs_attention=False, amounts=True)
def gradient(view: View) -> Tensor:
    """First-order change of the model's own next-token loss if the token were zero: |h · dL/dh|; costs a backward pass."""
    # in fp32: products of small gradients vanish in half precision
    return (view.rows.hidden.float() * view.loss_gradient().float()).sum(dim=-1).abs()
