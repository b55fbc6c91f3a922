"""Models behind one small interface: what the loop, the methods and the experiments know of a vision-language model.

A family is one file in this folder with `matches(config) -> bool` and `load(directory, ...) -> Model`; it is found by
the checkpoint's config.json. Nothing outside a family's file knows its templates, image sizes or token counts.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from himap.attention import KINDS
from himap.dims import Dims, read_config
from himap.files import read_json
from himap.prompts import Prompt
from himap.registry import import_all, unknown
from himap.tokens import Rows, batch_rows, expand_image_tokens, token_groups

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}


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
    preprocess: Callable[..., Tensor] = _no_processor  # (images, grid=None) -> pixels; `grid` asks for a smaller image
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


def families() -> dict[str, Any]:
    """The modules of this folder, by name."""
    return {name: importlib.import_module(f"{__name__}.{name}") for name in import_all(__name__)}


def find(path_or_id: str | Path, revision: str | None = None) -> Path:
    """The local folder of a checkpoint: itself, or a snapshot of the hub at a revision; never any code from there."""
    from himap.checkpoints import snapshot

    pinned = revision is not None and not Path(path_or_id).is_dir() and "/" in str(path_or_id)
    if pinned and (directory := _on_disk(str(path_or_id), str(revision))):
        return directory
    return snapshot(path_or_id, revision)


def _on_disk(hub_id: str, revision: str) -> Path | None:
    """A pinned snapshot that is here whole, so that of hundreds of jobs none asks the hub."""
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import LocalEntryNotFoundError

    from himap.checkpoints import PATTERNS, weight_files

    try:
        directory = Path(snapshot_download(hub_id, revision=revision, allow_patterns=PATTERNS, local_files_only=True))
        weight_files(directory)
    except (LocalEntryNotFoundError, ValueError):  # not here, or no hub id at all
        return None
    return directory


def load(
    path_or_id: str | Path,
    *,
    revision: str | None = None,
    device: str = "cpu",
    dtype: str = "float32",
    attention: str = "sdpa",
    **options: Any,
) -> Model:
    """Load a checkpoint for inference. Options go to its family (LLaVA: `template`, `image_mode`)."""
    if dtype not in DTYPES:
        raise unknown("dtype", dtype, DTYPES)
    if attention not in KINDS:
        raise unknown("attention", attention, KINDS)
    check_device(device)
    directory = find(path_or_id, revision)
    config = read_config(directory)
    for family in families().values():
        if family.matches(config):
            model = family.load(directory, config, device=device, dtype=DTYPES[dtype], **options)
            break
    else:
        raise ValueError(
            f"{directory}/config.json: model_type {config.get('model_type')!r} with architectures "
            f"{config.get('architectures')} belongs to no known family; known: {', '.join(families())}"
        )
    model.attention, model.revision = attention, revision
    if (directory / "schedules.json").is_file():
        model.extras["schedules"] = read_json(directory / "schedules.json")
    model.module.requires_grad_(False).eval()
    return model


def check_device(device: str) -> None:
    """Raise ValueError for a device that this machine or this build of torch does not have."""
    try:
        torch.empty(1, device=device)
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        reason = str(error).strip().splitlines()[0].rstrip(".")
        raise ValueError(
            f"device {device!r} cannot be used here: {reason} (torch {torch.__version__}); "
            "use device='cpu', or a machine with that device and a torch built for it"
        ) from error


def redraw_weights(model: Model, seed: int) -> None:
    """Replace all weights by random ones of the same shapes, in place: the control that has learnt nothing."""
    generator = torch.Generator().manual_seed(seed)
    for module in model.module.modules():
        for name, parameter in module.named_parameters(recurse=False):
            if "norm" in type(module).__name__.lower():
                parameter.data.fill_(1.0 if name == "weight" else 0.0)
            elif name == "bias":
                parameter.data.zero_()
            else:
                drawn = torch.randn(parameter.shape, generator=generator) * 0.02
                parameter.data.copy_(drawn)
