"""Stages whose layer and count each input finds: against the rule written out for one sample, in batches and shared passes."""

from __future__ import annotations

import json
import math
from dataclasses import replace

import pytest
import torch
from himap.costs.formulas import Drop, flops, image_tokens_per_layer
from himap.decoder.bitmaps import from_bitmap
from himap.decoder.cache import Cache
from himap.decoder.generation import generate, next_token_logits
from himap.decoder.loop import forward
from himap.decoder.tokens import IMAGE, INSTRUCTION
from himap.experiments.sharing import Track, prefills
from himap.pruning.adaptive import After, Mass
from himap.pruning.intervention import Pruning
from himap.pruning.resolve import resolve
from himap.pruning.stage import Schedule, Stage, as_costly_as_possible, read_stages
from tiny import SHAPES, oracle, prompt, tiny_model

SHAPE = ({**SHAPES[0], "seed": 8}, SHAPES[1], SHAPES[2], {**SHAPES[2], "seed": 5, "instruction": 9})
SHALLOW = Stage(2, 0.75, "instruction_attention", Mass(0.6, 2), After("instruction_share", 0.9, 5))
DEEP = Stage(7, 0.5, "image_attention", Mass(0.8, 2), After("image_entropy", 0.98, 8))


@pytest.fixture(scope="module")
def deep():
    return tiny_model("grouped", layers=10)


def by_hand(model, rows, stages):
    """One sample's stages on the oracle's whole maps: [(layer, kept)], and the logits, where what is dropped is hidden."""
    groups = rows.groups[0].tolist()
    image = [place for place, group in enumerate(groups) if group == IMAGE]
    asking = [place for place, group in enumerate(groups) if group == INSTRUCTION]
    found, left, begin = [], image, 1

    def seen(index):
        kept = next((kept for layer, kept in reversed(found) if layer <= index), image)
        return torch.tensor([group != IMAGE or place in kept for place, group in enumerate(groups)])[None, :]

    for stage in stages:
        peak = 0.0
        for layer in range(begin if stage.after else stage.layer, stage.latest + 1):
            weights = oracle(model, rows, seen=seen)[1][layer - 1].mean(dim=0).double()
            received = {place: sum(float(weights[other, place]) for other in left) for place in left}
            if stage.after is None:
                break
            if stage.after.signal == "instruction_share":
                value = sum(float(weights[asked, place]) for asked in asking for place in left) / len(asking)
            else:
                shares = [value / sum(received.values()) for value in received.values()]
                value = -sum(share * math.log(share) for share in shares) / math.log(len(left))
            peak = max(peak, value)
            if layer >= stage.layer and (value < stage.after.below * peak or layer == stage.latest):
                break
        scores = received
        if stage.criterion == "instruction_attention":
            scores = {place: sum(float(weights[asked, place]) for asked in asking) for place in left}
        ranked = sorted(left, key=lambda place: -scores[place])
        count = round(stage.keep * len(image)) if isinstance(stage.keep, float) else stage.keep
        if stage.mass is not None:
            most, count = count, 0
            while sum(scores[place] for place in ranked[:count]) < stage.mass.share * sum(scores.values()):
                count += 1
            count = min(max(count, stage.mass.floor), most)
        left, begin = sorted(ranked[:count]), stage.latest + 1
        found.append((layer, left))
    logits = oracle(model, rows, seen=seen)[0][-1]
    return [(layer, [image.index(place) for place in kept]) for layer, kept in found], logits


def run(model, rows, stages):
    """The stages on a batch: per sample [(layer, kept)], and the logits."""
    pruning = Pruning(model, stages, rows, [0] * len(rows.groups))
    with torch.no_grad():
        logits = next_token_logits(model, forward(model, rows, Cache(), [pruning]))
    return [
        [(pruning.acted[stage.layer][b], pruning.kept[stage.layer][b]) for stage in stages]
        for b in range(len(rows.groups))
    ], logits


FIXED = Stage(7, 5, "image_attention")


@pytest.mark.parametrize(
    "stages",
    [
        [SHALLOW, DEEP],
        [SHALLOW, FIXED],
        [Stage(2, 0.75, "instruction_attention", Mass(0.7)), FIXED],
        [Stage(2, 0.5, "instruction_attention"), Stage(4, 0.25, "image_attention", None, DEEP.after)],
    ],
    ids=["both rules twice", "a fixed stage after", "mass alone", "depth alone, later"],
)
def test_each_input_finds_what_the_rule_finds_written_out_for_it_alone(deep, stages):
    rows = prompt(deep, *SHAPE)
    together, logits = run(deep, rows, stages)
    for b, shape in enumerate(SHAPE):
        expected, last = by_hand(deep, prompt(deep, shape), stages)
        assert together[b] == expected
        torch.testing.assert_close(logits[b], last, rtol=1e-3, atol=1e-4)
        assert run(deep, prompt(deep, shape), stages)[0] == [expected]
    if stages == [SHALLOW, DEEP]:  # or the test would show nothing about batches in which samples differ
        for number in range(2):
            assert len({found[number][0] for found in together}) > 1
            assert len({len(found[number][1]) for found in together}) > 2


