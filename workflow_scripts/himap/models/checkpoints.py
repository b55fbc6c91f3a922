"""Read published weights tensor by tensor: safetensors or torch `.bin`, never code, at most one shard in memory."""

from __future__ import annotations

import pickle
import zipfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from himap.files import read_json
from himap.project import ROOT

if TYPE_CHECKING:
    import torch
    from torch import Tensor, nn

PATTERNS = ["*.json", "*.safetensors", "pytorch_model*.bin", "*.model", "*.tiktoken", "*.txt", "*.jinja"]
FORMATS = (  # a single file or the index of several, in the order in which transformers looks for them
    ("model.safetensors", "model.safetensors.index.json"),
    ("pytorch_model.bin", "pytorch_model.bin.index.json"),
)
INDEXES = tuple(index for _, index in FORMATS)
SHOWN = 3  # how many tensors or files a message names

Renaming = Callable[[str, "Tensor"], Iterable[tuple[str, "Tensor"]]]  # a published tensor -> ours; empty: left out


def weight_files(directory: Path, *, pickles: bool = True) -> list[Path]:
    """Return the files with a checkpoint's weights: safetensors, or else torch files if `pickles` allows them.

    Raise ValueError for a file that is missing, is outside the folder, or has another format than its index.
    """
    formats, incomplete = FORMATS if pickles else FORMATS[:1], ""
    for single, index in formats:
        names = [single] if (directory / single).is_file() else _indexed_files(directory, index)
        missing = [name for name in names if not (directory / name).is_file()]
        if names and not missing:
            return [_own_file(directory, name) for name in names]
        if missing and not incomplete:
            incomplete = (
                f"{directory}: {len(missing)} of {len(names)} weight files are missing ({_first(missing)}); "
                f"{index} names them; download the checkpoint again"
            )
        if len(missing) < len(names):
            break  # some files of this format are here; an index without any is skipped for the other format
    looked_for = ", ".join(name for pair in formats for name in pair)
    way_out = "download the checkpoint again" + ("" if pickles else ", or convert it to safetensors (docs/models.md)")
    raise ValueError(incomplete or f"{directory}: no weights here; looked for {looked_for}; {way_out}")


def _indexed_files(directory: Path, index: str) -> list[str]:
    """Return the file names in a weight index, none if there is no index.

    Raise ValueError for a name with a folder in it or of another format: an index comes from strangers and must not make
    us open any file it likes.
    """
    path = directory / index
    if not path.is_file():
        return []
    content = read_json(path)
    weight_map = content.get("weight_map") if isinstance(content, dict) else None
    if not isinstance(weight_map, dict) or not all(isinstance(name, str) for name in weight_map.values()):
        raise ValueError(f"{path}: weight_map is not a table of tensor and file names; download the checkpoint again")
    # ".safetensors" or ".bin": an index of one format must not lead to a file of the other
    kind = Path(index.removesuffix(".index.json")).suffix
    names = sorted(set(weight_map.values()))
    for name in names:
        if Path(name).name != name:
            raise ValueError(
                f"{directory}: {index} names {name!r}, which is not a file of this folder; it is not opened"
            )
        if Path(name).suffix != kind:
            raise ValueError(f"{directory}: {index} names {name!r}, which is not a {kind} file; it is not opened")
    return names


def _own_file(directory: Path, name: str) -> Path:
    """Return a weight file's path. Raise ValueError for a link to a place outside the checkpoint."""
    folder, target = directory.resolve(), (directory / name).resolve()
    allowed = [folder]
    if folder.parent.name == "snapshots":  # in the hub's cache every file is a link into blobs/
        allowed.append(folder.parent.parent / "blobs")
    if target.parent not in allowed:
        raise ValueError(
            f"{directory}: {name} is a link to {target}, outside of this folder; it is not opened: "
            "copy the file here, or link the whole folder"
        )
    return directory / name


def _first(names: Sequence[str]) -> str:
    """Return the first few names as text."""
    return ", ".join(names[:SHOWN]) + (", …" if len(names) > SHOWN else "")


