"""Read the paper's numbers from published.yaml; None stands for what is not published or was not obtained."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

import yaml

from himap.models.sizes import Dims
from himap.registry import unknown

FILE = Path(__file__).with_name("published.yaml")
# Every start of the workflow reads the file, and the loader in C is ten times faster. PyYAML may be built without it.
LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


@cache
def published() -> dict[str, Any]:
    """Return the whole file."""
    return yaml.load(FILE.read_text(encoding="utf-8"), Loader=LOADER)


def models() -> tuple[str, ...]:
    """Return the names of the paper's models, as its tables call them."""
    return tuple(published()["decoders"])


def decoder(model: str) -> Dims:
    """Return the decoder sizes of one of the paper's models. Raise ValueError for a name that is none of them."""
    if model not in models():
        raise unknown("model of the paper", model, models())
    return Dims(**published()["decoders"][model])


def table_value(table: str, model: str | None, method: str, column: str) -> float | None:
    """Return one cell of a table: a benchmark's score, `tflops` or `ratio`."""
    # As {LLaVA-7B: {himap: {tflops: 0.73, ratio: 24, vqav2: 78.6}}}; whatever is missing on the way gives None.
    cells = published()["tables"].get(table, {}).get("cells", {})
    return cells.get(model, {}).get(method, {}).get(column)


def figure_values(figure: str, *keys: str) -> Any:
    """Return a figure's values below some keys (model, or model/benchmark), or None."""
    place = published()["figures"].get(figure, {}).get("cells", {})
    for key in keys:
        place = place.get(key) if isinstance(place, dict) else None
    return place


def inconsistencies(where: str) -> list[str]:
    """Return what in a table or figure of the paper does not fit together."""
    return [entry["what"] for entry in published()["inconsistencies"] if entry["where"] == where]


def has_method(method: str) -> bool:
    """Return whether any of the paper's tables has a row of this method."""
    return any(method in rows for table in published()["tables"].values() for rows in table["cells"].values())


def unlike(benchmark: str, asked: dict[str, Any], n: int | None = None) -> str:
    """Return why a run's result on a benchmark cannot be compared with the paper's; empty where it can.

    `asked` holds the run's split and protocol options, `n` is the number of samples that were scored.
    """
    paper = published()["protocols"].get(benchmark)
    if paper is None:
        return "the paper's protocol is not known"
    # Before split and options: where the paper leaves something open, a run that fits the rest is not its equal either.
    if "unknown" in paper:
        return str(paper["unknown"])
    if asked["split"] != paper["split"]:
        return f"{asked['split']} here, {paper['split']} in the paper; {paper['why']}"
    # The paper is taken to use every default but the options that published.yaml names.
    options = asked["defaults"] | paper.get("options", {})
    for name, value in asked["protocol"].items():
        if value != options.get(name):
            return f"protocol {name}: {value} here, {options.get(name)} in the paper; {paper['why']}"
    if n is not None and n != paper["samples"]:
        return f"{n:,} of the paper's {paper['samples']:,} samples"
    return ""
