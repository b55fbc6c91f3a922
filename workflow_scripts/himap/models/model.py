"""The interface of a loaded model: what the loop, the methods and the experiments know of it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from himap.decoder.tokens import Rows, batch_rows, expand_image_tokens, token_groups
from himap.models.prompts import Prompt
from himap.models.sizes import Dims


def _no_processor(*_: Any, **__: Any) -> Any:
    raise ValueError(
        "this checkpoint has no tokenizer or image processor beside its weights; give ids and pixel values"
    )


@dataclass
class Model:
    """A loaded vision-language model: the decoder's parts, and functions for its text and image sides."""

    name: str
    family: str
    dims: Dims
    module: nn.Module  # all weights, for moving, counting and re-drawing them
    embed_tokens: Any
    layers: Sequence[Any]  # decoder layers of transformers: norms, self_attn with its projections, mlp
    norm: Any
    rotary: Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]  # (hidden, positions [B, T]) -> cos, sin [B, T, d]
    head: Any
    image_token_id: int
    end_ids: frozenset[int]
    encode_images: Callable[[Tensor], Tensor]  # pixels [N, 3, H, W] -> decoder inputs [N, n, D]
    attention: str = "sdpa"
    preprocess: Callable[..., Tensor] = (
        _no_processor  # (images, grid=None, mode=None) -> pixels; `grid`: a smaller image
    )
    tokenize: Callable[[Prompt, Sequence[int]], list[int]] = _no_processor  # (prompt, tokens per image) -> ids
    detokenize: Callable[[Sequence[int]], str] = _no_processor
    answer_ids: Callable[[str], list[int]] = _no_processor  # ids of a text as the model emits it at the answer's start
    plain_id: Callable[[str], int] = _no_processor  # id of a vocabulary entry, as the released analysis looks it up
    revision: str | None = None
    extras: dict[str, Any] = field(default_factory=dict)

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return next(self.module.parameters()).device

    @property
    def dtype(self) -> torch.dtype:
        """The number format of the decoder's weights."""
        return self.layers[0].self_attn.q_proj.weight.dtype

    def embed(self, ids: Sequence[Sequence[int]], features: Sequence[Tensor]) -> Rows:
        """A left-padded batch ready for the loop, from prompts' ids and each prompt's image features [images, n, D]."""
        embeddings, groups = [], []
        for number, (prompt, images) in enumerate(zip(ids, features, strict=True)):
            if images.shape[0] == 0:
                raise ValueError(f"sample {number} of the batch has no image")
            full = expand_image_tokens(prompt, self.image_token_id, [images.shape[1]] * images.shape[0])
            tokens = torch.tensor(full, device=self.device)
            is_image = tokens == self.image_token_id
            if int(is_image.sum()) != images.shape[0] * images.shape[1]:
                raise ValueError(
                    f"sample {number} of the batch has {int(is_image.sum())} image tokens in its prompt, but its "
                    f"{images.shape[0]} images have {images.shape[0] * images.shape[1]}"
                )
            embedded = self.embed_tokens(tokens.masked_fill(is_image, 0)).clone()
            embedded[is_image] = images.flatten(0, 1).to(embedded.dtype)
            embeddings.append(embedded)
            groups.append(token_groups(full, self.image_token_id))
        return batch_rows(embeddings, groups)
