"""Finding a benchmark's published files, on the hub or on disk, and reading their rows a few at a time."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from fnmatch import fnmatch
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from himap.benchmarks._base import Source
from himap.benchmarks.samples.files import NO_ROOM, check_size, one_line, open_parquet, read_group

if TYPE_CHECKING:
    import pyarrow as pa

ROWS_AT_ONCE = {True: 16, False: 4096}  # with images, and without
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
    repository = next((one for one in (path, path / name, path / "hub" / name) if (one / "snapshots").is_dir()), None)
    if repository is None:
        return None
    snapshots = sorted((repository / "snapshots").iterdir())
    # A revision may be given by its first digits, while the cache names folders by the whole hash.
    pinned = [one for one in snapshots if source.revision and one.name.startswith(source.revision)]
    main = repository / "refs" / "main"
    current = [one for one in snapshots if main.is_file() and one.name == main.read_text().strip()]
    if source.revision and not pinned:
        held = ", ".join(one.name for one in snapshots) or "none"
        raise ValueError(
            f"{path}: the cache of {source.hub_id} does not hold revision {source.revision}; it holds {held}"
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


def listed(value: Any) -> list[Any]:
    """Return a value as a list: itself, the one value, or nothing."""
    return value if isinstance(value, list) else [] if value is None else [value]


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
    commit = information.sha or revision

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


def check_columns(file: Path, schema: pa.Schema, source: Source) -> None:
    """Raise ValueError, before any row is read, unless all used columns are there with the right types."""
    present = dict(zip(schema.names, schema.types, strict=True))
    missing = [name for name in source.columns if name not in present]
    if missing:
        raise ValueError(
            f"{file}: column '{missing[0]}' is missing (it has {', '.join(schema.names)}); is this {source.hub_id}?"
        )
    for name, kind in {**source.columns, **source.unused}.items():
        if name in present and not fits(present[name], kind):
            raise ValueError(
                f"{file}: column '{name}' is {present[name]}, expected {kind.rstrip('?')}; is this {source.hub_id}?"
            )


def fits(kind: pa.DataType, expected: str) -> bool:
    """Return whether an Arrow type is of one of the expected kinds."""
    import pyarrow.types as t

    if t.is_null(kind):
        # A column that is null in every row has no type of its own.
        return expected.endswith("?")
    return any(fits_one(kind, one) for one in expected.rstrip("?").split("|"))


def fits_one(kind: pa.DataType, expected: str) -> bool:
    """Return whether an Arrow type is of one kind."""
    import pyarrow.types as t

    if t.is_dictionary(kind):
        # Repeated texts may be stored as a dictionary; the kind of its values is what counts.
        return fits_one(kind.value_type, expected)
    if expected.startswith("list<"):
        return is_list(kind) and (t.is_null(kind.value_type) or fits_one(kind.value_type, expected[5:-1]))
    if expected == "image":
        return is_image(kind) or (is_list(kind) and is_image(kind.value_type))
    checks = {
        "string": lambda one: t.is_string(one) or t.is_large_string(one),
        "int": t.is_integer,
        "bool": t.is_boolean,
        "struct": t.is_struct,
    }
    return bool(checks[expected](kind))


def is_list(kind: pa.DataType) -> bool:
    """Return whether it is any of Arrow's list types."""
    import pyarrow.types as t

    return bool(t.is_list(kind) or t.is_large_list(kind) or t.is_fixed_size_list(kind))


def is_image(kind: pa.DataType) -> bool:
    """Return whether a column holds images: binary, or a struct with bytes and path as the hub stores it."""
    import pyarrow.types as t

    named = t.is_struct(kind) and kind.get_field_index("bytes") >= 0
    return bool(named or t.is_binary(kind) or t.is_large_binary(kind))


def schema_of(file: Path) -> pa.Schema:
    """Return the columns of a Parquet or Arrow file."""
    if file.suffix == ".arrow":
        with arrow_reader(file) as reader:
            return reader.schema
    return open_parquet(file).schema_arrow


def told_about(found: Found) -> list[dict[str, Any]]:
    """Return what files say of each of their rows beside the columns, as those of the embedded world do; nothing for published ones."""
    told: list[dict[str, Any]] = []
    for file in found.files:
        text = (schema_of(file).metadata or {}).get(b"about")
        told += json.loads(text) if text else [{}] * row_count(file)
    return told


def arrow_reader(file: Path) -> Any:
    """Return a reader of the stream format that save_to_disk writes; the file is mapped, not loaded."""
    import pyarrow as pa

    try:
        return pa.ipc.open_stream(pa.memory_map(str(file)))
    except (pa.ArrowInvalid, OSError) as error:
        raise ValueError(
            f"{file}: not a readable Arrow file ({one_line(error)}); it may be truncated: fetch or make it again"
        ) from error


