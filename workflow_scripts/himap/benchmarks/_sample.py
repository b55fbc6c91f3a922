"""A benchmark's samples and where its published rows are."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any


@dataclass(frozen=True)
class Sample:
    """One question (or one image to describe) of a benchmark; `images` holds the encoded bytes as in the source."""

    # The fields are the columns of samples.parquet (`samples.files.FIELDS`); those that are not read keep their default.
    sample_id: str
    question: str = ""  # empty where a caption is asked for
    options: list[str] = field(default_factory=list)  # texts without letters; empty for open answers
    references: list[str] = field(
        default_factory=list
    )  # right answers, or one letter for a choice; empty on test splits
    images: list[bytes] = field(default_factory=list)
    metadata: dict[str, Any] = field(default_factory=dict)  # stored as JSON: plain values only


@dataclass(frozen=True)
class Pictures:
    """A table of pictures beside the rows: its config in the same repository, and the row's column that holds its `id`."""

    config: str
    key: str


@dataclass(frozen=True)
class Source:
    """The published data: hub id, config, split, pinned revision (None: not known), licence, rows, columns with kinds.

    A kind is string, int, bool, image, struct or list<...>; alternatives are joined by |, and a final ? allows null.
    `columns` have to be there, `unused` ones need not be. `pictures` says where the pictures are if not in the rows.
    """

    hub_id: str
    split: str
    licence: str
    columns: Mapping[str, str]
    unused: Mapping[str, str] = field(default_factory=dict)
    config: str = "default"
    revision: str | None = None
    rows: int | None = None
    pictures: Pictures | None = None

    def picture_table(self) -> Source:
        """Return where the pictures are that the rows only name."""
        if self.pictures is None:
            raise ValueError(f"{self.hub_id}: its pictures are in the rows")
        # GQA is the only such set: its table of pictures has these two columns, and its number of rows is not stated.
        columns = {"id": "string", "image": "image"}
        return replace(self, config=self.pictures.config, columns=columns, unused={}, rows=None, pictures=None)


def image_bytes(row: Mapping[str, Any], column: str = "image") -> list[bytes]:
    """Return the encoded images of a row: none for null, one, or several if the column is a list."""
    cell = row.get(column)
    # The hub stores an image as {bytes, path}, other copies as bare bytes, and sets with several images as a list.
    cells = cell if isinstance(cell, list) else [cell]
    return [cell["bytes"] if isinstance(cell, Mapping) else cell for cell in cells if cell is not None]


def scalars(row: Mapping[str, Any], *names: str) -> dict[str, Any]:
    """Return the named columns of a row that are there and not null, for the sample's metadata."""
    return {name: row[name] for name in names if row.get(name) is not None}