@pytest.mark.parametrize("rerank", [False, True])
def test_answers_of_a_batch_are_those_of_one_by_one(deep, rerank):
    rows = prompt(deep, *SHAPE)
    for renumber in (False, True):
        together = generate(
            deep, rows, 4, [Pruning(deep, [SHALLOW, DEEP], rows, [0] * 4, renumber=renumber)], rerank=rerank
        )
        for b, shape in enumerate(SHAPE):
            alone = prompt(deep, shape)
            pruning = Pruning(deep, [SHALLOW, DEEP], alone, [0], renumber=renumber)
            assert generate(deep, alone, 4, [pruning], rerank=rerank).ids == [together.ids[b]]


def test_a_shared_pass_gives_each_schedule_what_it_gets_alone(deep):
    """Schedules part where one of them begins to look for its layer, not where it acts at the earliest."""
    rows = prompt(deep, *SHAPE)
    first, half = Stage(1, 0.9, "embedding_norm"), Stage(7, 4, "random")
    later = Stage(3, 0.5, "image_attention", None, After("instruction_share", 0.9, 5))
    tracks = [
        Track(stages, seed, renumbers)
        for stages in [
            (), (FIXED,), (first, later), (later,), (later, FIXED), (later, half), (SHALLOW, DEEP), (SHALLOW, FIXED), (first, SHALLOW, DEEP),
            (Stage(2, 0.75, "instruction_attention"), FIXED), (first,),
        ]
        for seed, renumbers in ((0, False), (0, True), (3, False))[: 3 if stages else 1]
    ]  # fmt: skip
    names = ["a", "b", "c", "d"]
    together = {
        track: (done.logits, done.pruning.kept, done.pruning.acted)
        for track, done in prefills(deep, rows, tracks, names)
    }
    assert len(together) == len(tracks)
    for track in tracks:
        ((_, alone),) = prefills(deep, rows, [track], names)
        logits, kept, acted = together[track]
        assert (kept, acted) == (alone.pruning.kept, alone.pruning.acted)
        torch.testing.assert_close(logits, alone.logits, rtol=1e-5, atol=1e-6)
    assert (
        Track((first, later)).parting(Track((later,))) == 1
    )  # `first` acts there, and `later` alone looks from there on
    assert Track((later, FIXED)).parting(Track((later, half))) == 7


def test_all_of_the_score_from_the_first_layer_on_is_the_model_as_it_is(deep):
    """Controls: a share of 1 keeps all that have a score, a signal that never sinks acts last, ties go to the earlier token."""
    rows = prompt(deep, *SHAPE)
    plain, expected = run(deep, rows, [])
    everything, logits = run(deep, rows, [Stage(2, 1.0, "image_attention", Mass(1.0), After("image_entropy", 1e-9, 6))])
    assert [found[0][0] for found in everything] == [6] * 4
    assert [len(found[0][1]) for found in everything] == [16, 32, 16, 16]
    torch.testing.assert_close(logits, expected, rtol=1e-5, atol=1e-6)
    assert plain == [[]] * 4
    alike = prompt(deep, SHAPE[1])
    alike.hidden[alike.groups == IMAGE] = 1.0
    assert run(deep, alike, [Stage(0, 1.0, "embedding_norm", Mass(0.25))])[0] == [[(0, list(range(8)))]]


def test_costs_are_those_of_what_samples_kept_and_no_formula_guesses_them(deep):
    rows = prompt(deep, SHAPE[0])
    pruning = Pruning(deep, [SHALLOW, DEEP], rows, [0])
    with torch.no_grad():
        forward(deep, rows, Cache(), [pruning])
    (layer, kept), (last, rest) = by_hand(deep, rows, [SHALLOW, DEEP])[0]
    drops = [Drop(layer, len(kept)), Drop(last, len(rest))]
    assert flops(deep.dims, pruning.as_acted(0)) == flops(deep.dims, drops)
    for stages in ([SHALLOW], [Stage(2, 1.0, "image_attention", Mass(0.5))]):
        with pytest.raises(ValueError, match=r"stages\[0\]: each input finds"):
            image_tokens_per_layer(deep.dims, stages, 16)
    assert flops(deep.dims, as_costly_as_possible([SHALLOW, DEEP])) >= flops(deep.dims, drops)
    known = {"mine": {"stages": [SHALLOW.to_json()]}}
    for more, words in (
        ({"flops_of": "himap"}, "no formula meets a budget"),
        ({"depth": 20}, "shares of the model's depth"),
    ):
        with pytest.raises(ValueError, match=words):
            resolve(
                "mine", deep.dims, methods={"mine": {**known["mine"], **more}, "himap": {"stages": [FIXED.to_json()]}}
            )


