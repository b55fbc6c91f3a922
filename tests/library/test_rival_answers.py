"""Methods of other papers on the embedded model: from pictures to answers, batched, padded, timed and counted."""

from __future__ import annotations

import io
from pathlib import Path

import pytest
import torch
from himap.decoder.cache import Cache
from himap.decoder.generation import next_token_logits
from himap.decoder.loop import Intervention, forward
from himap.pruning.intervention import Pruning
from himap.pruning.resolve import resolve
from himap.pruning.stage import Stage
from PIL import Image


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


def test_choices_are_weighed_at_the_positions_of_what_is_left(mini):
    """The loss of a choice under a method that renumbers is that of the shorter prompt, not of the full one's positions."""
    from himap.experiments.answers import encode, likeliest

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
        likeliest(mini, rows, cache, logits, question.prompt.choices, 0, [pruning.alone(0), Watch()])
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
    from himap.experiments.latency import time_example

    runs = []
    hook = mini.module.model.vision_tower.register_forward_hook(lambda *_: runs.append(1))
    try:
        for name in ("fastervlm", "vanilla"):
            time_example(mini, questions()[0], resolve(name, mini.dims), 1)
    finally:
        hook.remove()
    assert len(runs) == 2
