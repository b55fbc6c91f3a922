"""CLIP's text tower, which no LLaVA checkpoint holds: how much each patch of the vision tower is like a text.

`himap.load(…, text_tower=…)` reads it from a CLIP checkpoint, whose vision layers are left out: the model has its own.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from himap.models.checkpoints import Faults, is_finite, tensors, weight_files
from himap.models.sizes import read_config

READ_BY = {"vision_model.post_layernorm.": "post_layernorm."}  # as CLIP's whole model names it -> here


class TextTower(nn.Module):
    """Text tower and both projections of a CLIP into the space in which it compares texts with pictures."""

    def __init__(self, config: Any) -> None:
        from transformers import CLIPTextModel

        super().__init__()
        width = config.vision_config.hidden_size
        self.text_model = CLIPTextModel(config.text_config)
        self.text_projection = nn.Linear(config.text_config.hidden_size, config.projection_dim, bias=False)
        self.post_layernorm = nn.LayerNorm(width, eps=config.vision_config.layer_norm_eps)
        self.visual_projection = nn.Linear(width, config.projection_dim, bias=False)
        # 77 in CLIP; position embeddings end there
        self.longest: int = config.text_config.max_position_embeddings
        self.tokenizer: Any = None

    @torch.no_grad()
    def likeness(self, hidden: Tensor, text: str) -> Tensor:
        """Return the cosine [N, n] of each patch's tower state [N, n, C] with a text, in the mean of the text's segments."""
        return self.compared(hidden, self.segments(text))

    def segments(self, text: str) -> Tensor:
        """Return a text's ids [segments, longest]: one that is too long is cut, not shortened, and zeros fill the last part."""
        ids = self.tokenizer(text, split_special_tokens=True)["input_ids"]
        filled = ids + [0] * (-len(ids) % self.longest)
        return torch.tensor(filled, device=self.visual_projection.weight.device).view(-1, self.longest)

    @torch.no_grad()
    def compared(self, hidden: Tensor, ids: Tensor) -> Tensor:
        """Return the cosine [N, n] of tower states [N, n, C] with a text's segments [segments, longest], in their mean."""
        weight = self.visual_projection.weight
        # In training CLIP projects its class token alone; here every patch goes the same way.
        patches = self.visual_projection(self.post_layernorm(hidden.to(weight)))
        texts = self.text_projection(self.text_model(input_ids=ids).pooler_output)
        return (_unit(patches) @ _unit(texts).T).mean(dim=-1)


def _unit(vectors: Tensor) -> Tensor:
    return nn.functional.normalize(vectors.float(), dim=-1)


def read_text_tower(directory: Path, *, width: int, device: str, dtype: torch.dtype) -> TextTower:
    """Load the text tower of a CLIP checkpoint. Raise ValueError unless it is whole and fits a vision tower of this width."""
    from transformers import AutoTokenizer, CLIPConfig

    kind = read_config(directory).get("model_type")
    if kind != "clip":
        raise ValueError(f"{directory}/config.json: model_type {kind!r} is not CLIP, whose text tower is needed here")
    config: Any = CLIPConfig.from_pretrained(directory, local_files_only=True)
    if config.vision_config.hidden_size != width:
        raise ValueError(
            f"{directory}: this CLIP's vision tower has the width {config.vision_config.hidden_size}, the model's has {width}; "
            "give the CLIP whose vision tower the model has"
        )
    tower = TextTower(config)
    _fill(tower, directory, dtype)
    tower.tokenizer = AutoTokenizer.from_pretrained(directory, local_files_only=True, trust_remote_code=False)
    return tower.to(device, dtype).requires_grad_(False).eval()


def _fill(tower: TextTower, directory: Path, dtype: torch.dtype) -> None:
    """Put a checkpoint's weights into the parts of it that are here. Raise ValueError unless all are there and fit."""
    waiting = dict(tower.named_parameters())
    faults = Faults(missing=set(waiting))
    for path in weight_files(directory):
        for published, tensor in tensors(path):
            name = published
            for theirs, ours in READ_BY.items():
                name = name.replace(theirs, ours)
            # the vision layers, which the model has of its own
            if name not in waiting:
                continue
            faults.missing.discard(name)
            faults.compare(published, tensor, waiting[name])
            if not is_finite(tensor.to(dtype)):
                faults.not_finite.append(published)
            if tensor.shape == waiting[name].shape:
                waiting[name].data.copy_(tensor)
    faults.check(directory, dtype)
