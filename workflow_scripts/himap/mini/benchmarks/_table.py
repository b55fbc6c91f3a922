"""From rows to an Arrow table that cannot be told from one the datasets library has written."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from himap.mini.benchmarks._draw import ABOUT, IMAGE, Columns, Row

if TYPE_CHECKING:
    import pyarrow as pa


def to_table(columns: Columns, rows: list[Row]) -> pa.Table:
    """Return rows as an Arrow table with the types and the metadata that the datasets library would write."""
    import pyarrow as pa

    schema = pa.schema([pa.field(name, arrow_type(column)) for name, column in columns.items()])
    about = json.dumps([row.get(ABOUT, {}) for row in rows])  # beside the columns, which are those of the published set
    # The library recognizes pictures by this entry; without it they would be read as bare structs.
    description = {"info": {"features": {name: feature(column) for name, column in columns.items()}}}
    return pa.Table.from_pylist(
        # Keys beyond the schema, such as `about`, are ignored.
        rows,
        schema=schema.with_metadata({"huggingface": json.dumps(description), "about": about}),
    )


def arrow_type(column: Any) -> pa.DataType:
    """Return a column's Arrow type."""
    import pyarrow as pa

    if column is IMAGE:
        return pa.struct({"bytes": pa.binary(), "path": pa.string()})
    if isinstance(column, list):
        return pa.list_(arrow_type(column[0]))
    if isinstance(column, dict):
        return pa.struct({name: arrow_type(part) for name, part in column.items()})
    return {"bool": pa.bool_, "string": pa.string, "int8": pa.int8, "int32": pa.int32, "int64": pa.int64}[column]()


def feature(column: Any) -> Any:
    """Return a column's description as the datasets library stores it in a file's metadata."""
    if column is IMAGE:
        return IMAGE
    if isinstance(column, list):
        return {"feature": feature(column[0]), "_type": "List"}  # as datasets 4 writes a list
    if isinstance(column, dict):
        return {name: feature(part) for name, part in column.items()}
    return {"dtype": column, "_type": "Value"}
