"""Convert published checkpoints of LLaVA-v1.5, InternVL-Chat-V1.0 and Qwen-VL-Chat to safetensors.

The Vicuna models are written in the LLaVA layout of transformers, which supports either vision tower. Every source file
becomes one target file, tensor by tensor, in a folder `<out>.partial`. If the run is killed, the next one continues with
that folder. It gets its final name only when everything is written.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from himap.files import read_json, sha256, write_json
from himap.models.checkpoints import Faults, Renaming, outlines, tensors
from himap.models.conversion.layout import Conversion
from himap.models.conversion.qwen import _plan_qwen
from himap.models.conversion.safetensors_writer import write_safetensors
from himap.models.conversion.vicuna import _plan_vicuna
from himap.models.sizes import read_config

if TYPE_CHECKING:
    from torch import Tensor


def plan(directory: Path, tower: Path | None) -> Conversion:
    """Return the conversion of a checkpoint, from its config and its tower's; nothing is written.

    Raise ValueError for an architecture that is not known.
    """
    config = read_config(directory)
    if config.get("model_type") == "qwen" and "visual" in config:
        return _plan_qwen(directory, config)
    if "LlavaLlamaForCausalLM" in (config.get("architectures") or []):
        if tower is None:
            raise ValueError(
                f"{directory}: its vision tower is a checkpoint of its own; give its folder or hub id as the tower"
            )
        return _plan_vicuna(directory, config, tower)
    raise ValueError(
        f"{directory}/config.json: architecture {config.get('architectures')} (model_type {config.get('model_type')!r}) "
        "cannot be converted; known are LlavaLlamaForCausalLM (LLaVA-v1.5, InternVL-Chat-V1.0) and Qwen-VL-Chat"
    )


def convert(directory: Path, tower: Path | None, out: Path, *, origin: Mapping[str, Any] | None = None) -> Path:
    """Convert a checkpoint into the folder `out`, or continue a run that was killed. Return the manifest's path."""
    work = plan(directory, tower)
    # done already, from the same files
    if (out / "manifest.json").is_file() and read_json(out / "manifest.json")["inputs"] == _inputs(work):
        return out / "manifest.json"
    if out.is_dir() and any(out.iterdir()):
        raise ValueError(f"{out}: the folder has other files in it already; remove it or choose another folder")
    _check_names(work, directory)
    partial = out.with_name(f"{out.name}.partial")
    done = _resume(partial, work)
    weight_map: dict[str, str] = {}
    for number, (source, rename) in enumerate(work.sources, start=1):
        target = partial / f"model-{number:05d}-of-{len(work.sources):05d}.safetensors"
        if target.name not in done:
            names = write_safetensors(target, _renamed(source, rename))
            done[target.name] = {"tensors": names, "bytes": target.stat().st_size, "sha256": sha256(target)}
            # after each file, so that a kill loses one file at most
            _record(partial, work, done)
        weight_map |= dict.fromkeys(done[target.name]["tensors"], target.name)
    _finish(partial, work, done, weight_map, origin or {})
    out.parent.mkdir(parents=True, exist_ok=True)
    # one step: the folder has its final name or does not
    os.replace(partial, out)
    return out / "manifest.json"


def _renamed(source: Path, rename: Renaming) -> list[tuple[str, Tensor]]:
    """Return the tensors of a source file under their new names; they are still views of the mapped file."""
    return [pair for name, tensor in tensors(source) for pair in rename(name, tensor)]


# ---------------------------------------------------------------- progress


def _inputs(work: Conversion) -> list[list[Any]]:
    """Return name, size and time of the source files, which tell one set of files from another without reading them."""
    paths = [path for path, _ in work.sources] + [folder / "config.json" for folder in work.folders]
    return [[path.name, path.stat().st_size, path.stat().st_mtime_ns] for path in paths]


def _resume(partial: Path, work: Conversion) -> dict[str, Any]:
    """Return the target files that an earlier run finished from the same sources; delete everything else in the folder."""
    state = read_json(partial / "progress.json") if (partial / "progress.json").is_file() else {}
    if state.get("inputs") != _inputs(work):
        # of other sources, so nothing in it can be used
        shutil.rmtree(partial, ignore_errors=True)
        _record(partial, work, {})
        return {}
    done: dict[str, Any] = state["done"]
    for path in partial.iterdir():
        if path.name != "progress.json" and path.name not in done:
            path.unlink()
    return {name: entry for name, entry in done.items() if (partial / name).is_file()}


def _record(partial: Path, work: Conversion, done: Mapping[str, Any]) -> None:
    """Write which target files are finished, and from which sources."""
    write_json(partial / "progress.json", {"inputs": _inputs(work), "done": done})


def _check_names(work: Conversion, directory: Path) -> None:
    """Raise ValueError unless the renamed tensors are exactly those that the architecture needs."""
    # Checked before anything is written: a conversion takes long, and a wrong name should not show at its end.
    faults = Faults(missing=set(work.expected))
    for source, rename in work.sources:
        for published, outline in outlines(source):
            for name, part in rename(published, outline):
                if name not in work.expected:
                    faults.unexpected.append(f"{published} of {source}")
                    continue
                faults.compare(f"{published} of {source}", part, work.expected[name])
                faults.missing.discard(name)
    faults.check(directory)


def _finish(
    partial: Path, work: Conversion, done: Mapping[str, Any], weight_map: dict[str, str], origin: Mapping[str, Any]
) -> None:
    """Write config, index, tokenizer and image processor, and last the manifest, which marks the folder as complete."""
    total = sum(entry["bytes"] for entry in done.values())
    write_json(partial / "model.safetensors.index.json", {"metadata": {"total_size": total}, "weight_map": weight_map})
    write_json(partial / "config.json", work.config)
    work.write_beside(partial)
    # not part of the result; nor is the manifest, which cannot have its own checksum in it
    written = sorted(path for path in partial.iterdir() if path.name not in ("manifest.json", "progress.json"))
    manifest = {
        "layout": work.layout,
        "image_tokens": work.image_tokens,
        "origin": dict(origin),
        "tower": work.tower(),
        "inputs": _inputs(work),
        "sources": [_file(path) | {"folder": str(path.parent)} for path, _ in work.sources],
        "files": [
            {"name": path.name, "bytes": path.stat().st_size, "sha256": done[path.name]["sha256"]}
            if path.name in done
            else _file(path)
            for path in written
        ],
    }
    write_json(partial / "manifest.json", manifest)
    # after the checksums of the sources, which take minutes: a run that is killed in them goes on from here
    (partial / "progress.json").unlink()


def _file(path: Path) -> dict[str, Any]:
    """Return name, size and checksum of a file, as the manifest lists them."""
    return {"name": path.name, "bytes": path.stat().st_size, "sha256": sha256(path)}
