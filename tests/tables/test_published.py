"""The paper's numbers: present, with source and certainty, under names that the workflow uses."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from himap import benchmarks
from himap.costs.formulas import Drop, flops, ratio
from himap.costs.printed import stated_stages
from himap.paper.published import decoder, figure_values, inconsistencies, published, table_value
from himap.pruning.resolve import load_all as builtin_methods
from himap.pruning.resolve import resolve
from himap.tables.builtin import load_all as builtin_tables

ROOT = Path(__file__).resolve().parents[2]


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
    for model in ("LLaVA-7B", "LLaVA-13B"):
        printed = table_value("table1", model, "vanilla", "tflops")
        assert printed == int(flops(decoder(model), []) / 1e10) / 100
    stages = [Drop(2, 0.5), Drop(8, 0.125)]
    assert int(flops(decoder("LLaVA-7B"), stages) / 1e10) / 100 == table_value("table1", "LLaVA-7B", "himap", "tflops")
    assert int(100 * ratio(decoder("LLaVA-7B"), stages)) == table_value("table1", "LLaVA-7B", "himap", "ratio")


def test_what_does_not_fit_together_is_listed_where_it_stands() -> None:
    known = {"equations", "introduction", *published()["tables"], *published()["figures"]}
    assert {one["where"] for one in published()["inconsistencies"]} <= known
    assert len(published()["inconsistencies"]) >= 17
    assert any("K1 = 3" in line for line in inconsistencies("table1"))


def test_each_builtin_table_is_known_to_the_paper_or_ours() -> None:
    ours = {"ablation_stages", "ablation_criteria", "ablation_hierarchy", "divergence", "protocols", "rivals"}
    assert set(builtin_tables()) - ours <= set(published()["tables"])


def test_the_builtin_methods_have_the_stages_that_the_paper_states() -> None:
    """The tables' captions and text are in published.yaml, the methods that run are in pruning/methods."""
    preset = {"LLaVA-13B": "llava-1.5-13b"}  # the paper's name of a model, and that of presets/paper.yaml
    for table, kind in (("table1", "qa"), ("table2", "caption"), ("table3", "open")):
        for model, methods in published()["tables"][table]["cells"].items():
            for method in methods:
                stages = resolve(method, decoder(model), kind=kind, model=preset.get(model)).stages
                here = [Drop(stage.layer, stage.keep) for stage in stages]
                assert here == stated_stages(table, model, method), (table, model, method)


def test_the_papers_decoder_sizes_are_written_once_and_the_presets_agree_with_them() -> None:
    sizes = ("layers", "width", "heads", "kv_heads", "ffn", "vocab")
    for preset in sorted((ROOT / "presets").glob("*.yaml")):
        for name, entry in yaml.safe_load(preset.read_text())["models"].items():
            if "published" not in entry:  # a model that the paper does not have
                continue
            theirs = decoder(entry["published"])
            assert {key: entry["dims"][key] for key in sizes} == {key: getattr(theirs, key) for key in sizes}, name
            assert entry["dims"]["image_tokens"] == theirs.tokens_per_image, name
    facts = [ROOT / "workflow_scripts/himap/paper/published.yaml"]
    others = {*(ROOT / "workflow_scripts").rglob("*.py"), *(ROOT / "report").glob("*.yaml")}
    thirteen = str(published()["decoders"]["LLaVA-13B"]["ffn"])  # a number that stands for nothing else
    assert [path for path in {*others, *facts} if thirteen in path.read_text()] == facts
