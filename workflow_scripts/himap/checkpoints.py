"""Reading published weights tensor by tensor: safetensors or torch `.bin`, never code, never more than a shard in memory."""

from __future__ import annotations

import pickle
import zipfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from himap.files import read_json

if TYPE_CHECKING:
    import torch
    from torch import Tensor, nn

PATTERNS = ["*.json", "*.safetensors", "pytorch_model*.bin", "*.model", "*.tiktoken", "*.txt", "*.jinja"]
INDEXES = ("model.safetensors.index.json", "pytorch_model.bin.index.json")
SINGLE = ("model.safetensors", "pytorch_model.bin")

Renaming = Callable[[str, "Tensor"], Iterable[tuple[str, "Tensor"]]]  # a published tensor -> ours, none to leave it out


def weight_files(directory: Path) -> list[Path]:
    """The files that hold a checkpoint's weights, safetensors preferred; one that the index names but is not here is an error."""
    for index in INDEXES:
        if (directory / index).is_file():
            names = sorted(set(read_json(directory / index).get("weight_map", {}).values()))
            outside = [name for name in names if Path(name).name != name]
            if outside:
                raise ValueError(
                    f"{directory}: {index} names {outside[0]!r}, which is not a file of this folder; it is not opened"
                )
            missing = [name for name in names if not (directory / name).is_file()]
            if missing and len(missing) == len(names):
                continue  # an index alone: the weights may be here in the other format
            if missing:
                raise ValueError(
                    f"{directory}: {len(missing)} of {len(names)} weight files are missing ({', '.join(missing[:3])}); "
                    f"{index} names them; download the checkpoint again"
                )
            return [directory / name for name in names]
    for name in SINGLE:
        if (directory / name).is_file():
            return [directory / name]
    raise ValueError(f"{directory}: no weights here; looked for {', '.join((*INDEXES, *SINGLE))}")


def outlines(path: Path) -> list[tuple[str, Tensor]]:
    """Name and shape of all tensors in one file, as tensors without contents."""
    import torch

    if path.suffix == ".safetensors":
        with _safe_open(path) as file:
            shapes = {name: file.get_slice(name).get_shape() for name in file.keys()}  # noqa: SIM118
        return [(name, torch.empty(shape, device="meta")) for name, shape in shapes.items()]
    return [(name, tensor.to("meta")) for name, tensor in _load_bin(path).items()]


def tensors(path: Path) -> Iterator[tuple[str, Tensor]]:
    """Name and tensor of all that one file holds; the tensors are views of the mapped file, to be copied by the reader."""
    if path.suffix == ".safetensors":
        with _safe_open(path) as file:
            names = list(file.keys())
        for name in names:
            with _safe_open(path) as file:  # opened per tensor, so that pages already read can be given back
                yield name, file.get_tensor(name)
        return
    held = _load_bin(path)
    for name in list(held):
        yield name, held.pop(name)


def _safe_open(path: Path):  # type: ignore[no-untyped-def]
    from safetensors import SafetensorError, safe_open

    try:
        return safe_open(path, framework="pt")
    except (SafetensorError, OSError) as error:
        raise ValueError(f"{path}: not a whole safetensors file ({error}); download it again") from error


def _load_bin(path: Path) -> dict[str, Tensor]:
    """A torch pickle read as tensors only; anything else in it is refused, so nothing in it can run."""
    import torch

    try:
        zipped = zipfile.is_zipfile(path)  # the older format cannot be mapped and is read whole
        held = torch.load(path, map_location="cpu", weights_only=True, mmap=zipped)
    except pickle.UnpicklingError as error:
        raise ValueError(f"{path}: holds something other than tensors, or is cut short; it is not opened") from error
    except (RuntimeError, EOFError, OSError) as error:
        raise ValueError(f"{path}: not a whole torch file ({error}); download it again") from error
    if not isinstance(held, dict) or not all(isinstance(value, torch.Tensor) for value in held.values()):
        raise ValueError(f"{path}: holds something other than named tensors")
    return held


def fill(module: nn.Module, directory: Path, rename: Renaming, *, device: str, dtype: torch.dtype) -> None:
    """Give a module that was built on the meta device its weights, file by file; every one must come, once, in its shape."""
    waiting: Mapping[str, Tensor] = {**dict(module.named_parameters()), **dict(module.named_buffers())}
    missing, unknown = set(waiting), []
    for path in weight_files(directory):
        for published, tensor in tensors(path):
            for name, part in rename(published, tensor):
                if name not in waiting:
                    unknown.append(published)
                    continue
                check_shape(directory, published, part, waiting[name])
                _assign(module, name, part.to(device=device, dtype=dtype, copy=True))
                missing.discard(name)
    report_names(directory, sorted(missing), unknown)


def check_shape(directory: Path, name: str, found: Tensor, expected: Tensor) -> None:
    """Refuse a tensor whose shape the config does not explain."""
    if found.shape != expected.shape:
        raise ValueError(
            f"{directory}: {name} has shape {tuple(found.shape)} but config.json makes it {tuple(expected.shape)}; "
            "weights and config do not belong together"
        )


def report_names(directory: Path, missing: list[str], unknown: list[str]) -> None:
    """Refuse a checkpoint that lacks tensors or has some that nothing reads."""
    for kind, names in (("lacks", missing), ("has", unknown)):
        if names:
            more = f" and {len(names) - 3} more" if len(names) > 3 else ""
            reason = "" if kind == "lacks" else ", which its architecture does not know"
            raise ValueError(f"{directory}: the checkpoint {kind} {', '.join(names[:3])}{more}{reason}")


def _assign(module: nn.Module, name: str, tensor: Tensor) -> None:
    """Put a tensor in the place of a module's parameter or buffer."""
    from torch import nn

    path, _, leaf = name.rpartition(".")
    owner = module.get_submodule(path)
    if leaf in owner._parameters:
        owner._parameters[leaf] = nn.Parameter(tensor, requires_grad=False)
    else:
        owner._buffers[leaf] = tensor


def snapshot(path_or_id: str | Path, revision: str | None = None, weights: bool = True) -> Path:
    """The local folder of a published checkpoint, its `.bin` files included: itself, or fetched from the hub; never code."""
    if Path(path_or_id).is_dir():
        return Path(path_or_id)
    if str(path_or_id).count("/") != 1 or str(path_or_id).startswith((".", "/")):
        raise ValueError(f"{path_or_id}: no such folder, and no hub id of the form owner/name")
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError, RevisionNotFoundError

    patterns = PATTERNS if weights else [p for p in PATTERNS if not p.endswith((".safetensors", ".bin"))]
    try:
        return Path(snapshot_download(str(path_or_id), revision=revision, allow_patterns=patterns))
    except RevisionNotFoundError as error:
        raise ValueError(f"{path_or_id}: the hub knows no revision {revision!r} of it") from error
    except (HfHubHTTPError, LocalEntryNotFoundError, OSError) as error:
        raise ValueError(
            f"{path_or_id} (revision {revision or 'main'}) cannot be had from the hub: {type(error).__name__}; "
            "check the id and the network, log in for a gated model, or give a local folder"
        ) from error