def test_a_schedule_with_rules_reads_what_it_writes_and_moves_with_the_depth():
    schedule = Schedule((SHALLOW, DEEP), "mine")
    assert Schedule.from_json(json.loads(json.dumps(schedule.to_json()))) == schedule
    relative = {"layer": {"after": "instruction_share", "below": 0.5, "from": 0.1, "to": 0.4}, "keep": {"mass": 0.9}}
    for layers, ends in ((10, (1, 4)), (40, (4, 16))):
        (stage,) = read_stages([{**relative, "criterion": "gradient"}], layers=layers)
        assert (stage.layer, stage.latest, stage.keep, stage.mass.floor) == (*ends, 1.0, 1)


def test_what_a_method_costs_is_the_mean_of_what_its_answers_say_was_kept():
    from pathlib import Path

    from count_flops import costs
    from himap.experiments.answers import Question, answer_batch
    from himap.mini.scenes import generator, make_scene, png
    from himap.models.loading import load
    from himap.models.prompts import Prompt

    mini, rng = load(Path(__file__).resolve().parents[2] / "models" / "mini"), generator("test", 3)
    asked = [
        Question(str(n), [png(make_scene("shapes", rng))], Prompt("How many circles are there?")) for n in range(3)
    ]
    schedule = Schedule((replace(SHALLOW, keep=0.5), Stage(7, 0.25, "image_attention", Mass(0.5))), "mine")
    rows = answer_batch(mini, asked, schedule, max_new_tokens=2)
    found = [
        [Drop(n, len(from_bitmap(kept))) for n, kept in zip(row["layers"], row["kept"], strict=True)] for row in rows
    ]
    assert len({str(drops) for drops in found}) > 1
    assert costs(mini, asked, schedule, 1)["paper"] == pytest.approx(
        sum(flops(mini.dims, drops) for drops in found) / 3
    )
    assert "layers" not in answer_batch(mini, asked[:1], Schedule((FIXED,)), max_new_tokens=1)[0]


RULE = {"after": "instruction_share", "below": 0.5, "from": 2, "to": 4}
GOOD = {"layer": RULE, "keep": {"mass": 0.9}, "criterion": "image_attention"}


@pytest.mark.parametrize(
    ("stages", "words"),
    [
        ([{**GOOD, "keep": {"mas": 0.9}}], ["stages[0].keep.mas", "'mass'"]),
        ([{**GOOD, "keep": {"mass": 1.5}}], ["stages[0].keep.mass", "1.5", "(0, 1]"]),
        ([{**GOOD, "keep": {"mass": 0.5, "floor": -2}}], ["stages[0].keep.floor", "-2"]),
        ([{**GOOD, "keep": {"mass": 0.5, "ceiling": 0}}], ["stages[0].keep.ceiling", "keep: 0"]),
        ([{**GOOD, "keep": {"mass": 0.5, "floor": 0.5, "ceiling": 4}}], ["stages[0].keep", "0.5", "4"]),
        ([{**GOOD, "layer": {**RULE, "after": "entropy"}}], ["stages[0].layer.after", "'entropy'", "'image_entropy'"]),
        ([{**GOOD, "layer": {**RULE, "below": 0}}], ["stages[0].layer.below", "0"]),
        ([{**GOOD, "layer": {**RULE, "from": 0}}], ["stages[0].layer.from", "0", "1 to 8"]),
        ([{**GOOD, "layer": {**RULE, "to": 9}}], ["stages[0].layer.to", "9", "1 to 8"]),
        ([{**GOOD, "layer": {**RULE, "to": 1}}], ["stages[0].layer.to", "1 is before 2"]),
        ([{**GOOD, "layer": {"after": "image_entropy"}}], ["stages[0].layer.below", "missing"]),
        ([GOOD, {**GOOD, "layer": 4}], ["stages[1].layer", "4", "above"]),
        ([{**GOOD, "keep": {"mass": 0.5, "ceiling": 0.25}}, {**GOOD, "layer": 6, "keep": 0.5}], ["stages[1].keep", "0.5", "0.25"]),
        ([{**GOOD, "criterion": "divprune"}], ["stages[0].criterion", "'divprune'", "add up"]),
        ([{**GOOD, "keep": 0.5, "criterion": "sparsevlm"}], ["stages[0].criterion", "'sparsevlm'", "merges"]),
    ],
)  # fmt: skip
def test_a_bad_rule_is_named(stages, words):
    with pytest.raises(ValueError) as caught:
        read_stages(stages, layers=10, image_tokens=16)
    assert all(word in str(caught.value) for word in words), caught.value
