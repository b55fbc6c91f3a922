"""Find a checkpoint, choose its family by config.json, and load it."""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch

from himap.decoder.attention import KINDS
from himap.decoder.half import widen
from himap.files import read_json
from himap.models.model import Model
from himap.models.sizes import read_config
from himap.models.text_tower import TextTower, read_text_tower
from himap.registry import import_all, unknown

FAMILIES = "himap.models.families"  # the package whose files are the families
DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}


def families() -> dict[str, Any]:
    """Return the modules of all model families by name."""
    return {name: importlib.import_module(f"{FAMILIES}.{name}") for name in import_all(FAMILIES)}


def find(path_or_id: str | Path, revision: str | None = None) -> Path:
    """Return the local folder of a checkpoint: the folder itself, or a snapshot of a hub id at a revision, without code."""
    from himap.models.checkpoints import snapshot

    # a folder has no revision, and a moving one such as the newest must be asked of the hub
    pinned = revision is not None and not Path(path_or_id).is_dir() and "/" in str(path_or_id)
    if pinned and (directory := _on_disk(str(path_or_id), str(revision))):
        return directory
    return snapshot(path_or_id, revision)


def _on_disk(hub_id: str, revision: str) -> Path | None:
    """Return a pinned snapshot that is complete on disk, or None. With it, hundreds of jobs need not ask the hub."""
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import LocalEntryNotFoundError

    from himap.models.checkpoints import PATTERNS, weight_files

    try:
        directory = Path(snapshot_download(hub_id, revision=revision, allow_patterns=PATTERNS, local_files_only=True))
        weight_files(directory)
    except (LocalEntryNotFoundError, ValueError):  # not on disk, or not a hub id
        return None
    return directory


def load(
    path_or_id: str | Path,
    *,
    revision: str | None = None,
    device: str = "cpu",
    dtype: str = "float32",
    attention: str = "sdpa",
    text_tower: str | None = None,
    **options: Any,
) -> Model:
    """Load a checkpoint for inference. Further options go to its family (LLaVA: `template`, `image_mode`).

    `text_tower` is the CLIP of its vision tower, for methods that compare pictures with the question: a folder, or a hub
    id with its revision as owner/name@revision.
    """
    if dtype not in DTYPES:
        raise unknown("dtype", dtype, DTYPES)
    if attention not in KINDS:
        raise unknown("attention", attention, KINDS)
    check_device(device)
    # Otherwise a GPU rounds the pixels of float32 towers to ten bits, and no number is that of a processor.
    torch.backends.cudnn.allow_tf32 = False
    directory = find(path_or_id, revision)
    config = read_config(directory)
    for name, family in families().items():
        if family.matches(config):
            # checked here, since a family's own TypeError would name neither option nor way out
            for option in options:
                if option not in inspect.signature(family.load).parameters:
                    raise ValueError(f"{option}: models of the family {name} have no such option; leave it out")
            model = family.load(directory, config, device=device, dtype=DTYPES[dtype], **options)
            break
    else:
        raise ValueError(
            f"{directory}/config.json: model_type {config.get('model_type')!r} with architectures "
            f"{config.get('architectures')} belongs to no known family; known: {', '.join(families())}"
        )
    model.attention, model.revision = attention, revision
    if text_tower is not None:
        model.text_tower = _text_tower_of(model, text_tower, device)
    if (directory / "schedules.json").is_file():
        model.extras["schedules"] = read_json(directory / "schedules.json")
    widen(model.module)
    # No gradient of a weight is ever made: attacks and saliency ask for those of states alone.
    model.module.requires_grad_(False).eval()
    return model


def _text_tower_of(model: Model, place: str, device: str) -> TextTower:
    """Return the text tower beside a model's vision tower."""
    if model.view_tower is None:
        raise ValueError(
            f"text_tower: {model.name} gives no view of its vision tower, whose states CLIP's text tower is compared with; "
            "leave the option out, or take a LLaVA"
        )
    path_or_id, _, revision = place.partition("@")
    module: Any = model.module
    width = module.config.vision_config.hidden_size
    return read_text_tower(find(path_or_id, revision or None), width=width, device=device, dtype=model.dtype)


def check_device(device: str) -> None:
    """Raise ValueError for a device that this machine or this build of torch does not have."""
    try:  # only an allocation tells: torch.device accepts any name
        torch.empty(1, device=device)
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        reason = str(error).strip().splitlines()[0].rstrip(".")
        raise ValueError(
            f"device {device!r} cannot be used here: {reason} (torch {torch.__version__}); "
            "use device='cpu', or a machine with that device and a torch built for it"
        ) from error


def redraw_weights(model: Model, seed: int) -> None:
    """Replace all weights in place by random ones of the same shapes: a control model that has learned nothing."""
    generator = torch.Generator().manual_seed(seed)
    for module in model.module.modules():
        for name, parameter in module.named_parameters(recurse=False):
            if "norm" in type(module).__name__.lower():
                neutral = 0.0 if type(module).__name__.startswith("Gemma") else 1.0  # Gemma multiplies by 1 + weight
                parameter.data.fill_(neutral if name == "weight" else 0.0)
            elif name == "bias":
                parameter.data.zero_()
            else:
                # Drawn on the CPU, so that the same seed gives the same weights on every device.
                values = torch.randn(parameter.shape, generator=generator) * 0.02
                parameter.data.copy_(values)


@contextmanager
def redrawn_weights(model: Model, seed: int) -> Iterator[None]:
    """Give a model random weights for a while, then its own again."""
    # a second copy of all weights for as long as it takes
    saved = [parameter.detach().clone() for parameter in model.module.parameters()]
    redraw_weights(model, seed)
    try:
        yield
    finally:
        for parameter, values in zip(model.module.parameters(), saved, strict=True):
            parameter.data.copy_(values)