def outlines(path: Path) -> list[tuple[str, Tensor]]:
    """Return the names of all tensors in a file, each with a meta tensor of its shape; no values are read."""
    import torch

    if path.suffix == ".safetensors":
        with _safe_open(path) as file:
            shapes = {name: file.get_slice(name).get_shape() for name in file.keys()}  # noqa: SIM118
        return [(name, torch.empty(shape, device="meta")) for name, shape in shapes.items()]
    # a pickle has no list of shapes apart from its tensors, but mapped values are not read
    return [(name, tensor.to("meta")) for name, tensor in _load_bin(path).items()]


def tensors(path: Path) -> Iterator[tuple[str, Tensor]]:
    """Yield the name and the tensor of every entry of a file; tensors are views of the mapped file, so copy what you keep."""
    if path.suffix == ".safetensors":
        with _safe_open(path) as file:
            names = list(file.keys())
        for name in names:
            with _safe_open(path) as file:  # opened for each tensor, so that pages already read can be freed
                yield name, file.get_tensor(name)
        return
    entries = _load_bin(path)
    for name in list(entries):
        yield name, entries.pop(name)  # popped, so that a tensor is freed once the caller is done with it


def _safe_open(path: Path):  # type: ignore[no-untyped-def]
    """Open a safetensors file. Raise ValueError if it is damaged or cut short."""
    from safetensors import SafetensorError, safe_open

    try:
        return safe_open(path, framework="pt")
    except (SafetensorError, OSError) as error:
        raise ValueError(f"{path}: not a complete safetensors file ({error}); download it again") from error


def _load_bin(path: Path) -> dict[str, Tensor]:
    """Return the tensors in a torch pickle. Raise ValueError if it has anything else in it, so that no code can run."""
    import torch

    try:
        is_mappable = zipfile.is_zipfile(path)  # torch's format before 1.6 cannot be mapped and is read at once
        entries = torch.load(path, map_location="cpu", weights_only=True, mmap=is_mappable)
    except pickle.UnpicklingError as error:
        raise ValueError(f"{path}: holds something other than tensors, or is cut short; it is not opened") from error
    except (RuntimeError, EOFError, OSError) as error:
        raise ValueError(f"{path}: not a complete torch file ({error}); download it again") from error
    if not isinstance(entries, dict) or not all(isinstance(value, torch.Tensor) for value in entries.values()):
        raise ValueError(f"{path}: holds something other than named tensors; download the checkpoint again")
    return entries


def fill(module: nn.Module, directory: Path, rename: Renaming, *, device: str, dtype: torch.dtype) -> None:
    """Load a checkpoint's weights, file by file, into a module on the meta device. Raise ValueError unless all fit."""
    waiting: Mapping[str, Tensor] = {**dict(module.named_parameters()), **dict(module.named_buffers())}
    faults = Faults(missing=set(waiting))
    for path in weight_files(directory):
        for published, tensor in tensors(path):
            for name, part in rename(published, tensor):
                if name not in waiting:
                    faults.unexpected.append(published)
                    continue
                faults.missing.discard(name)
                faults.compare(published, part, waiting[name])
                weight = part.to(device=device, dtype=dtype, copy=True)  # a copy: `part` is a view of the mapped file
                if not is_finite(weight):  # checked after the conversion, which may overflow to infinity
                    faults.not_finite.append(published)
                _assign(module, name, weight)
    faults.check(directory, dtype)


def is_finite(tensor: Tensor) -> bool:
    """Return whether a tensor has neither NaN nor infinity in it."""
    import torch

    # Every weight is checked, so this must be cheap. The smallest and the largest value are enough (both are NaN if any
    # value is) and take one read; torch.isfinite writes copies and takes ten to thirty times as long on a CPU.

    if not tensor.is_floating_point() or tensor.numel() == 0:
        return True
    return bool(torch.stack(torch.aminmax(tensor.detach())).isfinite().all())


