"""Kernels of attention: which one torch takes for a batch, and another one for a while."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode

from himap.decoder.cache import Cache
from himap.decoder.loop import forward

if TYPE_CHECKING:
    from himap.decoder.tokens import Rows
    from himap.models.model import Model

EAGER = "eager"
KERNELS = {  # torch's operators and what they are called elsewhere
    "_scaled_dot_product_flash_attention": "flash",
    "_scaled_dot_product_cudnn_attention": "cuDNN",
    "_scaled_dot_product_efficient_attention": "memory-efficient",
    "_scaled_dot_product_attention_math": "math",
}


class Operators(TorchDispatchMode):
    """Notes the names of the operators that run under it."""

    def __init__(self) -> None:
        super().__init__()
        self.names: set[str] = set()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        # such as "aten._scaled_dot_product_flash_attention.default"
        self.names.add(str(func))
        return func(*args, **(kwargs or {}))


@torch.no_grad()
def kernel_of(model: Model, prompt: Rows) -> str:
    """Return the name of the attention kernel that torch takes for a batch, seen in its first layer."""
    with Operators() as seen:
        # torch decides by shapes, number format and mask, which are the same in all layers
        forward(model, prompt, Cache(), stop=1)
    known = (name for part, name in KERNELS.items() if any(part in operator for operator in seen.names))
    # eager attention is plain multiplications, which no name gives away
    return next(known, model.attention)


@contextmanager
def attention(model: Model, kind: str) -> Iterator[None]:
    """Let a model use another kernel of attention for a while."""
    before, model.attention = model.attention, kind
    try:
        yield
    finally:
        model.attention = before
