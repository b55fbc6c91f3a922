"""From a benchmark's published rows to samples.parquet and its manifest: checked, chosen, written row by row."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from himap.benchmarks._base import Benchmark, Sample, Source
from himap.benchmarks.samples.files import FIELDS, disk_full, schema
from himap.benchmarks.samples.images import check_image
from himap.benchmarks.samples.rows import rows_of, told_about
from himap.benchmarks.samples.source import Found
from himap.benchmarks.samples.subset import Key, choose, key_of
from himap.files import replacing, sha256, write_json

# By the position of a row: which of its questions are taken, as (number within the row, index in the split, id).
Chosen = dict[int, list[tuple[int, int, str]]]
ROWS_AT_MOST, BYTES_AT_MOST = 500, 4 << 20  # in one portion


def prepare(
    benchmark: Benchmark,
    source: Source,
    found: Found,
    out: Path,
    manifest: Path,
    limit: int | None = None,
    seed: int = 0,
    protocol: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """Write the samples and the manifest (which is returned); on any error neither is touched."""
    # Two readings: the first without images is cheap and decides which rows are taken, the second opens only their images.
    listing = list(list_rows(benchmark, source, found, benchmark.protocol(protocol or {})))
    if not listing:
        raise ValueError(f"{found.files[0]}: holds no row of {benchmark.name}, split '{source.split}'")
    places = range(len(listing)) if limit is None else choose([entry.key for entry in listing], limit, seed)
    # From the order of questions to that of rows: a row with several questions is read once.
    chosen: Chosen = {}
    for place in places:
        entry = listing[place]
        chosen.setdefault(entry.position, []).append((entry.part, place, entry.key.sample_id))
    with disk_full(out), replacing(out) as temporary:  # on an error the temporary file goes and an old one stays
        rows, images = write_samples(temporary, benchmark.name, read_chosen(benchmark, source, found, chosen))
        facts = {
            "benchmark": benchmark.name,
            "rows": rows,
            "images": images,
            "source": found.origin,
            "revision": found.origin.get("revision"),
            "sha256": sha256(temporary),  # before the rename, of the very bytes
            "licence": source.licence,
            "subset": {"limit": limit, "seed": None if limit is None else seed, "n_total": len(listing)},
        }
        # Inside the block: if the manifest cannot be written, the samples are not put in place either.
        write_json(manifest, facts)
    return facts


@dataclass(frozen=True)
class Entry:
    """A question of the source: the position of its row, which of the row's questions it is, and the key of its sample."""

    position: int
    part: int
    key: Key


def list_rows(benchmark: Benchmark, source: Source, found: Found, protocol: Mapping[str, Any]) -> Iterator[Entry]:
    """Yield every row of the split, read without its images; ids are made unique and checked."""
    seen: dict[str, tuple[int, str]] = {}  # id -> how often it came, and where last
    index = 0  # counts questions that are kept, so it is the id where a set has none of its own
    for position, where, row in rows_of(found, source):
        if benchmark.keep is None or benchmark.keep(row, protocol):
            for number, part in enumerate(parts_of(benchmark, row, where)):
                sample = named(benchmark, made(benchmark, part, index, where), where, seen)
                index += 1
                yield Entry(position, number, key_of(benchmark, sample))


def read_chosen(benchmark: Benchmark, source: Source, found: Found, chosen: Chosen) -> Iterator[Sample]:
    """Yield the chosen samples with their images, which are checked."""
    from tqdm import tqdm

    checked: set[bytes] = set()  # digests, since the images themselves would fill the memory
    rows, told = rows_of(found, source, set(chosen)), told_about(found)
    for position, where, row in tqdm(rows, total=len(chosen), desc=benchmark.name, unit="sample", disable=None):
        parts = parts_of(benchmark, row, where)
        for number, index, sample_id in chosen[position]:
            sample = made(benchmark, parts[number], index, where)
            # The id of the first reading, which may have "#2" added; what the embedded world tells comes last and wins.
            sample = replace(sample, sample_id=sample_id, metadata=sample.metadata | told[position])
            check_images(sample, where, checked)
            yield sample


def parts_of(benchmark: Benchmark, row: dict[str, Any], where: str) -> list[dict[str, Any]]:
    """Return a row for each question of a row, with the place of errors."""
    try:
        return benchmark.parts(row)
    except ValueError as error:
        raise ValueError(f"{where}: {error}") from error


def made(benchmark: Benchmark, row: dict[str, Any], index: int, where: str) -> Sample:
    """Return the benchmark's sample of a row, with the place of errors."""
    try:
        return benchmark.sample(row, index)
    except ValueError as error:
        raise ValueError(f"{where}: {error}") from error


def named(benchmark: Benchmark, sample: Sample, where: str, seen: dict[str, tuple[int, str]]) -> Sample:
    """Return the sample with a unique id. Raise ValueError with both places for an id that comes more often than it may."""
    count, before = seen.get(sample.sample_id, (0, ""))
    if count >= benchmark.rows_per_id:
        often = "twice" if count == 1 else f"{count + 1} times"
        raise ValueError(
            f"{where}: id '{sample.sample_id}' is there {often} (before in {before}); ids have to be unique"
        )
    seen[sample.sample_id] = (count + 1, where)
    return sample if benchmark.rows_per_id == 1 else replace(sample, sample_id=f"{sample.sample_id}#{count + 1}")


def check_images(sample: Sample, where: str, checked: set[bytes]) -> None:
    """Raise ValueError unless every image decodes and is small enough; one that was seen before is not decoded again."""
    for data in sample.images:
        # Many questions share an image, and decoding is most of the time that this takes.
        digest = hashlib.blake2b(data, digest_size=16).digest()
        if digest not in checked:
            try:
                check_image(data)
            except ValueError as error:
                raise ValueError(
                    f"{where} (id {sample.sample_id}): {error}; fix the source or leave the row out"
                ) from error
            checked.add(digest)


def write_samples(path: Path, benchmark: str, samples: Iterable[Sample]) -> tuple[int, int]:
    """Write samples a portion at a time; returns how many samples and images."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    columns = schema(benchmark)
    rows = images = 0
    with path.open("wb") as sink, pq.ParquetWriter(sink, columns, compression="zstd") as writer:
        for portion in portions(samples):
            writer.write_table(pa.Table.from_pylist([as_row(one) for one in portion], columns))
            rows, images = rows + len(portion), images + sum(len(one.images) for one in portion)
    return rows, images


def portions(samples: Iterable[Sample]) -> Iterator[list[Sample]]:
    """Yield samples in portions of bounded number and size in bytes."""
    waiting: list[Sample] = []
    weight = 0
    for sample in samples:
        waiting.append(sample)
        weight += sum(map(len, sample.images))
        # Small row groups: whoever reads a few samples later unpacks a few megabytes, not the file.
        if len(waiting) == ROWS_AT_MOST or weight >= BYTES_AT_MOST:
            yield waiting
            waiting, weight = [], 0
    if waiting:
        yield waiting


def as_row(sample: Sample) -> dict[str, Any]:
    """Return a sample as samples.parquet stores it."""
    row = {name: getattr(sample, name) for name in FIELDS}
    return {**row, "metadata": json.dumps(sample.metadata, ensure_ascii=False, sort_keys=True)}
