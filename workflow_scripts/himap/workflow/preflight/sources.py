"""Whether every model and data set can be read: on disk, or on the hub at its pinned revision, with its terms accepted."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from himap.benchmarks import get as benchmark_named
from himap.benchmarks._base import Source
from himap.project import ROOT
from himap.workflow.plan.plan import Plan
from himap.workflow.preflight.findings import Finding, one_line, tried

MODELS, DATA = "Models", "Data"
OFFLINE = "set HF_HUB_OFFLINE=0, or download it first on a machine with network"
KINDS = {"model": "", "dataset": "datasets/"}


def models(plan: Plan) -> Iterator[Finding]:
    """Yield one finding for each checkpoint of each model: its own, its tower's, its original's where they are named."""
    for name, entry in plan.config.models.items():
        if entry.path:
            yield folder_of_weights(name, entry.path)
        else:
            yield on_hub(MODELS, name, str(entry.id), entry.revision, "model")
        if entry.text_tower:
            # A folder, or `owner/name@commit`.
            label, (place, _, revision) = f"{name}, text tower", entry.text_tower.partition("@")
            is_folder = (ROOT / entry.text_tower).is_dir()
            yield folder_of_weights(label, place) if is_folder else on_hub(MODELS, label, place, revision, "model")
        if entry.tower:
            is_folder = (ROOT / entry.tower).is_dir()
            label = f"{name}, vision tower"
            yield (
                folder_of_weights(label, entry.tower)
                if is_folder
                else on_hub(MODELS, label, entry.tower, entry.tower_revision, "model")
            )


def folder_of_weights(name: str, folder: str) -> Finding:
    """Return whether a local checkpoint is whole."""
    from himap.models.checkpoints import weight_files
    from himap.models.sizes import read_config

    # `tried` turns what this raises into a finding.
    def check() -> Finding:
        read_config(ROOT / folder)
        files = weight_files(ROOT / folder)
        for path in files:
            if path.suffix == ".safetensors":
                check_whole(path)
        size = sum(path.stat().st_size for path in files)
        return Finding(MODELS, name, True, f"{folder}, {size / 1e9:.2g} GB of weights")

    return tried(MODELS, name, check, f"correct `models.{name.partition(',')[0]}.path` in the config")


def check_whole(path: Path) -> None:
    """Raise ValueError if a safetensors file is damaged or cut short, by its head and its size; no torch is needed."""
    from safetensors import SafetensorError, safe_open

    try:
        # The head lists where each tensor ends, so a file that is cut short is found without reading it.
        with safe_open(path, framework="numpy"):
            pass
    except SafetensorError as error:
        raise ValueError(f"{path}: not a complete safetensors file ({error}); download it again") from error


def benchmarks(plan: Plan) -> Iterator[Finding]:
    """Yield one finding for each benchmark's source."""
    for name, entry in plan.config.benchmarks.items():
        if entry.source == "mini":
            yield Finding(DATA, name, True, "drawn by this project")
        elif entry.source == "hub":
            source = source_of(plan, name)
            yield on_hub(DATA, name, source.hub_id, source.revision, "dataset", source.licence)
        else:
            yield local_rows(plan, name)


def source_of(plan: Plan, name: str) -> Source:
    """Return a benchmark's source with what the config changes about it."""
    entry = plan.benchmark(name)
    published = benchmark_named(name).source_of(entry.protocol)
    given: dict[str, Any] = {
        "hub_id": entry.id,
        "config": entry.config,
        "split": entry.split,
        "revision": entry.revision,
    }
    return replace(published, **{key: value for key, value in given.items() if value is not None})


def local_rows(plan: Plan, name: str) -> Finding:
    """Return whether a local copy has the benchmark's split, by the names and heads of its files alone."""
    from himap.benchmarks.samples.files import open_parquet
    from himap.benchmarks.samples.rows import check_columns
    from himap.benchmarks.samples.source import from_path

    place = plan.benchmark(name).source

    def check() -> Finding:
        source = source_of(plan, name)
        files = from_path(ROOT / place, source).files
        rows = 0
        for path in files:
            if path.suffix == ".parquet":
                file = open_parquet(path)
                check_columns(path, file.schema_arrow, source)
                rows += file.metadata.num_rows
        return Finding(DATA, name, True, f"{place}, {len(files)} files" + (f", {rows} rows" if rows else ""))

    return tried(DATA, name, check, f"correct `benchmarks.{name}.source` in the config")