@dataclass
class Faults:
    """Differences between a checkpoint's tensors and the model that its config.json describes."""

    missing: set[str] = field(default_factory=set)
    unexpected: list[str] = field(default_factory=list)
    misshapen: list[str] = field(default_factory=list)
    not_finite: list[str] = field(default_factory=list)

    def compare(self, name: str, tensor: Tensor, expected: Tensor) -> None:
        """Record a tensor whose shape is not the expected one."""
        if tensor.shape != expected.shape:
            self.note_shape(name, tensor.shape, expected.shape)

    def note_shape(self, name: str, shape: Sequence[int], expected: Sequence[int]) -> None:
        """Record a tensor's shape and the expected one."""
        self.misshapen.append(f"{name} has shape {tuple(shape)} but config.json makes it {tuple(expected)}")

    def check(self, directory: Path, dtype: torch.dtype | None = None) -> None:
        """Raise ValueError with the tensors and the way out if any fault was recorded."""
        # the verb, the tensors' names, and the rest of the sentence
        groups = [
            ("lacks", sorted(self.missing), ""),
            ("holds", self.unexpected, " that the model of its config.json does not have"),
            ("holds", self.misshapen, " of another shape"),
            (
                "holds",
                self.not_finite,
                f" with values that are not finite (NaN or infinite){f' as {dtype}' if dtype else ''}",
            ),
        ]
        faults = [
            f"{verb} {len(names)} tensor{'s' if len(names) > 1 else ''}{what}: {_first(names)}"
            for verb, names, what in ((verb, list(dict.fromkeys(names)), what) for verb, names, what in groups)
            if names
        ]
        if not faults:
            return
        way_out = "download or convert the checkpoint again"
        if self.missing or self.unexpected or self.misshapen:
            way_out += ", and see that config.json is the one published with these weights"
        elif dtype is not None and str(dtype) == "torch.float16":
            way_out += ", or load it as bfloat16: float16 cannot hold values beyond 65504"
        raise ValueError(f"{directory}: the checkpoint {'; it '.join(faults)}; {way_out}")


def _assign(module: nn.Module, name: str, tensor: Tensor) -> None:
    """Replace a module's parameter or buffer by a tensor."""
    from torch import nn

    # "layers.3.mlp.up_proj.weight": the module's path, and the name of the weight in it
    path, _, leaf = name.rpartition(".")
    owner = module.get_submodule(path)
    if leaf in owner._parameters:
        # assigned and not copied into: a meta tensor has no memory to copy to
        owner._parameters[leaf] = nn.Parameter(tensor, requires_grad=False)
    else:
        owner._buffers[leaf] = tensor


def snapshot(path_or_id: str | Path, revision: str | None = None, weights: bool = True) -> Path:
    """Return the local folder of a published checkpoint: the folder itself, or a download from the hub, without code."""
    if Path(path_or_id).is_dir():
        return Path(path_or_id)
    if (ROOT / path_or_id).is_dir():  # not used without asking: the user may mean a folder elsewhere
        raise ValueError(
            f"{path_or_id}: no such folder in {Path.cwd()}, where relative paths begin; "
            f"the project has one: give {(ROOT / path_or_id).resolve()}"
        )
    if str(path_or_id).count("/") != 1 or str(path_or_id).startswith((".", "/", "~")):
        raise ValueError(
            f"{path_or_id}: no such folder (looked for {Path(path_or_id).absolute()}), and no hub id of the form "
            "owner/name; give the full path of the checkpoint's folder"
        )
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError, RevisionNotFoundError

    patterns = PATTERNS if weights else [p for p in PATTERNS if not p.endswith((".safetensors", ".bin"))]
    try:
        return Path(snapshot_download(str(path_or_id), revision=revision, allow_patterns=patterns))
    except RevisionNotFoundError as error:
        raise ValueError(f"{path_or_id}: the hub knows no revision {revision!r} of it") from error
    except (HfHubHTTPError, LocalEntryNotFoundError, OSError) as error:
        raise ValueError(
            f"{path_or_id} (revision {revision or 'main'}): no such folder (looked for {Path(path_or_id).absolute()}), "
            f"and it could not be downloaded from the hub ({type(error).__name__}); give the full path of a folder, "
            "or check the id and the network, and log in for a gated model"
        ) from error
