"""Pruning: what every criterion scores, what every method keeps, and what dropping may not change."""

from __future__ import annotations

import json

import pytest
import torch
from himap.decoder.cache import Cache
from himap.decoder.generation import generate, next_token_logits
from himap.decoder.loop import Intervention, forward
from himap.decoder.tokens import IMAGE, INSTRUCTION, join_rows, new_rows
from himap.experiments.disruption import Disruption, make_cut
from himap.models.sizes import Dims
from himap.pruning import criteria
from himap.pruning.checks import stage_problems
from himap.pruning.intervention import Pruning
from himap.pruning.resolve import load_all, resolve
from himap.pruning.stage import Schedule, Stage, read_stages
from tiny import SHAPES, STAGES, oracle, prompt, tiny_model

# What merges, and what reads the question with a text tower, is in test_rivals.py.
CRITERIA = [name for name in criteria.names() if not criteria.get(name).merges and not criteria.get(name).needs_text]
METHODS = sorted(set(load_all()) - {"cdpruner"})


@pytest.fixture(scope="module")
def deep():
    """Deep enough for the methods' own layers."""
    return tiny_model("grouped", layers=18, tokens_per_image=16)


def first_step(model, rows, *interventions):
    with torch.no_grad():
        return next_token_logits(model, forward(model, rows, Cache(), interventions))


def stage(layer, keep, criterion):
    return Stage(layer, keep, criterion)


def reference_scores(model, rows, name, layer):
    """The criterion written anew on the oracle's whole maps: scores of the image tokens before `layer`."""
    _, weights, entering = oracle(model, rows)
    is_image, groups = rows.groups[0] == IMAGE, rows.groups[0]
    mean = weights[layer - 1].mean(dim=0)  # [T, T]
    if name == "instruction_attention":
        return mean[groups == INSTRUCTION].sum(0)[is_image]
    if name == "image_attention":
        return mean[is_image].sum(0)[is_image]
    if name == "image_attention_rows":
        return mean[is_image][:, is_image].sum(1)
    if name == "image_attention_debiased":
        n = int(is_image.sum())
        return mean[is_image].sum(0)[is_image] / torch.arange(n, 0, -1)
    if name == "last_token_attention":
        return mean[-1][is_image]
    if name == "all_attention":
        return mean.sum(0)[is_image]
    if name == "mean_attention":
        return ((mean.sum(0) - mean.diagonal()) / (len(mean) - 1))[is_image]
    if name == "embedding_norm":
        return entering[layer][is_image].norm(dim=-1)
    if name == "gradient":
        hidden = rows.hidden.clone().requires_grad_()
        logits, _, inputs = oracle(model, rows.with_hidden(hidden))
        loss = torch.nn.functional.cross_entropy(logits[-1:], logits[-1:].argmax(-1))
        slope = torch.autograd.grad(loss, inputs[layer])[0]
        return (inputs[layer] * slope).sum(-1).abs()[is_image]
    raise AssertionError(name)


# criteria of other papers have references of their own in test_rivals.py
SCORES = [
    *(
        "instruction_attention",
        "image_attention",
        "image_attention_rows",
        "image_attention_debiased",
        "last_token_attention",
    ),
    *("all_attention", "mean_attention", "embedding_norm", "gradient"),
]


@pytest.mark.parametrize("images", [1, 2])
@pytest.mark.parametrize("name", SCORES)
def test_a_criterion_keeps_the_highest_scored_in_their_order(model, name, images):
    rows = prompt(model, {"images": images, "seed": 4})
    pruning = Pruning(model, [stage(3, 5 * images, name)], rows, [0])
    first_step(model, rows, pruning)
    kept = pruning.kept[3][0]
    scores = reference_scores(model, rows, name, 3)
    assert kept == sorted(kept)
    assert sorted(scores.topk(5 * images).indices.tolist()) == kept


@pytest.mark.parametrize("name", CRITERIA)
def test_the_second_stage_ranks_what_is_left(model, name):
    rows = prompt(model, *SHAPES)
    second = "random" if name == "random" else name
    pruning = Pruning(model, [stage(2, 0.5, name), stage(4, 0.25, second)], rows, [5, 6, 7])
    first_step(model, rows, pruning)
    for b, total in enumerate((16, 32, 16)):
        shallow, deep = pruning.kept[2][b], pruning.kept[4][b]
        assert len(shallow) == total // 2
        assert len(deep) == total // 4
        assert set(deep) < set(shallow) < set(range(total))
        assert deep == sorted(deep)
        assert shallow == sorted(shallow)


