"""Open question 1: cuts against plain runs with the picture late or gone, evidence by place, one picture per question."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import mini_cross
import pandas as pd
import pytest
import torch
from himap.benchmarks import get as benchmark_named
from himap.costs.formulas import ratio
from himap.decoder.cache import Cache
from himap.decoder.generation import generate, next_token_logits
from himap.decoder.layout import Layout, Part
from himap.decoder.loop import Intervention, forward
from himap.decoder.tokens import IMAGE, Rows
from himap.experiments.answers import Question, encode
from himap.experiments.batches import answer_all
from himap.experiments.cut_runs import run_cuts, run_undisturbed
from himap.experiments.disruption import Cut
from himap.experiments.patching import arrive_late, leave_early, text_alone
from himap.experiments.questions import Asked, get
from himap.experiments.questions.oq1 import under_schedules
from himap.experiments.saliency import saliency, saliency_of_run
from himap.metrics.evidence import tokens_about
from himap.mini.benchmarks._draw import Drawer
from himap.mini.benchmarks.kinds import make
from himap.models.loading import load
from himap.models.model import Model
from himap.project import ROOT
from himap.pruning.stage import Schedule, Stage

both = pytest.mark.parametrize("name", ["mini", "cross"])
CLASS_TOKEN = Layout((Part(1, 0, row_ends=True), Part(12, 12)))


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Model]:
    """The embedded model, and one of random weights whose text looks at the same pictures by cross-attention."""
    folder = mini_cross.write(tmp_path_factory.mktemp("cross") / "mini-cross")
    return {"mini": load(ROOT / "models" / "mini"), "cross": load(folder)}


def samples(model: Model, count: int = 12) -> list[Asked]:
    """Questions of the embedded world, each about three pictures, as a model's family is asked them."""
    benchmark = benchmark_named("kinds")
    rows = make(Drawer("kinds", "test", 0), count)
    made = [benchmark.sample(row, number) for number, row in enumerate(rows)]
    for sample, row in zip(made, rows, strict=True):
        sample.metadata.update(row["about"])
    return [
        Asked(sample, Question(sample.sample_id, sample.images, benchmark.prompt(sample, model.family)), benchmark)
        for sample in made
    ]


def settings(**given: Any) -> dict[str, Any]:
    return {"max_new_tokens": 8, "seed": 0, **get("oq1").settings, **given}


def measured(model: Model, asked: list[Asked], **given: Any) -> pd.DataFrame:
    """The rows of the question on some samples."""
    question, chosen = get("oq1"), settings(**given)
    return pd.DataFrame(
        row for group in question.groups(asked, chosen) for row in question.measure(model, group, chosen)
    )


def cut_logits(model: Model, clean: Any, cut: Cut) -> torch.Tensor:
    """The first logits under one cut."""
    ((_, logits, _),) = run_cuts(model, clean, [cut], new_tokens=1)
    return logits


def met_from(model: Model, clean: Any, text: Any, layer: int) -> torch.Tensor:
    """The first logits where all text runs without the picture, and meets it from a layer on."""
    if clean.prompt.memory is None:
        return arrive_late(model, clean, text, layer, 1).logits
    rows = replace(text.entering[layer], memory=clean.prompt.memory)
    with torch.no_grad():
        return next_token_logits(model, forward(model, rows, Cache(), start=layer))[0]


@both
def test_a_picture_cut_off_below_a_layer_arrives_late_and_one_cut_off_from_it_on_leaves_early(
    name: str, models: dict[str, Model]
) -> None:
    model = models[name]
    clean = run_undisturbed(model, encode(model, [samples(model)[0].question]), 1)
    text, last = text_alone(model, clean.prompt, 1), len(model.layers) - 1
    for layer in (2, len(model.layers) // 2):
        late = met_from(model, clean, text, layer)
        torch.testing.assert_close(
            cut_logits(model, clean, Cut("img2alltxt", 0, layer - 1)), late, rtol=1e-4, atol=1e-4
        )
        gone = leave_early(model, clean, layer, 1).logits
        torch.testing.assert_close(cut_logits(model, clean, Cut("img2alltxt", layer, last)), gone, rtol=1e-4, atol=1e-4)
    whole = cut_logits(model, clean, Cut("img2alltxt", 0, last))
    torch.testing.assert_close(whole, text.logits[0], rtol=1e-4, atol=1e-4)
    assert (whole - clean.logits[0]).abs().max() > 0.01


def test_where_the_picture_is_beside_the_sequence_its_mark_hands_it_on_unless_that_is_cut_too(
    models: dict[str, Model],
) -> None:
    model = models["cross"]
    clean = run_undisturbed(model, encode(model, [samples(model)[0].question]), 1)
    blind, last = text_alone(model, clean.prompt, 1).logits[0], len(model.layers) - 1
    assert (cut_logits(model, clean, Cut("img2txt", 0, last)) - blind).abs().max() > 0.01


class Columns(Intervention):
    """Takes the image tokens in some columns from all rows after the first one, in all layers."""

    def __init__(self, columns: torch.Tensor) -> None:
        self.columns = columns

    def cut(self, layer: int, rows: Rows, key_positions: Any, key_groups: Any) -> Any:
        cut = torch.zeros(1, rows.positions.shape[1], key_groups.shape[1], dtype=torch.bool)
        if bool((key_groups == IMAGE).any()):
            cut[:, :, self.columns] = (rows.groups != IMAGE)[:, :, None]
        return cut


@both
def test_a_cut_that_spares_the_evidence_takes_all_other_image_tokens(name: str, models: dict[str, Model]) -> None:
    model = models[name]
    asked = next(asked for asked in samples(model) if asked.evidence)
    prompt = encode(model, [asked.question])
    clean, last = run_undisturbed(model, prompt, 1), len(model.layers) - 1
    begin = int((prompt.groups[0] == IMAGE).nonzero()[0]) if prompt.memory is None else 1  # after the class token
    cells = [begin + cell for cell in range(144) if cell not in asked.evidence]
    columns = torch.tensor(cells if prompt.memory is None else [0, *cells])
    spared = tuple(asked.tokens_about(prompt.layouts[0]))
    expected = generate(model, prompt, 1, [Columns(columns)]).first_logits[0]
    found = cut_logits(model, clean, Cut("img2alltxt", 0, last, spared))
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)
    everything = tuple(range(145))
    none_cut = cut_logits(model, clean, Cut("img2alltxt", 0, last, everything))
    torch.testing.assert_close(none_cut, clean.logits[0], rtol=1e-4, atol=1e-4)


