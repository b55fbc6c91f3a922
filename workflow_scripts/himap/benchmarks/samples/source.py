"""Finding a benchmark's published files, on the hub or on disk."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

from himap.benchmarks._base import Source
from himap.benchmarks.samples.files import NO_ROOM, one_line
from himap.benchmarks.samples.rows import listed, schema_of

# A whole commit has 40 digits; names of branches such as "main" do not match.
SHORT_COMMIT = re.compile(r"[0-9a-f]{7,39}")


@dataclass(frozen=True)
class Found:
    """The files that hold a split, in order, and where they came from as the manifest records it."""

    files: list[Path]
    origin: dict[str, Any]
    folder: Path | None = None  # images that are only named by a path are looked up here
    pictures: Found | None = None  # the files that hold the pictures, if the rows do not


def from_path(path: Path, source: Source) -> Found:
    """Find a split in a Parquet or Arrow file, or in a folder: of such files, made by save_to_disk, or a hub cache."""
    found = files_in(path, source)
    # A copy in one file may have the pictures joined to the rows.
    if source.pictures is None or "image" in schema_of(found.files[0]).names:
        return found
    if path.is_file():
        raise ValueError(
            f"{path}: has no column 'image'; give a folder that also holds the pictures, config '{source.pictures.config}'"
        )
    return with_pictures(found, files_in(path, source.picture_table()))


def with_pictures(found: Found, pictures: Found) -> Found:
    """Return the files of the rows together with those of their pictures."""
    files = [*found.origin["files"], *pictures.origin["files"]]
    return replace(found, origin={**found.origin, "files": files}, pictures=pictures)


def files_in(path: Path, source: Source) -> Found:
    """Return the files of one config and split at a path."""
    if path.is_file():
        return Found([path], origin_of(path, [path]), path.parent)
    if not path.is_dir():
        raise ValueError(
            f"{path}: no such file or folder; give a Parquet file, a folder of them, or one made by save_to_disk"
        )
    root = snapshot_in(path, source) or path
    files = sorted(one for one in root.rglob("*") if one.suffix in (".parquet", ".arrow") and one.is_file())
    chosen = files_of_split([str(one.relative_to(root)) for one in files], source, read_card(root / "README.md"))
    if not chosen:
        raise ValueError(
            f"{path}: holds no .parquet or .arrow file of config '{source.config}', split '{source.split}'"
        )
    return Found([root / name for name in chosen], origin_of(path, [root / name for name in chosen]), root)


def origin_of(path: Path, files: Sequence[Path]) -> dict[str, Any]:
    """Return what the manifest says of a local source."""
    return {"path": str(path), "files": [{"name": one.name, "bytes": one.stat().st_size} for one in files]}


def snapshot_in(path: Path, source: Source) -> Path | None:
    """Return the snapshot inside a hub cache folder, if the path is one: the pinned revision, else what main points to."""
    name = "datasets--" + source.hub_id.replace("/", "--")
    # The repository's own folder, the cache (HF_HUB_CACHE), or the folder above it (HF_HOME).
    folders = (path, path / name, path / "hub" / name)
    repository = next((folder for folder in folders if (folder / "snapshots").is_dir()), None)
    if repository is None:
        return None
    snapshots = sorted((repository / "snapshots").iterdir())
    # A revision may be given by its first digits, while the cache names folders by the whole hash.
    pinned = [one for one in snapshots if source.revision and one.name.startswith(source.revision)]
    main = repository / "refs" / "main"
    current = [one for one in snapshots if main.is_file() and one.name == main.read_text().strip()]
    if source.revision and not pinned:
        present = ", ".join(one.name for one in snapshots) or "none"
        raise ValueError(
            f"{path}: the cache of {source.hub_id} does not hold revision {source.revision}; it holds {present}"
        )
    return next(iter(pinned or current or snapshots), None)


def read_card(path: Path) -> str:
    """Return a dataset's README, empty if it has none."""
    return path.read_text(encoding="utf-8", errors="replace") if path.is_file() else ""


def files_of_split(names: Sequence[str], source: Source, card: str = "") -> list[str]:
    """Return which of a repository's files hold the config and split: as its card says, else by the usual names."""
    patterns = card_patterns(card, source)
    data = sorted(name for name in names if name.endswith((".parquet", ".arrow")))
    if patterns and (listed := [name for name in data if any(fnmatch(name, pattern) for pattern in patterns)]):
        return listed
    # By the usual names: "DocVQA/validation-0.parquet" is of config DocVQA, "data/test-0.parquet" of any.
    of_config = [name for name in data if source.config in Path(name).parts[:-1]]
    # Not every repository sorts files into a folder per config. Better a file too many, whose columns are checked, than none.
    candidates = of_config or [name for name in data if source.config == "default" or not config_like(name)] or data
    of_split = [name for name in candidates if names_split(name, source.split)]
    # A repository with one split often does not name it; then a file that names no other split is it.
    return of_split or [
        name for name in candidates if not any(names_split(name, other) for other in ("train", "validation", "test"))
    ]


def config_like(name: str) -> bool:
    """Return whether a file lies in a folder that is neither the usual 'data' nor a split's."""
    folders = Path(name).parts[:-1]
    return bool(folders) and folders[0] not in ("data", "train", "validation", "test")


def names_split(name: str, split: str) -> bool:
    """Return whether a name or folder says so: 'data/test-00000-of-00002.parquet', 'test/0000.parquet'."""
    path = Path(name)
    return split in path.parts[:-1] or re.search(rf"(^|[-_]){re.escape(split)}([-_.]|$)", path.name) is not None


