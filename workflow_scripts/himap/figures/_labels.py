"""Words, colors, dashes and markers of the figures, each in one place for the drawings and the page."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from himap.pruning.resolve import load_all

if TYPE_CHECKING:
    from himap.benchmarks._base import Benchmark

LAYER = "layer (from 0)"
# Keys are column names of the results, values what readers see.
CURVES = {
    "system": "system",
    "image": "image",
    "instruction": "instruction",
    "image_from_image": "image to image (S_vv)",
    "instruction_from_image": "image to instruction (S_vt)",
}
VARIANTS = {
    "paper": "the paper's equations",
    "released": "released code",
    "random weights, paper": "control: random weights, equations",
    "random weights, released": "control: random weights, released code",
}
FLOWS = {
    "img2txt": "image to instruction cut",
    "img2img": "image to image cut",
    "random": "as many random pairs cut",
    "random_unmatched": "random rows cut, as released",
}
EXTENTS = {
    "single": "layer l alone (paper)",
    "suffix": "layer l and all above (released)",
    "prefix": "all layers below layer l",
    "window": "a window of layers",
}
MEASURES = {"label": "label consistency", "score": "score consistency"}
KINDS = {"qa": "questions", "caption": "captions", "open": "open questions"}
CRITERIA = {  # those that no built-in method is named after
    "embedding_norm": "embedding norm",
    "image_attention": "attention among image tokens",
    "image_attention_debiased": "attention among image tokens, debiased",
    "instruction_attention": "attention from the instruction",
    "last_token_attention": "attention from the last token",
}
METRICS = {  # metrics in a word; the others as their benchmark calls them
    "multiple-choice accuracy": "accuracy", "soft accuracy": "accuracy", "relaxed accuracy": "accuracy",
    "relative score by a judge": "by a judge", "grade by a judge": "by a judge",
}  # fmt: skip
INTERVAL = "mean, with its 95 % interval"

COLORS = (  # (on white, on dark): each at least 3 : 1 against its background
    ("#0b5cad", "#7db8f0"),
    ("#b34700", "#ff9d5c"),
    ("#007a5a", "#4fd1a5"),
    ("#8e3a8a", "#e29ce0"),
    ("#6b5200", "#e3c15a"),
    ("#3d4852", "#b9c3cc"),
    ("#1c2024", "#e8eaec"),
)
DASHES: tuple[tuple[float, ...], ...] = (  # in widths of the line
    (),
    (3.5, 1.5),
    (1, 1.25),
    (4, 1.5, 1, 1.5),
    (2, 1),
)
MARKERS = {  # matplotlib's name: the same mark as an SVG path around a point
    "o": "m-3 0a3 3 0 1 0 6 0a3 3 0 1 0-6 0",
    "s": "m-2.7-2.7h5.4v5.4h-5.4z",
    "^": "m0-3.6l3.4 6h-6.8z",
    "D": "m0-3.8l3.8 3.8-3.8 3.8-3.8-3.8z",
    "v": "m0 3.6l3.4-6h-6.8z",
    "P": "m-1.2-3.4h2.4v2.2h2.2v2.4h-2.2v2.2h-2.4v-2.2h-2.2v-2.4h2.2z",
}


def method_or_criterion(name: str) -> str:
    """Return the title of a method, for a criterion that of the method named after it, else the criterion in words.

    What follows a comma is already in words.
    """
    name, comma, addition = name.partition(",")  # "random, of equal cost" keeps its addition
    method = load_all().get(name, {})
    return (method.get("title") or CRITERIA.get(name) or name.replace("_", " ")) + comma + addition


def metric_label(benchmark: Benchmark) -> str:
    """Return a benchmark's metric in a word, with its unit: an axis, or what stands below a column's head."""
    metric = benchmark.metric.partition(",")[0]  # "F1, mean of three settings" is "F1"
    return f"{METRICS.get(metric, metric)}{', %' if benchmark.scale == 100 else ''}"


@dataclass(frozen=True)
class Look:
    """How a curve is told from the others: by color, dashes and marker at once."""

    color: str
    dark: str  # the color on a dark page
    dashes: tuple[float, ...]
    marker: str


def look(number: int) -> Look:
    """Return the look of the curve with this number; 210 of them differ."""
    color, dark = COLORS[number % len(COLORS)]
    # 7 colors, 5 dashes and 6 markers have no common factor, so that two looks agree in all three only after 210.
    return Look(color, dark, DASHES[number % len(DASHES)], list(MARKERS)[number % len(MARKERS)])
