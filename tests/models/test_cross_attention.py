"""What only models have whose text looks at pictures by cross-attention, and the one whose queries come before all text."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from chat_families import edit_json, encoded, picture
from cross_families import FAMILIES
from himap.decoder.cache import Cache
from himap.decoder.generation import generate
from himap.decoder.layout import Layout
from himap.decoder.loop import Intervention, forward
from himap.decoder.tokens import IMAGE, INSTRUCTION, Rows
from himap.experiments.answers import Asking, Question, answer_batch, answer_under_all, encode
from himap.experiments.cut_runs import run_undisturbed, sweep
from himap.experiments.disruption import Disruption, make_cut
from himap.experiments.inspection import inspect
from himap.experiments.patching import Patch, leave_early, resume, text_alone
from himap.inference import generate as ask
from himap.models.families import idefics, mllama
from himap.models.images import kept_mask
from himap.models.loading import load
from himap.models.prompts import Prompt
from himap.pruning.intervention import Pruning
from himap.pruning.resolve import resolve
from himap.pruning.stage import Schedule, Stage

QUESTION = "Which of these is larger?"
beside = pytest.mark.parametrize("name", ["idefics", "mllama"])


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """Each family's tiny model, loaded at its first use."""
    base = tmp_path_factory.mktemp("cross")

    class Models(dict[str, Any]):
        def __missing__(self, name: str) -> Any:
            FAMILIES[name].write(base / name)
            self[name] = load(base / name)
            return self[name]

    return Models()


def asked(*numbers: int) -> Question:
    return Question("q", [encoded(picture(number)) for number in numbers], Prompt(QUESTION))


class Seen(Intervention):
    """Notes the numbers of rows and of picture tokens that enter each layer."""

    def __init__(self) -> None:
        self.entering: list[tuple[int, int]] = []

    def enter(self, layer: int, rows: Rows, below: Any) -> Rows:
        assert rows.memory is not None
        self.entering.append((rows.positions.shape[1], int((rows.memory.groups == IMAGE).sum())))
        return rows


@beside
def test_dropped_picture_tokens_are_absent_from_later_layers_and_no_row_of_text_is(
    name: str, models: dict[str, Any]
) -> None:
    model = models[name]
    prompt = encode(model, [asked(0)])
    image, text, _ = prompt.counts()
    first, second = model.dims.cross[:2]
    stage = Stage(first + 1, 0.5, "instruction_attention")
    pruning, seen, cache = Pruning(model, [stage], prompt, [0]), Seen(), Cache()
    with torch.no_grad():
        forward(model, prompt, cache, [pruning, seen])
    kept = len(pruning.kept[first + 1][0])
    assert kept == image // 2 + image % 2
    assert seen.entering == [(text, image)] * (first + 1) + [(text, kept)] * (len(model.layers) - first - 1)
    lengths = [cache.layers[layer].length for layer in (first, second)]
    assert lengths[0] - lengths[1] == image - kept


