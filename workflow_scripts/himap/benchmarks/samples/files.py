"""The files that flow, samples.parquet and predictions, read with errors that name file and row."""

from __future__ import annotations

import errno
import json
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from himap.benchmarks._base import Benchmark, Sample
from himap.benchmarks.samples.spool import Parked, Spool

if TYPE_CHECKING:
    import pyarrow as pa

FIELDS = ("sample_id", "question", "options", "references", "images", "metadata")
ROWS_AT_ONCE = 64  # with images; its square without
GROUP_BYTES = 4 << 30  # that a row group may unpack to
WAITING_BYTES = 1 << 28  # on disk, of pictures whose other samples are still to come
BATCH_BYTES = 1 << 30  # that the rows read at once may
NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)  # disk full, quota used up, above the largest file allowed


def schema(benchmark: str) -> pa.Schema:
    """Return the columns of samples.parquet, which remembers whose samples it holds."""
    import pyarrow as pa

    kinds = [pa.string(), pa.string(), pa.list_(pa.string()), pa.list_(pa.string()), pa.list_(pa.binary()), pa.string()]
    fields = [pa.field(name, kind, nullable=False) for name, kind in zip(FIELDS, kinds, strict=True)]
    return pa.schema(fields, metadata={"benchmark": benchmark})


def check_benchmark(path: str | Path, benchmark: str) -> None:
    """Raise ValueError for samples of another benchmark; a file that does not say whose they are is taken as it is."""
    # Arrow's metadata are bytes. A file of somebody else's tool has no such key.
    owner = (open_parquet(path).schema_arrow.metadata or {}).get(b"benchmark", benchmark.encode()).decode()
    if owner != benchmark:
        raise ValueError(f"{path}: holds samples of {owner}, not of {benchmark}; give the file of {benchmark}")


def open_parquet(path: str | Path, folded: bool = False) -> Any:
    """Open a Parquet file. Raise ValueError for a truncated, foreign or monstrous one. `folded`: repeated texts stay references."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    if not Path(path).is_file():
        raise ValueError(f"{path}: no such file")
    try:
        file = pq.ParquetFile(path)
        metadata, leaves = file.metadata, [file.schema.column(at) for at in range(len(file.schema))]
        # Opened twice: only the first opening tells which columns are text, and only those can be read folded.
        if folded:
            texts = [leaf.path for leaf in leaves if leaf.physical_type == "BYTE_ARRAY"]
            file = pq.ParquetFile(path, metadata=metadata, read_dictionary=texts)
    except (pa.ArrowInvalid, OSError) as error:
        raise ValueError(
            f"{path}: not a readable Parquet file ({one_line(error)}); it may be truncated: fetch or make it again"
        ) from error
    # The sizes are the file's own claim, so `check_size` looks again at what was really read.
    for number in range(metadata.num_row_groups):
        if (size := group_bytes(metadata.row_group(number))) > GROUP_BYTES:
            raise ValueError(
                f"{path}: row group {number} unpacks to {size} bytes, more than the {GROUP_BYTES} that are accepted; "
                "write the file again in smaller row groups"
            )
    return file


def group_bytes(group: Any, columns: Iterable[str] | None = None) -> int:
    """Return what a row group's columns unpack to, as far as its metadata tells; all of them or the named ones."""
    wanted = None if columns is None else set(columns)
    chunks = [group.column(at) for at in range(group.num_columns)]
    return sum(
        # Dictionary encoding makes the stated size small however often a text repeats, so each value counts eight bytes at least.
        max(chunk.total_uncompressed_size, 8 * chunk.num_values)
        for chunk in chunks
        if wanted is None or chunk.path_in_schema.split(".")[0] in wanted  # as "image.bytes" or "options.list.element"
    )


def read_group(file: Any, number: int, columns: Sequence[str], rows: int) -> Iterator[pa.RecordBatch]:
    """Return a row group's batches of so many rows, fewer where the rows are large."""
    group = file.metadata.row_group(number)
    # A quarter of what is allowed: rows differ in size, and a batch of the largest ones must still fit.
    fitting = BATCH_BYTES // 4 * group.num_rows // max(group_bytes(group, columns), 1)
    return file.iter_batches(batch_size=max(1, min(rows, fitting)), row_groups=[number], columns=list(columns))  # type: ignore[no-any-return]


def check_size(path: str | Path, batch: pa.RecordBatch) -> None:
    """Refuse rows that would fill the memory, before they do."""
    # The batch is still folded here; only `to_pylist`, which the caller does next, would spell every text out.
    if (size := sum(map(unpacked, batch.columns))) > BATCH_BYTES:
        raise ValueError(
            f"{path}: {batch.num_rows} rows unpack to {size} bytes, more than the {BATCH_BYTES} that are accepted"
        )


def unpacked(column: pa.Array) -> int:
    """Return the bytes of a column if every repeated text is counted each time."""
    import pyarrow.compute as pc
    import pyarrow.types as t

    kind = column.type
    # Structs and lists are taken apart down to their leaves, such as {bytes, path} or a list of options.
    if t.is_struct(kind):
        return sum(map(unpacked, column.flatten()))
    if t.is_list(kind) or t.is_large_list(kind):
        return unpacked(column.flatten())
    # Counted without unpacking it: a few kilobytes of file may stand for many gigabytes of text.
    if t.is_dictionary(kind) and not t.is_primitive(kind.value_type):
        return pc.sum(pc.binary_length(column.dictionary).take(column.indices)).as_py() or 0
    return int(column.nbytes)


def one_line(error: BaseException) -> str:
    """Return an error's text without line breaks, not too long."""
    return " ".join(str(error).split())[:300]


