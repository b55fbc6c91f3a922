"""Reading a benchmark's published rows from its files, a few at a time, checked before anything trusts them."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from himap.benchmarks._base import Source
from himap.benchmarks.samples.files import check_size, one_line, open_parquet, read_group

if TYPE_CHECKING:
    import pyarrow as pa

    from himap.benchmarks.samples.source import Found

ROWS_AT_ONCE = {True: 16, False: 4096}  # whether images are read -> rows of a batch


def check_columns(file: Path, schema: pa.Schema, source: Source) -> None:
    """Raise ValueError, before any row is read, unless all used columns are there with the right types."""
    present = dict(zip(schema.names, schema.types, strict=True))
    missing = [name for name in source.columns if name not in present]
    if missing:
        raise ValueError(
            f"{file}: column '{missing[0]}' is missing (it has {', '.join(schema.names)}); is this {source.hub_id}?"
        )
    # An unused column may be absent, but one of another type is a sign of another set.
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
    return any(fits_one(kind, alternative) for alternative in expected.rstrip("?").split("|"))  # "string|int?"


def fits_one(kind: pa.DataType, expected: str) -> bool:
    """Return whether an Arrow type is of one kind."""
    import pyarrow.types as t

    if t.is_dictionary(kind):
        # Repeated texts may be stored as a dictionary; the kind of its values is what counts.
        return fits_one(kind.value_type, expected)
    if expected.startswith("list<"):
        return is_list(kind) and (t.is_null(kind.value_type) or fits_one(kind.value_type, expected[5:-1]))
    if expected == "image":
        return is_image(kind) or (is_list(kind) and is_image(kind.value_type))  # several frames
    checks = {
        "string": lambda kind: t.is_string(kind) or t.is_large_string(kind),
        "int": t.is_integer,
        "float": t.is_floating,
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
    facts: list[dict[str, Any]] = []  # one for each row over all files, at the position that `rows_of` gives it
    for file in found.files:
        text = (schema_of(file).metadata or {}).get(b"about")
        facts += json.loads(text) if text else [{}] * row_count(file)
    return facts


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
        at = 0  # position of the portion's first row in the file
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
                yield batch.num_rows, partial(iter, slices)  # slices share the mapped memory
    else:
        parquet = open_parquet(file, folded=True)
        for group in range(parquet.num_row_groups):
            # Not read yet: a group without a wanted row never is.
            yield parquet.metadata.row_group(group).num_rows, partial(read_group, parquet, group, names, rows)


def rows_of(found: Found, source: Source, wanted: set[int] | None = None) -> Iterator[tuple[int, str, dict[str, Any]]]:
    """Yield rows by position over all files, and where each is: the wanted ones with images, or all without."""
    before = 0  # rows of the files before this one
    kinds = {**source.unused, **source.columns}
    pictures = None if wanted is None else pictures_of(found, source)
    for file in found.files:
        schema, rows = schema_of(file), 0
        check_columns(file, schema, source)
        # Images are most of a file; a listing leaves their columns unread.
        names = [name for name in schema.names if wanted is not None or "image" not in kinds.get(name, "")]
        local = None if wanted is None else {position - before for position in wanted}
        for start, batch in batches(file, names, local):
            rows = start + batch.num_rows
            # Asked again: a row group is read as a whole, but only batches with a wanted row become Python objects.
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
    total = sum(map(row_count, found.pictures.files))  # GQA: 398
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
    # So that a benchmark's `sample` may write row[name] for every column that its source declares.
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


def listed(value: Any) -> list[Any]:
    """Return a value as a list: itself, the one value, or nothing."""
    return value if isinstance(value, list) else [] if value is None else [value]
