"""Criteria on the attention of the layer below, averaged over its heads.

What a token *receives* is the sum of its column over some query rows, what it *gives* the sum of its row over some
keys. Only those query rows are ever recomputed. The function's docstring says where in the paper a score comes from.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from himap.pruning.criteria import View, criterion

if TYPE_CHECKING:
    from torch import Tensor


def _real(view: View) -> Tensor:
    """Return where a row is a token and no padding [B, T]."""
    return view.rows.positions >= 0


@criterion(needs_attention=True, amounts=True)
def instruction_attention(view: View) -> Tensor:
    """Attention received from instruction tokens: the paper's shallow score, Eq. 8."""
    return view.below.received(view.is_instruction)


@criterion(needs_attention=True, in_sequence=True, amounts=True)
def image_attention(view: View) -> Tensor:
    """Attention received from the image tokens that are left, itself included: the paper's deep score as coded."""
    return view.below.received(view.is_image)


@criterion(needs_attention=True, in_sequence=True, amounts=True)
def image_attention_rows(view: View) -> Tensor:
    """Attention given to the image tokens that are left: Eq. 9 with its indices as printed."""
    return view.below.given(view.is_image, to=view.is_image)


@criterion(needs_attention=True, in_sequence=True, amounts=True)
def image_attention_debiased(view: View) -> Tensor:
    """Attention received from image tokens, per image token that can see it: the causal mask favors none."""
    # under the causal mask an early token is seen by all later ones, so plain sums grow toward the picture's top
    seen_by = view.below.seen_by(view.is_image)
    return view.below.received(view.is_image) / seen_by.clamp(min=1)


@criterion(needs_attention=True, amounts=True)
def last_token_attention(view: View) -> Tensor:
    """Attention received from the last token of the prompt: FastV as its code does it."""
    last = view.is_image.new_zeros(view.is_image.shape)
    last[:, -1] = True  # batches are padded on the left, so every prompt ends in the last column
    return view.below.received(last)


@criterion(needs_attention=True, amounts=True)
def mean_attention(view: View) -> Tensor:
    """Mean attention received from all other tokens: FastV as its paper words it."""
    others = _real(view).sum(dim=1, keepdim=True) - 1  # [B, 1]
    return view.below.received(_real(view), itself=False) / others.clamp(min=1)


@criterion(needs_attention=True, amounts=True)
def all_attention(view: View) -> Tensor:
    """Attention received from all tokens, itself included: no modality is preferred."""
    return view.below.received(_real(view))