def test_cells_are_found_behind_a_class_token_and_nowhere_where_tokens_are_no_cells() -> None:
    assert tokens_about([0, 13, 143], Layout.square(144)) == [0, 13, 143]
    assert tokens_about([0, 13, 143], CLASS_TOKEN) == [1, 14, 144]
    assert tokens_about([0, 13], Layout.square(36)) is None  # a smaller picture
    assert tokens_about([0, 13], Layout.placeless(144)) is None
    assert tokens_about([], Layout.square(144)) is None


@both
def test_the_saliency_of_a_run_that_was_made_is_that_of_the_prompt(name: str, models: dict[str, Model]) -> None:
    model = models[name]
    prompt = encode(model, [samples(model)[0].question])
    clean = run_undisturbed(model, prompt, 1)
    ours, again = saliency_of_run(model, clean, ("paper",)), saliency(model, prompt, clean.ids[0], ("paper",))
    torch.testing.assert_close(ours.blocks["paper"], again.blocks["paper"])


@pytest.mark.slow
def test_models_of_both_architectures_get_the_same_measures_as_far_as_they_have_them(models: dict[str, Model]) -> None:
    rows = {name: measured(model, samples(model, 3), only_correct=False) for name, model in models.items()}
    for name, frame in rows.items():
        depth = len(models[name].layers)
        cuts = frame[frame["part"] == "cut"]
        places = cuts[cuts["flow"] == "img2alltxt"].groupby("extent")["layer"].agg(set)
        assert depth // 2 in places["suffix"] & places["prefix"]
        assert 0 in places["suffix"]  # all layers
        assert set(frame["layers"]) == {depth}
        sums = frame[frame["part"] == "saliency"].groupby("flow")["share"].sum()
        assert sums.to_numpy() == pytest.approx(1.0)
    cross = rows["cross"]
    looking = set(models["cross"].dims.cross)
    assert set(cross[(cross["extent"] == "single") & (cross["part"] == "cut")]["layer"]) == looking
    assert set(cross[cross["part"] == "saliency"]["layer"]) == looking
    # no flow among image tokens, no other rows to draw from
    assert set(cross[cross["part"] != "pruned"]["flow"]) == {"img2alltxt", "spared", "s_vt"}
    assert set(rows["mini"]["flow"]) == {"img2alltxt", "spared", "random", "s_vt", "s_vv", "himap"}


@both
def test_a_schedule_is_carried_over_by_relative_depth_and_answers_as_it_does_when_asked_alone(
    name: str, models: dict[str, Model]
) -> None:
    model = models[name]
    (asked, *_) = samples(model, 1)
    clean = run_undisturbed(model, encode(model, [asked.question]), 8, asked.question.prompt.choices)
    rows = list(under_schedules(model, asked, clean, settings(transfer=[[1 / 4, 2 / 3]])))
    depth = len(model.layers)
    first = max(round(depth / 4), model.dims.cross[0] + 1 if model.dims.cross else 1)
    deep = "instruction_attention" if model.dims.cross else "image_attention"
    himap = [Stage(first, 0.5, "instruction_attention"), Stage(round(depth * 2 / 3), 0.125, deep)]
    for row, stages in zip(rows, [himap, [replace(stage, criterion="random") for stage in himap]], strict=True):
        schedules = [Schedule(), Schedule(tuple(stages), "alone")]
        whole, alone = (next(answer_all(model, [asked.question], each, max_new_tokens=8)) for each in schedules)
        assert (row["part"], row["layer"], row["answer"]) == ("pruned", first, alone["prediction"])
        assert row["same"] == (whole["prediction"] == alone["prediction"])
        assert row["cost"] == ratio(model.dims, stages) < 1
    assert [row["flow"] for row in rows] == ["himap", "random"]


@pytest.mark.slow
def test_of_each_question_only_the_first_picture_that_is_answered_right_counts(models: dict[str, Model]) -> None:
    model = models["mini"]
    asked = samples(model, 6)
    wrong = Question("x", asked[1].question.images, asked[0].question.prompt)
    assert asked[0].sample.references != asked[1].sample.references
    asked[0] = Asked(asked[0].sample, wrong, asked[0].benchmark)  # it is asked about a picture with another answer
    rows = measured(model, asked)
    assert rows["sample_id"].unique().tolist() == [asked[1].sample.sample_id, asked[3].sample.sample_id]