def on_hub(part: str, name: str, hub_id: str, revision: str | None, kind: str, licence: str = "") -> Finding:
    """Return whether the hub gives this user a repository at a revision, and under which license."""
    from huggingface_hub import HfApi, constants, errors

    label, what = f"{name}", f"{hub_id} at {(revision or 'main')[:12]}"
    page = f"{constants.ENDPOINT}/{KINDS[kind]}{hub_id}"
    if constants.HF_HUB_OFFLINE:
        return in_cache(part, label, hub_id, revision, kind)
    # The hub library's HTTP client has changed between versions; its error's bases name it.
    network: tuple[type[BaseException], ...] = errors.HfHubHTTPError.__bases__  # the HTTP client's errors and OSError
    try:
        api = HfApi()
        # A request for the description alone; no file is downloaded.
        info: Any = api.repo_info(hub_id, revision=full(api, hub_id, revision, kind), repo_type=kind)
        if info.gated:
            # A gated repository shows its listing to everybody; only this asks whether this user may download.
            api.auth_check(hub_id, repo_type=kind)
    # Before RepositoryNotFoundError, of which it is a subclass.
    except errors.GatedRepoError:
        return Finding(
            part, label, False, f"{what} is gated", f"accept its terms on {page}, then set HF_TOKEN to your token"
        )
    except errors.RevisionNotFoundError:
        return Finding(
            part, label, False, f"{hub_id} has no revision {revision}", f"choose another one of {page}/commits"
        )
    except errors.RepositoryNotFoundError:
        return Finding(
            part, label, False, f"{hub_id} is not on the hub, or private", f"check the id, and HF_TOKEN; {page}"
        )
    except network as error:
        return Finding(
            part,
            label,
            False,
            f"{what} cannot be reached ({one_line(error)[:160]})",
            f"check the network and {constants.ENDPOINT}",
        )
    except ValueError as error:
        return Finding(part, label, False, one_line(error), "give the whole commit as `revision`")
    # The benchmark's declaration first, then the repository's tags.
    stated = licence or licence_in(info.tags or [])
    if not stated:
        return Finding(
            part, label, None, f"{what}, which states no license", f"read its terms on {page} before you use it"
        )
    return Finding(part, label, True, f"{what}, license {stated}")


def full(api: Any, hub_id: str, revision: str | None, kind: str) -> str | None:
    """Return a revision by its whole hash: the hub does not know a data set's commit by its first digits."""
    from himap.benchmarks.samples.source import full_revision

    return full_revision(api, Source(hub_id, "", "", {}, revision=revision)) if kind == "dataset" else revision


def licence_in(tags: list[str]) -> str:
    """Return the license that a repository's tags name, an empty text if none does."""
    return next((tag.partition(":")[2] for tag in tags if tag.startswith("license:")), "")


def in_cache(part: str, name: str, hub_id: str, revision: str | None, kind: str) -> Finding:
    """Return whether a repository's revision is in the hub library's cache, which is all that counts offline."""
    from huggingface_hub import constants, snapshot_download
    from huggingface_hub.errors import LocalEntryNotFoundError

    try:
        # Offline the library looks for the revision's folder and does not check that every file is in it.
        snapshot_download(hub_id, revision=revision, repo_type=kind, local_files_only=True)
    except (LocalEntryNotFoundError, ValueError):
        return Finding(
            part, name, False, f"{hub_id} is not in {constants.HF_HUB_CACHE}, and HF_HUB_OFFLINE is set", OFFLINE
        )
    return Finding(part, name, True, f"{hub_id} is in {constants.HF_HUB_CACHE}; HF_HUB_OFFLINE is set")