def test_position_of_kept_tokens_is_never_renumbered(model):
    rows = prompt(model, *SHAPES)
    pruning = Pruning(model, STAGES, rows, [0, 0, 0])
    with torch.no_grad():
        left = forward(model, rows, Cache(), [pruning])
    for b in range(3):
        places = left.positions[b][left.groups[b] == IMAGE]
        first = rows.positions[b][rows.groups[b] == IMAGE]
        assert places.tolist() == first[pruning.kept[4][b]].tolist()
        text = left.positions[b][(left.groups[b] > 0) & (left.groups[b] != IMAGE)]
        assert text.tolist() == rows.positions[b][(rows.groups[b] > 0) & (rows.groups[b] != IMAGE)].tolist()


@pytest.mark.parametrize("name", CRITERIA)
def test_keeping_all_is_vanilla(model, name):
    rows = prompt(model, *SHAPES)
    stages = [stage(2, 1.0, name), stage(4, 1.0, name)]
    pruned = generate(model, rows, 4, [Pruning(model, stages, rows, [0, 1, 2])])
    plain = generate(model, rows, 4)
    torch.testing.assert_close(pruned.first_logits, plain.first_logits, rtol=1e-5, atol=1e-6)
    assert pruned.ids == plain.ids


class Masked(Intervention):
    """Hides image tokens from a layer on instead of dropping them."""

    def __init__(self, kept):
        self.kept = kept

    def cut(self, layer, rows, key_positions, key_groups):
        reached = [stage for stage in self.kept if stage <= layer]
        if not reached:
            return None
        hidden = torch.zeros(key_groups.shape, dtype=torch.bool)
        for b, kept in enumerate(self.kept[max(reached)]):
            places = (key_groups[b] == IMAGE).nonzero()[:, 0]
            hidden[b, places] = True
            hidden[b, places[kept]] = False
        asked = rows.groups != IMAGE  # what dropped rows see does not matter
        return hidden[:, None, :] & (asked & (rows.groups > 0))[:, :, None] | self._among_images(rows, hidden)

    def _among_images(self, rows, hidden):
        own = torch.eye(hidden.shape[1], dtype=torch.bool)[None]
        return hidden[:, None, :] & (rows.groups == IMAGE)[:, :, None] & ~own


@pytest.mark.parametrize("name", ["instruction_attention", "random", "gradient"])
def test_dropping_is_masking(model, name):
    rows = prompt(model, *SHAPES)
    pruning = Pruning(model, [stage(1, 9, name), stage(3, 4, "image_attention")], rows, [0, 1, 2])
    dropped = first_step(model, rows, pruning)
    torch.testing.assert_close(dropped, first_step(model, rows, Masked(pruning.kept)), rtol=1e-4, atol=1e-5)
    assert float((dropped - first_step(model, rows)).abs().max()) > 1e-2


def test_ranking_anew_equals_a_fresh_run_on_the_longer_text(model):
    rows = prompt(model, *SHAPES)
    text, answer = rows, []
    for step in range(4):
        logits = first_step(model, text, Pruning(model, STAGES, text, [0, 0, 0]))
        answer.append(logits.argmax(-1))
        newest = new_rows(model.embed_tokens(answer[-1][:, None]), rows.positions[:, -1:] + 1 + step)
        text = join_rows(text, newest)
    found = generate(model, rows, 4, [Pruning(model, STAGES, rows, [0, 0, 0])], rerank=True)
    expected = torch.stack(answer, dim=1).tolist()
    assert found.ids == [ids[: ids.index(2) + 1] if 2 in ids else ids for ids in expected]


def test_fastv_as_coded_and_as_written_differ(model):
    rows = prompt(model, {"seed": 8})
    kept = []
    for name in ("last_token_attention", "mean_attention"):
        pruning = Pruning(model, [stage(2, 8, name)], rows, [0])
        first_step(model, rows, pruning)
        kept.append(pruning.kept[2][0])
    assert kept[0] != kept[1]


def test_random_is_the_samples_own(model):
    rows, alone = prompt(model, *SHAPES), prompt(model, SHAPES[1])

    def drawn(rows, seeds):
        pruning = Pruning(model, [stage(1, 0.5, "random"), stage(3, 0.25, "random")], rows, seeds)
        first_step(model, rows, pruning)
        return pruning.kept

    together, single = drawn(rows, [11, 22, 33]), drawn(alone, [22])
    assert [kept[1] for kept in together.values()] == [kept[0] for kept in single.values()]
    assert drawn(alone, [22]) == single
    assert drawn(alone, [23]) != single
    same = drawn(prompt(model, SHAPES[0], {**SHAPES[0], "seed": 9}), [4, 4])
    assert same[1][0] == same[1][1]  # the picture plays no part


