"""The interface of a loaded model: all that the loop, the methods and the experiments know about it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from himap.decoder.tokens import Rows, batch_rows, expand_image_tokens, token_groups
from himap.models.prompts import Prompt
from himap.models.sizes import Dims
from himap.models.tower import Tower


def _no_processor(*_: Any, **__: Any) -> Any:
    """Raise ValueError in place of a function that needs a tokenizer or an image processor."""
    raise ValueError(
        "this checkpoint has no tokenizer or image processor beside its weights; pass ids and pixel values instead"
    )


@dataclass
class Model:
    """A loaded vision-language model: the parts of its decoder, and functions for texts and images."""

    name: str
    family: str
    dims: Dims
    module: nn.Module  # all weights, to move, count or randomize them
    embed_tokens: Any  # ids [T] -> [T, D]
    layers: Sequence[Any]  # decoder layers of transformers: norms, self_attn with its projections, mlp
    norm: Any  # of the last layer's output
    rotary: Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]  # (hidden, positions [B, T]) -> cos, sin [B, T, d]
    head: Any  # [..., D] -> [..., vocabulary]
    image_token_id: int
    end_ids: frozenset[int]  # an answer ends with any of these
    encode_images: Callable[[Tensor], Tensor]  # pixels [N, 3, H, W] -> decoder inputs [N, n, D]
    view_tower: Callable[[Tensor], Tower] | None = (
        None  # pixels -> what the vision tower makes of them, where it has a class token
    )
    pads: Callable[[str | None], bool] = lambda mode: False  # whether pictures asked in a mode are padded to a square
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
        """Return the device of the weights."""
        return next(self.module.parameters()).device

    @property
    def dtype(self) -> torch.dtype:
        """Return the number format of the decoder's weights."""
        return self.layers[0].self_attn.q_proj.weight.dtype

    def embed(self, ids: Sequence[Sequence[int]], features: Sequence[Tensor]) -> Rows:
        """Return a left-padded batch for the loop, from each prompt's ids and its image features [images, n, D]."""
        embeddings, groups = [], []
        for number, (prompt, images) in enumerate(zip(ids, features, strict=True)):
            if images.shape[0] == 0:
                raise ValueError(f"sample {number} of the batch has no image; every prompt needs at least one")
            expanded = expand_image_tokens(prompt, self.image_token_id, [images.shape[1]] * images.shape[0])
            tokens = torch.tensor(expanded, device=self.device)  # [T]
            is_image = tokens == self.image_token_id
            if int(is_image.sum()) != images.shape[0] * images.shape[1]:
                raise ValueError(
                    f"sample {number} of the batch has {int(is_image.sum())} image tokens in its prompt, but its "
                    f"{images.shape[0]} images have {images.shape[0] * images.shape[1]}"
                )
            # The image mark may lie beyond the vocabulary, so id 0 is embedded in its place and then overwritten.
            embedded = self.embed_tokens(tokens.masked_fill(is_image, 0)).clone()  # [T, D]
            embedded[is_image] = images.flatten(0, 1).to(embedded.dtype)
            embeddings.append(embedded)
            groups.append(token_groups(expanded, self.image_token_id))
        return batch_rows(embeddings, groups)