def card_patterns(card: str, source: Source) -> list[str]:
    """Return the file patterns that a dataset card's header gives for the config and split."""
    import yaml

    # A card is a README.md that begins with YAML between two lines of dashes:
    # configs: [{config_name: default, data_files: [{split: validation, path: data/validation-*}]}]
    header = re.match(r"---\n(.*?)\n---", card, re.DOTALL)
    if not header:
        return []
    try:
        configs = (yaml.safe_load(header.group(1)) or {}).get("configs") or []
    except yaml.YAMLError:
        return []
    files = [
        entry
        for config in configs
        if config.get("config_name") == source.config
        for entry in listed(config.get("data_files"))
    ]
    return [
        pattern
        for entry in files
        if isinstance(entry, dict) and entry.get("split") == source.split
        for pattern in listed(entry.get("path"))
    ]


def from_hub(source: Source) -> Found:
    """Fetch the split's files from the hub at the pinned revision; HF_HUB_OFFLINE=1 uses its cache alone."""
    from huggingface_hub import constants

    if constants.HF_HUB_OFFLINE:
        cache = Path(constants.HF_HUB_CACHE)
        if not (cache / ("datasets--" + source.hub_id.replace("/", "--"))).is_dir():
            raise ValueError(
                f"{source.hub_id}: not in the cache {cache}, and HF_HUB_OFFLINE is set; unset it, or give --from-path"
            )
        found = from_path(cache, source)
        return replace(found, origin={**hub_origin(source, source.revision), **found.origin})
    with hub_errors(source):
        found = download(source)
        return with_pictures(found, download(source.picture_table())) if source.pictures else found


def download(source: Source) -> Found:
    """Resolve the revision, list the repository's files and bring those of the split, one after another."""
    from huggingface_hub import HfApi, hf_hub_download
    from huggingface_hub.utils import logging

    logging.set_verbosity_error()  # what goes wrong is said once, by us
    api = HfApi()
    revision = full_revision(api, source)
    information = api.dataset_info(source.hub_id, revision=revision, files_metadata=False)
    names = [one.rfilename for one in information.siblings or []]
    commit = information.sha or revision  # one commit for all files, also if `main` moves meanwhile

    def fetch(name: str) -> Path:
        return Path(hf_hub_download(source.hub_id, name, repo_type="dataset", revision=commit))

    card = read_card(fetch("README.md")) if "README.md" in names else ""
    chosen = files_of_split(names, source, card)
    if not chosen:
        raise ValueError(
            f"{source.hub_id}: has no Parquet file of config '{source.config}', split '{source.split}' at {revision}; "
            "try --revision refs/convert/parquet, another --config or --split, or --from-path"
        )
    files = [fetch(name) for name in chosen]
    origin = {**hub_origin(source, information.sha), "files": [{"name": name} for name in chosen]}
    return Found(files, origin)


def full_revision(api: Any, source: Source) -> str | None:
    """Return the whole hash of a commit given by its first digits, because files can only be fetched by the whole hash."""
    if source.revision is None or not SHORT_COMMIT.fullmatch(source.revision):
        return source.revision
    api.dataset_info(source.hub_id)  # fails at once where listing commits would be tried many times
    commits = [one.commit_id for one in api.list_repo_commits(source.hub_id, repo_type="dataset")]
    matching = [commit for commit in commits if commit.startswith(source.revision)]
    if len(matching) != 1:
        raise ValueError(
            f"{source.hub_id}: {len(matching)} commits begin with {source.revision}; give --revision in full, or main"
        )
    return matching[0]


def hub_origin(source: Source, revision: str | None) -> dict[str, Any]:
    """Return what the manifest says of a hub source."""
    return {"hub_id": source.hub_id, "config": source.config, "split": source.split, "revision": revision}


@contextmanager
def hub_errors(source: Source) -> Iterator[None]:
    """Turn the hub client's exceptions into one message that says what to do."""
    from huggingface_hub.errors import HfHubHTTPError

    # httpx or requests, as the hub's client was built on: its error's bases name them without an import of either.
    network: tuple[type[BaseException], ...] = HfHubHTTPError.__bases__  # the HTTP client's errors and OSError
    try:
        yield
    except network as error:
        reason = f"{type(error).__name__}: {one_line(error)}"
        raise ValueError(f"{source.hub_id} {hub_advice(source, error)} ({reason})") from error


def hub_advice(source: Source, error: BaseException) -> str:
    """Return what is wrong with fetching a set, and the way out."""
    from huggingface_hub import constants, errors

    page = f"{constants.ENDPOINT}/datasets/{source.hub_id}"
    # The order matters: a gated repository is also one that is not found.
    if isinstance(error, errors.GatedRepoError):
        return f"is gated; accept its terms on {page}, then set HF_TOKEN to your token (or run: hf auth login)"
    if isinstance(error, errors.RevisionNotFoundError):
        return f"has no revision {source.revision}; give another --revision"
    if isinstance(error, errors.RepositoryNotFoundError):
        moved = "sets of lmms-lab have moved to lmms-lab-encoder"
        return f"is not on the hub or is private; check --id ({moved}) and HF_TOKEN; {page}"
    # The local kind also derives from it, but means that the network is away, not that the file is missing.
    if isinstance(error, errors.EntryNotFoundError) and not isinstance(error, errors.LocalEntryNotFoundError):
        return "lacks a file that its listing names; try again or give another --revision"
    if isinstance(error, OSError) and error.errno in NO_ROOM:
        return f"does not fit into the cache {constants.HF_HUB_CACHE}; free space or set HF_HOME to another disk"
    return f"could not be fetched from {constants.ENDPOINT}; try again later, or give --from-path with a copy"
