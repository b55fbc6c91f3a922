"""The paper's numbers: present, with source and certainty, under names that the workflow uses."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from himap import benchmarks
from himap.costs.formulas import flops, ratio
from himap.models.sizes import Dims
from himap.paper.published import figure_values, inconsistencies, published, table_value
from himap.pruning.resolve import load_all as builtin_methods
from himap.tables.builtin import load_all as builtin_tables

SEVEN = Dims(layers=32, width=4096, heads=32, kv_heads=32, head_dim=128, ffn=11008, vocab=32000, tokens_per_image=576)
THIRTEEN = Dims(
    layers=40, width=5120, heads=40, kv_heads=40, head_dim=128, ffn=13824, vocab=32000, tokens_per_image=576
)


def cells() -> Iterator[tuple[str, str, str, str, Any]]:
    """Every cell of every table."""
    for table, entry in published()["tables"].items():
        for model, methods in entry["cells"].items():
            for method, columns in methods.items():
                for column, value in columns.items():
                    yield table, model, method, column, value


def test_each_table_and_figure_names_its_source_and_its_certainty() -> None:
    for entry in (*published()["tables"].values(), *published()["figures"].values(), published()["readme"]):
        assert "source" in entry
        assert "certainty" in entry
        assert entry["source"] is None or entry["source"] in published()["sources"]


def test_methods_and_columns_have_the_names_of_the_workflow() -> None:
    for table, _, method, column, value in cells():
        assert method in builtin_methods(), (table, method)
        assert column in ("tflops", "ratio", *benchmarks.names()), (table, column)
        assert value is None or value > 0


@pytest.mark.parametrize(
    ("table", "model", "method", "column", "value"),
    [
        ("table1", "LLaVA-7B", "himap", "mme", 1785.1),
        ("table1", "LLaVA-13B", "fastv", "pope", 84.8),
        ("table1", "QwenVL-7B", "vanilla", "textvqa", 60.8),
        ("table1", "InternVL-7B", "himap", "tflops", 0.56),
        ("table2", "LLaVA-13B", "himap", "nocaps", 83.7),
        ("table3", "LLaVA-7B", "fastv", "llavabench", 62.4),
        ("table4", "LLaVA-7B", "instruction_twice", "scienceqa", 67.1),
        ("table8", "LLaVA-7B", "himap_aggressive", "nocaps", 74.6),
        ("table5", "LLaVA-7B", "himap", "chartqa", None),
        ("table1", "LLaVA-7B", "random", "mme", None),
    ],
)
def test_a_cell_is_as_printed(table: str, model: str, method: str, column: str, value: float | None) -> None:
    assert table_value(table, model, method, column) == value


def test_figures_have_a_value_for_each_layer() -> None:
    for figure, curves in (("figure3", 3), ("figure4", 2)):
        for model, layers in (("LLaVA-7B", 32), ("LLaVA-13B", 40)):
            for task in ("scienceqa", "aokvqa"):
                values = figure_values(figure, f"{model}/{task}")
                assert len(values) == curves
                assert all(len(curve) == layers for curve in values.values())
    assert figure_values("figure6", "LLaVA-13B")[0] == -0.45
    assert figure_values("figure8", "LLaVA-7B", "scienceqa") == {"vanilla": 0.197, "fastv": 0.146, "himap": 0.117}
    assert figure_values("figure6", "LLaVA-7B") is None


def test_the_printed_tflops_follow_from_the_formula() -> None:
    for dims, model in ((SEVEN, "LLaVA-7B"), (THIRTEEN, "LLaVA-13B")):
        printed = table_value("table1", model, "vanilla", "tflops")
        assert printed == int(flops(dims, []) / 1e10) / 100
    stages = [{"layer": 2, "keep": 0.5}, {"layer": 8, "keep": 0.125}]
    assert int(flops(SEVEN, stages) / 1e10) / 100 == table_value("table1", "LLaVA-7B", "himap", "tflops")
    assert int(100 * ratio(SEVEN, stages)) == table_value("table1", "LLaVA-7B", "himap", "ratio")


def test_what_does_not_fit_together_is_listed_where_it_stands() -> None:
    known = {"equations", "introduction", *published()["tables"], *published()["figures"]}
    assert {one["where"] for one in published()["inconsistencies"]} <= known
    assert len(published()["inconsistencies"]) >= 17
    assert any("K1 = 3" in line for line in inconsistencies("table1"))


def test_each_builtin_table_is_known_to_the_paper_or_ours() -> None:
    ours = {"ablation_stages", "ablation_criteria", "ablation_hierarchy", "divergence"}
    assert set(builtin_tables()) - ours <= set(published()["tables"])