def read_samples(path: str | Path, columns: Iterable[str] | None = None) -> Iterator[Sample]:
    """Yield samples one after another, a few rows in memory at a time."""
    import pyarrow as pa

    wanted = list(columns) if columns is not None else list(FIELDS)
    if unknown := set(wanted) - set(FIELDS):
        raise ValueError(f"samples have no column {', '.join(sorted(unknown))}; they have {', '.join(FIELDS)}")
    # Folded, so that a text that repeats takes memory once until `check_size` has counted it.
    file = open_parquet(path, folded=True)
    if missing := set(FIELDS) - set(file.schema_arrow.names):
        raise ValueError(
            f"{path}: column {', '.join(sorted(missing))} is missing; make the file with download_benchmark.py"
        )
    # A sample cannot be made without its id, so that column is always read.
    wanted = [name for name in FIELDS if name in {"sample_id", *wanted}]
    size = ROWS_AT_ONCE if "images" in wanted else ROWS_AT_ONCE**2
    try:
        for number in range(file.num_row_groups):
            for batch in read_group(file, number, wanted, size):
                check_size(path, batch)
                for row in batch.to_pylist():
                    yield Sample(**row | ({"metadata": json.loads(row["metadata"])} if "metadata" in row else {}))
    except (pa.ArrowInvalid, OSError) as error:
        raise ValueError(f"{path}: its rows cannot be read ({one_line(error)}); delete it and make it again") from error


def by_picture(
    samples: Iterable[Sample], picture_of: Callable[[Sample], str], remaining: Counter[str]
) -> Iterator[Sample]:
    """Yield samples so that those about one picture follow each other; `remaining` counts the samples of each picture.

    Samples wait until all of their picture's are there, its bytes on disk and once. If the pictures that wait take more than
    WAITING_BYTES, the one that waits longest goes on with the samples that it has, so that the disk does not fill.
    """
    waiting: dict[str, list[Sample]] = {}  # without their pictures
    parked: dict[str, Parked] = {}
    spool = Spool()
    size = 0

    # Give the samples their picture back, and forget it.
    def leave(picture: str) -> list[Sample]:
        nonlocal size
        images = spool.images(parked[picture])
        spool.release(parked[picture])
        size -= sum(parked.pop(picture).lengths)
        return [sample if sample.images else replace(sample, images=images) for sample in waiting.pop(picture)]

    for sample in samples:
        picture = picture_of(sample)
        remaining[picture] -= 1
        # The only sample about its picture, or the last after the others had to go on: nothing to wait for.
        if picture not in waiting and not remaining[picture]:
            yield sample
            continue
        if picture not in waiting:
            waiting[picture], parked[picture] = [], spool.park(sample.images)
            size += sum(map(len, sample.images))
        # Two pictures may have one name; a sample with other bytes keeps its own.
        is_alike = spool.images(parked[picture]) == sample.images
        waiting[picture].append(replace(sample, images=[]) if is_alike else sample)
        if not remaining[picture]:
            yield from leave(picture)
        # Dictionaries keep the order of insertion, so the first picture is the one that waits longest.
        while size > WAITING_BYTES:
            yield from leave(next(iter(waiting)))
    # Nothing is left where `remaining` was right; a wrong count must not lose samples.
    for picture in list(waiting):
        yield from leave(picture)


def read_for_scoring(path: str | Path, benchmark: Benchmark) -> Iterator[Sample]:
    """Yield samples without their images, but with the name of the picture that each is about."""
    columns = ["question", "options", "references", "metadata"]
    first = next(read_samples(path, ["metadata"]), None)
    if first is None or benchmark.knows_picture(first):
        # The image column is most of the file, and scoring needs no pixel of it.
        yield from read_samples(path, columns)
        return
    for sample in read_samples(path, [*columns, "images"]):
        yield replace(sample, images=[], metadata=sample.metadata | {"picture": benchmark.picture_of(sample)})


def read_predictions(path: str | Path) -> dict[str, str]:
    """Return answers by sample id from JSON lines. Raise ValueError with the line of a broken one, a missing key or an id given twice."""
    answers: dict[str, str] = {}
    for number, row in read_jsonl(path):
        sample_id, prediction = row.get("sample_id"), row.get("prediction")
        if not isinstance(sample_id, str) or not isinstance(prediction, str):
            raise ValueError(
                f"{path}, line {number}: needs the strings sample_id and prediction, "
                f"has {', '.join(sorted(row)) or 'nothing'}"
            )
        if sample_id in answers:
            raise ValueError(
                f"{path}, line {number}: sample_id '{sample_id}' is there twice; keep one line for each sample"
            )
        answers[sample_id] = prediction
    return answers


def read_jsonl(path: str | Path) -> Iterator[tuple[int, dict[str, Any]]]:
    """Yield the objects of a JSON-lines file with their line numbers, counted from 1; empty lines are skipped."""
    if not Path(path).is_file():
        raise ValueError(f"{path}: no such file")
    with Path(path).open("rb") as file:
        for number, line in enumerate(file, start=1):
            if not line.strip():
                continue
            try:
                row = json.loads(line)
            except ValueError as error:
                raise ValueError(
                    f"{path}, line {number}: not valid JSON ({one_line(error)}); a killed run may have cut it short"
                ) from error
            if not isinstance(row, dict):
                raise ValueError(f"{path}, line {number}: expected a JSON object, found {type(row).__name__}")
            yield number, row


@contextmanager
def disk_full(path: str | Path) -> Iterator[None]:
    """Name the file when there is no room to write it."""
    try:
        yield
    except OSError as error:
        if error.errno in NO_ROOM:
            raise ValueError(
                f"{path}: no room to write it ({error.strerror or one_line(error)}); free space or choose another place"
            ) from error
        raise
