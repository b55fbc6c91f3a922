"""Methods of other papers on the embedded model: from pictures to answers, batched, padded, timed and counted."""

from __future__ import annotations

import io
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from himap.decoder.cache import Cache
from himap.decoder.generation import next_token_logits
from himap.decoder.loop import Intervention, forward
from himap.pruning.intervention import Pruning
from himap.pruning.resolve import resolve
from himap.pruning.stage import Schedule, Stage
from PIL import Image

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def mini():
    from himap.models.loading import load

    return load(Path(__file__).resolve().parents[2] / "models" / "mini")


def questions():
    """Three questions about pictures of the embedded world: one wide, two in one prompt, one with choices instead of words."""
    from himap.experiments.answers import Question
    from himap.mini.scenes import generator, make_scene, png
    from himap.models.prompts import Prompt

    rng = generator("test", 3)
    first, second = (png(make_scene("shapes", rng)) for _ in range(2))
    buffer = io.BytesIO()
    Image.open(io.BytesIO(first)).crop((0, 20, 96, 70)).save(buffer, "PNG")
    ask = "How many circles are there?"
    return [
        Question("wide", [buffer.getvalue()], Prompt(ask)),
        Question("two", [first, second], Prompt("Is there a red circle in the picture?")),
        Question("choice", [second], Prompt(ask, choices=("one", "two", "three hundred"))),
    ]


@pytest.mark.parametrize(
    "name", ["fastervlm", "vispruner", "visionzip", "sparsevlm", "himap_reweighted", "pyramiddrop"]
)
def test_answers_about_pictures_are_the_same_in_a_batch_and_one_by_one(mini, name):
    from himap.experiments.answers import answer_batch

    asked = {"mine": {"like": name, "tokens_of": "1/3"}}
    schedule = resolve("mine", mini.dims, methods=asked)
    choice = [question for question in questions() if question.prompt.choices]
    spoken = [question for question in questions() if not question.prompt.choices]
    together = [
        *answer_batch(mini, spoken, schedule, max_new_tokens=6),
        *answer_batch(mini, choice, schedule, max_new_tokens=1),
    ]
    alone = [answer_batch(mini, [question], schedule, max_new_tokens=6)[0] for question in questions()]
    assert together == alone


def test_methods_that_share_a_pass_answer_as_each_does_alone(mini):
    """Whatever schedules share, a merged token, a position counted again or a view of the tower reaches no other one."""
    from himap.experiments.answers import Asking, answer_batch, answer_under_all

    spoken = [question for question in questions() if not question.prompt.choices]
    asked = [*spoken, replace(spoken[0], sample_id="again")]
    deep = (Stage(2, 72, "spatial_uniform"), Stage(5, 36, "sparsevlm"), Stage(8, 12, "sparsevlm"))
    entry = (Stage(0, 60, "divprune"), Stage(6, 20, "fastervlm"))
    schedules = [
        Schedule((), "vanilla"),
        Schedule((), "vanilla renumbered", positions="renumber"),
        Schedule(entry, "kept"),
        Schedule(entry, "counted", positions="renumber"),
        Schedule((*entry[:1], Stage(6, 20, "pyramiddrop")), "parts later", positions="renumber"),
        Schedule(entry, "ranked again", rerank=True, positions="renumber"),
        Schedule(deep, "merged", positions="renumber"),
        Schedule(deep[:2], "merged once", positions="renumber"),
        Schedule((*deep[:1], Stage(5, 0, "random")), "none left", positions="renumber"),
        Schedule((Stage(0, 40, "visionzip"),), "zipped", positions="renumber"),
        resolve("himap_reweighted", mini.dims),
    ]
    looks = []
    seeing = replace(mini, view_tower=lambda pixels: looks.append(len(pixels)) or mini.view_tower(pixels))
    made = answer_under_all(seeing, asked, [Asking(schedules, 5)], lambda *_: True)
    together = {schedule.name: rows for schedule, rows in made}
    assert looks == [3]  # the pictures of all, each once for all methods
    for schedule in schedules:
        alone = [answer_batch(mini, [question], schedule, max_new_tokens=5)[0] for question in asked]
        assert together[schedule.name] == alone, schedule.name
    answer_batch(seeing, asked, schedules[0], max_new_tokens=1)
    assert looks == [3]  # and not at all where no method asks