def batches(file: Path, columns: Sequence[str], wanted: set[int] | None) -> Iterator[tuple[int, pa.RecordBatch]]:
    """Yield batches of a few rows with the position of their first; what holds no wanted row is not even read."""
    import pyarrow as pa

    try:
        at = 0
        for size, pieces in portions(file, columns, ROWS_AT_ONCE[wanted is not None]):
            if wanted is None or not wanted.isdisjoint(range(at, at + size)):
                start = at
                for batch in pieces():
                    check_size(file, batch)
                    yield start, batch
                    start += batch.num_rows
            at += size
    except (pa.ArrowException, OSError) as error:
        # Arrow raises OSError without a number for broken data; one with a number is the disk's own and says enough.
        if isinstance(error, OSError) and error.errno not in (None, 0):
            raise
        advice = "it may be corrupt: fetch or make it again"
        raise ValueError(f"{file}: its rows cannot be read ({one_line(error)}); {advice}") from error


def portions(
    file: Path, columns: Sequence[str], rows: int
) -> Iterator[tuple[int, Callable[[], Iterable[pa.RecordBatch]]]]:
    """Yield the row groups of a Parquet file, or the batches of an Arrow file: their length and how to read them."""
    names = list(columns)
    if file.suffix == ".arrow":
        with arrow_reader(file) as reader:
            for batch in reader:
                chosen = batch.select(names)
                slices = [chosen.slice(start, rows) for start in range(0, chosen.num_rows, rows)]
                yield batch.num_rows, partial(iter, slices)
    else:
        parquet = open_parquet(file, folded=True)
        for group in range(parquet.num_row_groups):
            yield parquet.metadata.row_group(group).num_rows, partial(read_group, parquet, group, names, rows)


def rows_of(found: Found, source: Source, wanted: set[int] | None = None) -> Iterator[tuple[int, str, dict[str, Any]]]:
    """Yield rows by position over all files, and where each is: the wanted ones with images, or all without."""
    before = 0
    kinds = {**source.unused, **source.columns}
    pictures = None if wanted is None else pictures_of(found, source)
    for file in found.files:
        schema, rows = schema_of(file), 0
        check_columns(file, schema, source)
        names = [name for name in schema.names if wanted is not None or "image" not in kinds.get(name, "")]
        local = None if wanted is None else {position - before for position in wanted}
        for start, batch in batches(file, names, local):
            rows = start + batch.num_rows
            if local is None or not local.isdisjoint(range(start, rows)):
                for offset, row in enumerate(batch.to_pylist(), start=start):
                    if local is None or offset in local:
                        where = f"{file}, row {offset}"
                        row = complete_row(row, source, where, found.folder, wanted is not None)
                        if source.pictures and wanted is not None:
                            row["image"] = picture_of(row, source.pictures.key, pictures, where)
                        yield before + offset, where, row
        before += row_count(file)


def pictures_of(found: Found, source: Source) -> dict[str, Any] | None:
    """Return the pictures of a table of their own by id, None if the rows hold them; they are few, so all are kept."""
    if found.pictures is None:
        return None
    total = sum(map(row_count, found.pictures.files))
    table = rows_of(found.pictures, source.picture_table(), set(range(total)))
    return {row["id"]: row["image"] for _, _, row in table}


def picture_of(row: dict[str, Any], key: str, pictures: dict[str, Any] | None, where: str) -> Any:
    """Return a row's picture: its own, or the one that it names."""
    if pictures is None and row["image"] is None:
        raise ValueError(f"{where}: 'image' is null; every row needs one")
    if pictures is not None and row[key] not in pictures:
        raise ValueError(
            f"{where}: {key} '{row[key]}' is not among the {len(pictures)} pictures; fetch both tables again"
        )
    return row["image"] if pictures is None else pictures[row[key]]


def row_count(file: Path) -> int:
    """Return how many rows a file has."""
    if file.suffix != ".arrow":
        return int(open_parquet(file).metadata.num_rows)
    return sum(size for size, _ in portions(file, [], 1))


def complete_row(row: dict[str, Any], source: Source, where: str, folder: Path | None, images: bool) -> dict[str, Any]:
    """Return a row with its unused columns filled in. Raise ValueError for a null where there may be none."""
    for name, kind in source.columns.items():
        if row.get(name) is None and not kind.endswith("?") and (images or "image" not in kind):
            raise ValueError(f"{where}: '{name}' is null; every row needs one")
        if isinstance(row.get(name), list) and None in row[name]:
            raise ValueError(f"{where}: '{name}' holds a null; fix the source or leave the row out")
    for name in source.unused:
        row.setdefault(name, None)
    if images and isinstance(cell := row.get("image"), (dict, list)):
        row["image"] = [with_bytes(one, where, folder) for one in listed(cell)]
    return row


def with_bytes(cell: Any, where: str, folder: Path | None) -> Any:
    """Return an image cell with its bytes; one that only names a file is read from the source's folder, never elsewhere."""
    if not isinstance(cell, dict) or cell.get("bytes") is not None:
        return cell
    name = cell.get("path")
    if not name:
        raise ValueError(f"{where}: the image has neither bytes nor a path")
    # A path comes from a downloaded file: it must not be able to read anything else of this machine into the samples.
    if folder is None or os.path.isabs(name) or ".." in Path(name).parts or not (folder / name).is_file():
        raise ValueError(
            f"{where}: the image is only named ({name}) and is not in {folder or 'the download'}; "
            "store images in the file itself"
        )
    return {"bytes": (folder / name).read_bytes(), "path": name}