@pytest.mark.parametrize(("tokens", "keep", "step"), [(16, 4, 2), (64, 16, 2), (64, 4, 4), (576, 144, 2)])
def test_spatial_uniform_is_a_regular_grid(tokens, keep, step):
    model = tiny_model(tokens_per_image=tokens)
    rows = prompt(model)
    pruning = Pruning(model, [stage(0, keep, "spatial_uniform")], rows, [0])
    first_step(model, rows, pruning)
    side = round(tokens**0.5)
    assert pruning.kept[0][0] == [y * side + x for y in range(0, side, step) for x in range(0, side, step)]


def test_spatial_uniform_spreads_any_number(model):
    """In every quarter of the picture lies about a quarter of the kept tokens."""
    rows = prompt(model, {"images": 2})
    for keep in range(4, 33):
        pruning = Pruning(model, [stage(0, keep, "spatial_uniform")], rows, [0])
        first_step(model, rows, pruning)
        quarters = [0] * 8
        for index in pruning.kept[0][0]:
            image, place = divmod(index, 16)
            quarters[4 * image + 2 * (place // 8) + (place % 4) // 2] += 1
        assert sum(quarters) == keep
        assert max(quarters) - min(quarters) <= 2


@pytest.mark.parametrize("name", METHODS)
@pytest.mark.parametrize("kind", ["qa", "caption", "open"])
def test_every_method_answers_a_batch_as_one_by_one(deep, name, kind):
    method = resolve(name, deep.dims, kind=kind)
    keys = {"name", "stages", "rerank", "image_grid"} | ({"positions"} if method.renumbers else set())
    assert (method.name, set(method.to_json())) == (name, keys)
    if method.image_grid:
        assert method.stages == ()
        assert method.image_grid[0] < deep.dims.grid[0]
        return
    rows = prompt(deep, *SHAPES)
    together = generate(
        deep, rows, 3, [Pruning(deep, method.stages, rows, [1, 2, 3], renumber=method.renumbers)], rerank=method.rerank
    )
    for b, shape in enumerate(SHAPES):
        alone = prompt(deep, shape)
        pruning = Pruning(deep, method.stages, alone, [b + 1], renumber=method.renumbers)
        single = generate(deep, alone, 3, [pruning], rerank=method.rerank)
        torch.testing.assert_close(together.first_logits[b], single.first_logits[0], rtol=1e-3, atol=1e-4)
        assert together.ids[b] == single.ids[0]


def test_the_papers_schedules():
    sizes = Dims(32, 4096, 32, 32, 128, 11008, 32064, 576)
    assert resolve("vanilla", sizes).stages == ()
    assert resolve("fastv", sizes).stages == (stage(2, 0.5, "last_token_attention"),)
    assert resolve("fastv", sizes, model="llava-1.5-13b").stages == (stage(3, 0.5, "last_token_attention"),)
    shallow = stage(2, 0.5, "instruction_attention")
    assert resolve("himap", sizes).stages == (shallow, stage(8, 0.125, "image_attention"))
    for kind in ("caption", "open"):
        assert resolve("himap", sizes, kind=kind).stages == (shallow, stage(15, 0.125, "image_attention"))
    released = resolve("himap_released", sizes)
    assert released.rerank
    assert released.stages == resolve("himap", sizes).stages
    assert {stage.criterion for stage in resolve("random", sizes).stages} == {"random"}


@pytest.mark.parametrize("name", ["uniform", "random_per_layer", "encoder_output"])
@pytest.mark.parametrize("kind", ["qa", "caption"])
def test_methods_of_equal_cost_cost_as_much(name, kind):
    from himap.costs.formulas import ratio

    sizes = Dims(32, 4096, 32, 32, 128, 11008, 32064, 576)
    wanted = ratio(sizes, resolve("himap", sizes, kind=kind).stages)
    method = resolve(name, sizes, kind=kind)
    assert ratio(sizes, method.stages) == pytest.approx(wanted, abs=0.005)
    assert len(method.stages) == (1 if name == "encoder_output" else 30)


def test_a_smaller_image_costs_about_as_much():
    from himap.costs.formulas import flops

    sizes = Dims(32, 4096, 32, 32, 128, 11008, 32064, 576)
    rows, columns = resolve("downsample", sizes).image_grid
    wanted = flops(sizes, resolve("himap", sizes).stages)
    assert abs(flops(sizes, [], n_image=rows * columns) - wanted) <= abs(
        flops(sizes, [], n_image=(rows + 1) ** 2) - wanted
    )
    assert (rows, columns) == (12, 12)


def test_schedules_of_a_checkpoint_and_of_a_config_come_first():
    sizes = Dims(8, 64, 4, 4, 16, 128, 97, 64)
    chosen = (stage(1, 0.5, "instruction_attention"), stage(3, 0.25, "image_attention"))
    own = {"himap": {"qa": [stage.to_json() for stage in chosen]}}
    assert resolve("himap", sizes, schedules=own).stages == chosen
    assert resolve("himap_released", sizes, schedules=own).stages == chosen
    extra = {
        "deep_only": {"like": "himap", "only": [1]},
        "swapped": {"like": "himap", "criteria": ["image_attention", "instruction_attention"]},
        "mine": {"stages": [stage(1, 9, "spatial_uniform").to_json()]},
    }
    assert resolve("deep_only", sizes, methods=extra, schedules=own).stages == (stage(3, 0.25, "image_attention"),)
    swapped = resolve("swapped", sizes, methods=extra, schedules=own).stages
    assert [stage.criterion for stage in swapped] == ["image_attention", "instruction_attention"]
    assert resolve("mine", sizes, methods=extra).stages == (stage(1, 9, "spatial_uniform"),)


def test_a_schedule_reads_what_it_writes_and_writes_what_scripts_were_always_told():
    sizes = Dims(32, 4096, 32, 32, 128, 11008, 32064, 576)
    for name in METHODS:
        schedule = resolve(name, sizes)
        assert Schedule.from_json(json.loads(json.dumps(schedule.to_json()))) == schedule
    assert json.dumps(resolve("himap", sizes).to_json()) == (
        '{"name": "himap", "stages": [{"layer": 2, "keep": 0.5, "criterion": "instruction_attention"}, '
        '{"layer": 8, "keep": 0.125, "criterion": "image_attention"}], "rerank": false, "image_grid": null}'
    )
    assert json.dumps(resolve("downsample", sizes).to_json()["image_grid"]) == "[12, 12]"


@pytest.mark.parametrize(
    ("value", "words"),
    [
        ({"stagez": []}, ["key in a schedule", "stagez", "'stages'"]),
        ({"rerank": "yes"}, ["rerank", "'yes'", "true"]),
        ({"image_grid": [3]}, ["image_grid", "[3]", "[rows, columns]"]),
        ({"image_grid": [3, 0]}, ["image_grid", "[3, 0]"]),
        ({"stages": {"qa": []}}, ["stages", "no list"]),
        ({"stages": [{"layer": 1, "keep": 0.5}]}, ["stages[0].criterion", "missing"]),
        ({"name": 7}, ["name", "7"]),
        ([], ["[] is no schedule"]),
    ],
)
def test_a_bad_schedule_is_named(value, words):
    with pytest.raises(ValueError) as caught:
        Schedule.from_json(value)
    assert all(word in str(caught.value) for word in words), caught.value


def test_everything_wrong_with_a_list_of_stages_is_found_in_one_go():
    stages = [
        {"layer": 3, "keep": 0.5, "criterion": "randm", "shere": 1},
        "himap",
        {"layer": 3, "keep": 0.75},
        {"layer": 4, "keep": True, "criterion": "random"},
        {"layer": 31, "keep": 0.5, "criterion": "random"},
    ]
    problems = dict(stage_problems(stages, layers=32, model="llava"))
    assert list(problems) == [
        "[0].shere", "[0].criterion", "[1]", "[2].layer", "[2].keep", "[2].criterion", "[3].keep", "[4].layer",
    ]  # fmt: skip
    assert problems["[4].layer"] == "31 is not below the last layer of llava (allowed: 0 to 30)"


@pytest.mark.parametrize("shallow", [0.5, 32])  # a share, or a count of the 64 tokens
def test_the_deep_module_alone_has_both_readings_of_r2(shallow):
    sizes = Dims(16, 64, 4, 4, 16, 128, 97, 64)
    both = [stage(2, shallow, "instruction_attention"), stage(8, 0.125, "image_attention")]
    known = {**load_all(), "himap": {"stages": both}}
    found = {name: resolve(name, sizes, methods=known).stages for name in ("deep_only", "deep_only_relative")}
    assert found["deep_only"] == (stage(8, 0.125, "image_attention"),)  # as many as both modules leave
    assert found["deep_only_relative"] == (stage(8, 0.25, "image_attention"),)  # three quarters of all dropped


def test_a_cut_after_the_softmax_is_seen_by_the_criterion_above_it(plain_model):
    """What img2txt sets to zero gives no image token a score by the attention of instruction tokens."""
    rows = prompt(plain_model, SHAPES[0])
    scores = {}
    for block in (None, "post"):
        seen = []

        class Look(Intervention):
            def wants_attention(self, layer):
                return layer == 2

            def choose(self, layer, rows, below, seen=seen):
                if below is not None:
                    seen.append(below.received(rows.groups == INSTRUCTION)[rows.groups == IMAGE])

        cut = [Disruption([make_cut("img2txt", 1, "single", 6)], rows, [0], block)] if block else []
        first_step(plain_model, rows, *cut, Look())
        scores[block] = seen[0]
    assert float(scores[None].min()) > 0
    assert float(scores["post"].abs().max()) == 0


GOOD = {"layer": 1, "keep": 0.5, "criterion": "random"}


@pytest.mark.parametrize(
    ("stages", "words"),
    [
        ([{**GOOD, "layer": 5}], ["stages[0].layer", "5", "0 to 4"]),
        ([{**GOOD, "layer": 50}], ["stages[0].layer", "50", "0 to 4"]),
        ([{**GOOD, "layer": -1}], ["stages[0].layer", "-1", "0 to 4"]),
        ([{**GOOD, "layer": 1.5}], ["stages[0].layer", "1.5"]),
        ([{**GOOD, "layer": True}], ["stages[0].layer", "True"]),
        ([{**GOOD, "layer": 3}, {**GOOD, "layer": 2}], ["stages[1].layer", "2", "3", "order"]),
        ([GOOD, GOOD], ["stages[1].layer", "1"]),
        ([{**GOOD, "keep": 0}, {**GOOD, "layer": 3, "keep": 1}], ["stages[1].keep", "1", "keeps 0"]),
        ([{**GOOD, "keep": 0.0}], ["stages[0].keep", "(0, 1]"]),
        ([{**GOOD, "keep": 1.01}], ["stages[0].keep", "1.01", "(0, 1]"]),
        ([{**GOOD, "keep": -3}], ["stages[0].keep", "-3"]),
        ([{**GOOD, "keep": float("nan")}], ["stages[0].keep", "nan"]),
        ([{**GOOD, "keep": "half"}], ["stages[0].keep", "half"]),
        ([{**GOOD, "keep": True}], ["stages[0].keep", "True"]),
        ([{**GOOD, "keep": 17}], ["stages[0].keep", "17", "16"]),
        ([GOOD, {**GOOD, "layer": 2, "keep": 0.6}], ["stages[1].keep", "0.6", "0.5"]),
        ([GOOD, {**GOOD, "layer": 2, "keep": 9}], ["stages[1].keep", "9", "8"]),
        ([{**GOOD, "keep": 5}, {**GOOD, "layer": 2, "keep": 0.5}], ["stages[1].keep", "0.5", "5"]),
        ([{**GOOD, "criterion": "instruction_atention"}], ["criterion", "instruction_atention", "'instruction_attention'"]),
        ([{**GOOD, "layer": 0, "criterion": "image_attention"}], ["stages[0].criterion", "image_attention", "embedding_norm"]),
        ([{"layer": 1, "keep": 0.5}], ["stages[0].criterion", "missing"]),
        ([{**GOOD, "ratio": 0.5}], ["stages[0]", "ratio"]),
        (["himap"], ["stages[0]"]),
    ],
)  # fmt: skip
def test_bad_stages_are_named(stages, words):
    with pytest.raises(ValueError) as caught:
        read_stages(stages, layers=6, image_tokens=16)
    for word in words:
        assert word in str(caught.value)


@pytest.mark.parametrize(
    ("name", "methods", "words"),
    [
        ("hymap", {}, ["hymap", "'himap'"]),
        ("mine", {"mine": {}}, ["mine", "no form"]),
        ("mine", {"mine": {"stages": [], "downsample": True}}, ["mine", "stages and downsample"]),
        ("mine", {"mine": {"stagez": []}}, ["mine", "stagez", "'stages'"]),
        ("mine", {"mine": {"downsample": True}}, ["mine", "flops_of"]),
        ("mine", {"mine": {"like": "himap", "criteria": ["random"]}}, ["mine", "1 criteria for 2"]),
        ("mine", {"mine": {"stages": [stage(30, 0.5, "random").to_json()]}}, ["stages[0].layer", "30"]),
        ("mine", {"mine": {"stages": {"caption": []}}}, ["mine", "qa", "caption"]),
    ],
)
def test_bad_methods_are_named(name, methods, words):
    sizes = Dims(18, 64, 4, 4, 16, 128, 97, 64)
    with pytest.raises(ValueError) as caught:
        resolve(name, sizes, methods=methods)
    for word in words:
        assert word in str(caught.value)