@beside
def test_the_instruction_chooses_the_picture_tokens_that_its_rows_look_at_most(
    name: str, models: dict[str, Any]
) -> None:
    model = models[name]
    prompt = encode(model, [asked(0)])
    first, memory = model.dims.cross[0], prompt.memory
    assert memory is not None
    with torch.no_grad():
        rows = forward(model, prompt, Cache(), stop=first)
        layer = model.layers[first]
        queries, (keys, _) = layer.queries(layer.input_layernorm(rows.hidden)), layer.look_at(memory.hidden)
        keys = keys.repeat_interleave(queries.shape[1] // keys.shape[1], dim=1)
        scores = queries @ keys.transpose(-1, -2) * layer.scaling
        real = (memory.groups == IMAGE)[0]
        weights = scores[..., real].softmax(dim=-1)[0]  # rows after the picture look at nothing but its own tokens
    received = weights[:, prompt.groups[0] == INSTRUCTION].sum(dim=(0, 1))
    stage = Stage(first + 1, 5, "instruction_attention")
    pruning = Pruning(model, [stage], prompt, [0])
    generate(model, prompt, 1, [pruning])
    assert set(pruning.kept[first + 1][0]) == set(received.topk(5).indices.tolist())


@beside
def test_a_criterion_that_needs_image_tokens_in_the_sequence_is_refused(name: str, models: dict[str, Any]) -> None:
    model = models[name]
    for criterion in ("image_attention", "image_attention_rows", "image_attention_debiased", "dart", "sparsevlm"):
        schedule = Schedule((Stage(3, 0.5, criterion),), positions="renumber")
        with pytest.raises(
            ValueError, match=f"'{criterion}' looks at what image tokens attend to.*instruction_attention"
        ):
            answer_batch(model, [asked(0)], schedule, max_new_tokens=1)
    with pytest.raises(ValueError, match="looks at no image token"):
        answer_batch(model, [asked(0)], Schedule((Stage(2, 0.5, "pyramiddrop"),)), max_new_tokens=1)


@pytest.mark.parametrize("layer", [0.0625, {"after": "instruction_share", "below": 0.5, "from": 1, "to": 3}])
def test_a_stage_below_all_cross_attention_is_refused_with_the_lowest_layer_that_works(
    layer: Any, models: dict[str, Any]
) -> None:
    model = models["mllama"]
    assert model.dims.cross[0] == 1

    def answers(layer: Any) -> Any:
        stages = [{"layer": layer, "keep": 0.5, "criterion": "instruction_attention"}]
        schedule = resolve("own", model.dims, methods={"own": {"stages": stages}})
        return answer_batch(model, [asked(0)], schedule, max_new_tokens=1)

    with pytest.raises(ValueError, match=r"at layer 1 has no cross-attention below it.* 2 is the lowest layer"):
        answers(layer)
    (answer,) = answers(layer | {"from": 2} if isinstance(layer, dict) else 2)
    assert len(answer["kept"]) == 1


class AllCut(Intervention):
    """Takes all image tokens from all rows, from a layer on."""

    def __init__(self, first: int) -> None:
        self.first = first

    def cut(self, layer: int, rows: Rows, key_positions: Any, key_groups: Any) -> Any:
        return (
            (key_groups == IMAGE)[:, None, :].expand(-1, rows.positions.shape[1], -1) if layer >= self.first else None
        )


@beside
def test_methods_that_part_above_a_cross_attention_see_it_as_alone(name: str, models: dict[str, Any]) -> None:
    model = models[name]
    above = model.dims.cross[0] + 1
    schedules = [
        Schedule((Stage(above, 0.5, "random"),), "drawn"),
        Schedule((Stage(above + 1, 0.25, "instruction_attention"),), "ranked"),
    ]
    batch = [asked(0), asked(1, 2)]
    made = answer_under_all(model, batch, [Asking(schedules, 2)], lambda *_: True)
    for schedule, rows in made:
        assert rows == answer_batch(model, batch, schedule, max_new_tokens=2)


@beside
def test_dropping_all_picture_tokens_is_cutting_all_rows_off_from_them(name: str, models: dict[str, Any]) -> None:
    model = models[name]
    prompt = encode(model, [asked(0), asked(1, 2)])
    first = model.dims.cross[1]
    dropped = generate(model, prompt, 3, [Pruning(model, [Stage(first, 0, "random")], prompt, [0, 0])])
    cut, full = generate(model, prompt, 3, [AllCut(first)]), generate(model, prompt, 3)
    assert torch.allclose(dropped.first_logits, cut.first_logits, atol=1e-5)
    assert dropped.ids == cut.ids
    assert (dropped.first_logits - full.first_logits).abs().amax(dim=1).min() > 0.01


@beside
def test_a_picture_beside_the_rows_can_leave_or_be_exchanged_before_a_layer(name: str, models: dict[str, Any]) -> None:
    model = models[name]
    prompt, other = (encode(model, [asked(number)]) for number in (0, 4))
    clean, donor = run_undisturbed(model, prompt, 2), run_undisturbed(model, other, 2)
    second = model.dims.cross[1]
    gone = generate(model, prompt, 1, [AllCut(second)]).first_logits[0]
    assert torch.allclose(leave_early(model, clean, second, 1).logits, gone, atol=1e-5)
    blank = generate(model, prompt, 1, [AllCut(0)]).first_logits
    assert torch.allclose(text_alone(model, prompt, 1).logits, blank, atol=1e-5)
    exchanged = resume(model, clean, Patch(0, donor.entering[0], IMAGE), 1).logits
    assert torch.allclose(exchanged, donor.logits[0], atol=1e-5)
    assert (exchanged - clean.logits[0]).abs().max() > 0.01


@beside
def test_cuts_take_what_text_sees_of_pictures_and_nothing_flows_between_image_tokens(
    name: str, models: dict[str, Any]
) -> None:
    model = models[name]
    prompt = encode(model, [asked(1, 2)])
    clean = run_undisturbed(model, prompt, 2)
    first = model.dims.cross[0]
    flows = ["img2txt", "img2img", "random", "random_unmatched"]
    outcomes = {
        (outcome.flow, outcome.layer): outcome.logits
        for outcome in sweep(model, clean, [first, first + 1], flows, ["single"], new_tokens=2)
    }
    assert torch.allclose(outcomes["img2img", first], clean.logits[0], atol=1e-5)
    for flow in flows:
        changed = bool((outcomes[flow, first] - clean.logits[0]).abs().max() > 1e-3)
        assert changed == (flow != "img2img")
        # The layer after it looks at no picture, so there is nothing to cut in it.
        assert torch.allclose(outcomes[flow, first + 1], clean.logits[0], atol=1e-5)


@beside
def test_a_random_control_cuts_as_many_pairs_as_the_flow(name: str, models: dict[str, Any]) -> None:
    model = models[name]
    prompt = encode(model, [asked(1, 2)])
    first = model.dims.cross[0]
    with torch.no_grad():
        cache = Cache()
        forward(model, prompt, cache)
    entry = cache.layers[first]
    seen = model.layers[first].sees(prompt.positions, prompt.groups, entry)
    counts = {}
    for flow in ("img2txt", "random"):
        disruption = Disruption([make_cut(flow, first, "single", len(model.layers))], prompt, [3])
        pairs = disruption.cut(first, prompt, entry.positions, entry.groups)
        assert pairs is not None
        counts[flow] = int((pairs & seen & (entry.groups == IMAGE)[:, None, :]).sum())
    assert counts["img2txt"] == counts["random"] > 0


def test_a_token_looks_at_the_picture_before_it_alone_in_idefics_and_at_neighbors_in_mllama() -> None:
    marks = [3, 4, 9]
    assert [until for _, until in idefics.spans(marks)][:2] == [4, 9]
    assert [until for _, until in mllama.spans(marks)][:2] == [9, 9]
    assert idefics.spans(marks)[2] == mllama.spans(marks)[2]


@beside
def test_one_prompt_can_be_inspected(name: str, models: dict[str, Any]) -> None:
    model = models[name]
    schedule = Schedule((Stage(model.dims.cross[0] + 1, 0.5, "last_token_attention"),), "fastv")
    look = inspect(model, asked(0), [schedule], max_new_tokens=2)
    image, text, _ = encode(model, [asked(0)]).counts()
    assert look.sizes["image"] == image
    assert sum(look.sizes.values()) <= image + text
    for number, layer in enumerate(look.layers):
        assert all(len(values) == image for values in layer.maps.values())
        assert bool(layer.maps["attention"].any()) == (number in model.dims.cross)


def test_tokens_that_show_no_place_leave_the_picture_as_it_is(models: dict[str, Any]) -> None:
    answer = ask(
        models["idefics"], picture(0), QUESTION, [{"layer": 1, "keep": 4, "criterion": "random"}], max_new_tokens=1
    )
    assert answer.layout == Layout.placeless(16)
    assert len(answer.kept[0]) == 4
    assert bool(kept_mask(answer.kept[0], answer.layout).all())


@pytest.mark.parametrize("name", ["idefics", "instructblip"])
def test_a_picture_that_a_model_stretches_is_shown_without_padding(name: str, models: dict[str, Any]) -> None:
    wide = picture(0).resize((60, 30))
    answer = ask(models[name], wide, QUESTION, "vanilla", max_new_tokens=1)
    assert answer.picture().size == (336, 168)


def test_queries_before_all_text_need_the_cut_after_the_softmax(models: dict[str, Any]) -> None:
    model = models["instructblip"]
    prompt = encode(model, [asked(0)])
    clean = run_undisturbed(model, prompt, 1)
    with pytest.raises(ValueError, match="use block 'post'"):
        list(sweep(model, clean, [1], ["img2img"], ["single"]))
    (outcome,) = sweep(model, clean, [1], ["img2img"], ["single"], block="post", new_tokens=1)
    assert not torch.allclose(outcome.logits, clean.logits[0], atol=1e-4)


def test_the_picture_encoder_reads_the_question(models: dict[str, Any]) -> None:
    model = models["instructblip"]
    other = Question("q", asked(0).images, Prompt("What is it?"))
    features = [encode(model, [question]).hidden[0, :16] for question in (asked(0), other)]
    assert not torch.allclose(*features, atol=1e-2)
    with pytest.raises(ValueError, match="add_question"):
        model.see(model.preprocess([picture(0)]))


@pytest.mark.parametrize(
    ("name", "change", "reason"),
    [
        ("idefics", {"use_resampler": False}, "use_resampler is false"),
        ("instructblip", {"image_token_index": None}, "image_token_index is missing"),
        ("mllama", {"text_config": {"sliding_window": 8}}, "sliding_window = 8"),
    ],
)
def test_a_config_that_the_loop_does_not_run_is_refused(
    name: str, change: dict[str, Any], reason: str, tmp_path: Path
) -> None:
    FAMILIES[name].write(tmp_path / name)

    def merge(content: dict[str, Any]) -> None:
        for key, value in change.items():
            content[key] = {**content[key], **value} if isinstance(value, dict) else value

    edit_json(tmp_path / name / "config.json", merge)
    with pytest.raises(ValueError, match=reason):
        load(tmp_path / name)


def test_methods_at_a_cost_begin_above_the_first_layer_that_looks_at_pictures(models: dict[str, Any]) -> None:
    dims = models["mllama"].dims
    base = {"himap": {"stages": [{"layer": 2, "keep": 0.5, "criterion": "instruction_attention"}]}}
    assert resolve("uniform", dims, methods=base).stages[0].layer == dims.cross[0] + 1


@beside
def test_a_decoder_that_the_loop_would_compute_differently_is_refused(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    family = {"idefics": idefics, "mllama": mllama}[name]
    FAMILIES[name].write(tmp_path)
    monkeypatch.setattr(family, "GATES", family.GATES[::-1])  # as if a release had swapped their meaning
    with pytest.raises(ValueError, match="computes something different"):
        load(tmp_path)
