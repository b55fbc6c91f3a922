"""The lines of the divergence table about flows: which layers a mean is taken over."""

from __future__ import annotations

from typing import Any, cast

import pandas as pd
import pytest
from himap.report.divergence_flows import saliency_lines
from himap.results import Results


class Drawn:
    """The results of a run in which one layer alone has flow among image tokens."""

    def __init__(self, loud: int, depth: int) -> None:
        rows = [
            {
                "source": "ours",
                "variant": "paper",
                "model": "llava",
                "benchmark": "aokvqa",
                "layer": layer,
                "curve": curve,
                "raw": value,
            }
            for layer in range(depth)
            for curve, value in (("image_from_image", 90.0 * (layer == loud)), ("instruction_from_image", 1.0))
        ]
        self.frame = pd.DataFrame(rows)

    def figure(self, name: str) -> pd.DataFrame:
        return self.frame


@pytest.mark.parametrize(("layer", "is_middle"), [(6, False), (7, True), (15, True), (16, False)])
def test_the_middle_layers_of_32_are_7_to_15_as_in_the_claims(layer: int, is_middle: bool) -> None:
    results: Any = Drawn(layer, depth=32)
    (line,) = saliency_lines(cast(Results, results), "paper")
    assert line.endswith("in the middle layers 10" if is_middle else "in the middle layers 0")