def test_questions_about_one_picture_share_layers_and_choose_and_answer_as_alone(mini, monkeypatch):
    from himap.experiments import beginnings
    from himap.experiments.answers import Asking, Question, answer_batch, answer_under_all
    from himap.models.prompts import Prompt

    _, two, choice = questions()
    words = ("How many circles are there?", "Is there a star?", "What color is the cross in the picture?")
    asked = [Question(f"{n}", [image], Prompt(text)) for image in two.images for n, text in enumerate(words)]
    weighed = [replace(choice, sample_id="1"), choice]
    schedules = [
        Schedule((), "vanilla"),
        Schedule((Stage(3, 0.5, "instruction_attention"), Stage(8, 0.125, "image_attention")), "himap"),
        Schedule((Stage(3, 0.5, "instruction_attention"), Stage(6, 0.25, "random")), "from the same layer"),
        Schedule((Stage(0, 40, "visionzip"),), "before the decoder", positions="renumber"),
        Schedule((Stage(3, 0.5, "last_token_attention"),), "ranked again", rerank=True),
    ]
    rows_run = []
    mine = beginnings.run
    monkeypatch.setattr(beginnings, "run", lambda *given: rows_run.append(given[2].of) or mine(*given))
    for batch, of in ((asked, [0, 0, 0, 1, 1, 1]), (weighed, [0, 0])):
        made = answer_under_all(mini, batch, [Asking(schedules, 6)], lambda *_: True)
        together = {schedule.name: rows for schedule, rows in made}
        assert rows_run.pop() == of
        for schedule in schedules:
            alone = [answer_batch(mini, [question], schedule, max_new_tokens=6)[0] for question in batch]
            assert together[schedule.name] == alone, schedule.name
    assert not rows_run


def test_rows_that_leave_a_batch_take_their_pictures_and_positions_along(mini):
    from himap.experiments.answers import encode

    rows = encode(mini, questions()[:2])
    stages = [Stage(0, 60, "fastervlm"), Stage(4, 20, "instruction_attention_reweighted")]
    pruning = Pruning(mini, stages, rows, [1, 2], renumber=True)
    with torch.no_grad():
        forward(mini, rows, Cache(), [pruning])
        again = forward(mini, rows.of([1]), Cache(), [part := pruning.of([1])])
        alone_rows = encode(mini, questions()[1:2])
        alone = Pruning(mini, stages, alone_rows, [2], renumber=True)
        expected = forward(mini, alone_rows, Cache(), [alone])
    torch.testing.assert_close(again.hidden, expected.hidden, rtol=1e-4, atol=1e-4)
    for layer, shift in part.shifts.items():
        assert shift.tolist() == [pruning.shifts[layer].tolist()[1]] == alone.shifts[layer].tolist()
    repeated = alone_rows.repeated(3)
    torch.testing.assert_close(repeated.pictures.tower(2).hidden, alone_rows.pictures.tower(0).hidden)


def test_choices_are_weighed_at_the_positions_of_what_is_left(mini):
    """The loss of a choice under a method that renumbers is that of the shorter prompt, not of the full one's positions."""
    from himap.experiments.answers import encode
    from himap.experiments.concluding import likeliest

    (question,) = [question for question in questions() if question.prompt.choices]
    rows = encode(mini, [question])
    pruning = Pruning(mini, [Stage(0, 20, "divprune"), Stage(4, 10, "pyramiddrop")], rows, [0], renumber=True)
    cache = Cache()
    seen = []

    class Watch(Intervention):
        def choose(self, layer, rows, below):
            seen.append((layer, rows.positions.tolist()))

    with torch.no_grad():
        left = forward(mini, rows, cache, [pruning])
        logits = next_token_logits(mini, left)
        likeliest(mini, rows, cache, logits, question.prompt.choices, 0, [pruning.of([0]), Watch()])
    last = int(left.positions[0, -1])
    first = {layer: positions[0][0] for layer, positions in seen}
    assert first[11] == last + 1
    assert first[0] == last + 1 + 10  # ten more image tokens are there below layer 4


def test_padding_of_a_wide_picture_reaches_the_criterion(mini):
    from himap.experiments.answers import encode

    rows = encode(mini, questions()[:1])
    share = rows.pictures.padding[0].view(12, 12)
    assert share[0].tolist() == 12 * [1.0]
    assert share[6].tolist() == 12 * [0.0]
    schedule = resolve("mine", mini.dims, methods={"mine": {"like": "himap_reweighted", "tokens_of": "1/3"}})
    pruning = Pruning(mini, schedule.stages, rows, [0])
    with torch.no_grad():
        forward(mini, rows, Cache(), [pruning])
    kept = torch.tensor(pruning.kept[schedule.stages[0].layer][0])
    assert float(share.flatten()[kept].max()) <= 0.5


def test_the_tower_is_no_part_of_a_counted_prefill(mini):
    from himap.experiments.answers import encode
    from himap.experiments.counted_flops import prefill_flops

    counts = {
        name: prefill_flops(mini, encode(mini, questions()[:1]), [Stage(0, 48, name)])
        for name in ("fastervlm", "random")
    }
    assert counts["fastervlm"] == counts["random"]


def test_latency_runs_the_tower_once(mini):
    from himap.experiments.latency import Protocol, time_batch

    runs = []
    hook = mini.module.model.vision_tower.register_forward_hook(lambda *_: runs.append(1))
    try:
        for name in ("fastervlm", "vanilla"):
            time_batch(mini, questions()[:1], resolve(name, mini.dims), Protocol(1, 1))
    finally:
        hook.remove()
    assert len(runs) == 2
