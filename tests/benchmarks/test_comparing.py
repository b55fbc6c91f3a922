"""Scores as a library, intervals that respect images, and comparisons of two methods on the same samples."""

from __future__ import annotations

import dataclasses

import numpy as np
import pandas as pd
import pytest
from himap import benchmarks
from himap.benchmarks._base import Sample
from himap.metrics import paired, statistics
from hub_fixtures import MAKERS


def mme_samples(images: int) -> list[Sample]:
    """MME with two subtasks of this many images."""
    return [
        Sample(
            f"{category}/{at}#{number}",
            "Q?",
            [],
            [truth],
            [],
            {"category": category, "question_id": f"{category}/{at}"},
        )
        for category in ("count", "color")
        for at in range(images)
        for number, truth in ((1, "Yes"), (2, "No"))
    ]


def right_with(samples: list[Sample], share: float, seed: int) -> dict[str, str]:
    """Answers of which about this share is right."""
    draws = np.random.default_rng(seed).random(len(samples))
    other = {"Yes": "No", "No": "Yes", "yes": "No", "no": "Yes"}
    return {
        one.sample_id: one.references[0] if draw < share else other[one.references[0]]
        for one, draw in zip(samples, draws, strict=True)
    }


def test_mme_is_compared_in_its_own_score_by_image():
    samples, benchmark = mme_samples(30), benchmarks.get("mme")
    worse = benchmarks.score(benchmark, samples, right_with(samples, 0.6, 1))
    better = benchmarks.score(benchmark, samples, right_with(samples, 0.9, 2))
    compared = benchmarks.compare(benchmark, worse.per_sample, better.per_sample)
    assert compared.difference == pytest.approx(better.headline - worse.headline)
    assert compared.interval[0] > 0
    assert compared.p_value < 0.01
    assert compared.test == "paired permutation"


def test_mme_intervals_draw_images_within_subtasks():
    samples = mme_samples(20)
    everything_right = {one.sample_id: one.references[0] for one in samples}
    scores = benchmarks.score(benchmarks.get("mme"), samples, everything_right)
    assert (scores.n, scores.pictures) == (80, 40)
    low, high = scores.interval
    assert low == pytest.approx(400 - 37.2, abs=0.1)  # forty pictures that were all right leave room for one in ten
    assert high == pytest.approx(400.0)
    half = everything_right | {one.sample_id: "?" for one in samples if one.metadata["category"] == "count"}
    low, high = benchmarks.score(benchmarks.get("mme"), samples, half).interval
    assert 0 < low < 200 < high < 400


@pytest.mark.parametrize("name", ["vqav2", "textvqa", "docvqa", "chartqa", "scienceqa", "aokvqa"])
def test_questions_about_one_picture_are_one_draw(name: str):
    """Eight pictures with six questions each, all right or all wrong, are eight results and not 48."""
    keys = {"vqav2": ["image_id"], "textvqa": ["image_id"], "docvqa": ["docId", "ucsf_document_page_no"]}.get(name, [])
    samples = [
        Sample(f"{picture}-{at}", "Q?", ["x", "y"], ["A"] * 10, [] if keys else [b"picture %d" % picture],
               {"type": "human", **dict.fromkeys(keys, picture)})
        for picture in range(8)
        for at in range(6)
    ]  # fmt: skip
    answers = {one.sample_id: "A" if int(one.sample_id[0]) < 5 else "B" for one in samples}
    if name in ("vqav2", "textvqa"):
        samples = [dataclasses.replace(one, references=["dog"] * 10) for one in samples]
        answers = {key: "dog" if value == "A" else "cat" for key, value in answers.items()}
    scores = benchmarks.score(benchmarks.get(name), samples, answers)
    assert (scores.n, scores.pictures) == (48, 8)
    assert scores.interval[1] - scores.interval[0] > 50


@pytest.mark.parametrize("name", ["llavabench", "mmvet"])
def test_judged_questions_about_one_picture_are_one_draw(name: str):
    """Verdicts on eight pictures with three questions each that share their picture's fate."""
    fate = np.repeat([1.0, 1.0, 1.0, 1.0, 1.0, 0.0, 0.0, 0.0], 3)
    frame = pd.DataFrame({"score": fate, "score_1": 2 + 6 * fate, "reference_1": 8.0})
    alone, shared = (
        benchmarks.get(name).headline(frame.assign(picture=pictures))
        for pictures in (np.arange(24).astype(str), np.repeat(np.arange(8), 3).astype(str))
    )
    assert (alone.pictures, shared.pictures) == (24, 8)
    widths = [high - low for low, high in map(statistics.interval, (alone, shared))]
    assert widths[1] > 1.4 * widths[0]


def test_a_question_of_mmbench_counts_once_and_only_if_all_its_rotations_are_right():
    samples = [
        Sample(f"{rotation}{question:06}", "Q?", ["x", "y"], ["AB"[rotation]], [b"picture %d" % (question // 2)],
               {"question_id": question, "rotation": rotation})
        for rotation in range(2)
        for question in range(20)
    ]  # fmt: skip
    always_a = {one.sample_id: "A" for one in samples}
    right = {one.sample_id: one.references[0] for one in samples}
    first, second = (benchmarks.score(benchmarks.get("mmbench"), samples, each) for each in (always_a, right))
    assert (first.headline, first.scores["all_rows"]) == (0.0, 50.0)
    assert (second.headline, second.n, second.pictures) == (100.0, 40, 10)
    compared = benchmarks.compare(benchmarks.get("mmbench"), first.per_sample, second.per_sample[::-1])
    assert (compared.difference, compared.pictures) == (100.0, 10)
    assert compared.test == "paired permutation"


def pope_samples(images: int) -> list[Sample]:
    """POPE with six questions on each image in each setting."""
    return [
        Sample(
            f"{setting}-{at}-{number}",
            "Q?",
            [],
            ["yes" if number % 2 else "no"],
            [],
            {"category": setting, "image_source": f"i{at}"},
        )
        for setting in ("random", "popular", "adversarial")
        for at in range(images)
        for number in range(6)
    ]


def test_pope_intervals_are_wider_if_the_errors_of_an_image_go_together():
    samples, benchmark = pope_samples(80), benchmarks.get("pope")
    generator = np.random.default_rng(3)
    bad_images = {f"i{at}" for at in range(80) if generator.random() < 0.2}
    together = {
        one.sample_id: one.references[0] if one.metadata["image_source"] not in bad_images else "no" for one in samples
    }
    wrong = [one.sample_id for one in samples if together[one.sample_id] != one.references[0]]
    anywhere = {one.sample_id: one.references[0] for one in samples}
    positives = [one.sample_id for one in samples if one.references[0] == "yes"]
    anywhere |= dict.fromkeys(generator.choice(positives, len(wrong), replace=False), "no")
    clustered, spread = (benchmarks.score(benchmark, samples, answers) for answers in (together, anywhere))
    assert clustered.headline == pytest.approx(spread.headline, abs=1.0)
    width = {name: scores.interval[1] - scores.interval[0] for name, scores in (("c", clustered), ("s", spread))}
    assert width["c"] > 2 * width["s"]


def test_accuracy_is_compared_by_mcnemar_whatever_the_order_of_the_rows():
    benchmark = benchmarks.get("scienceqa")
    samples = [Sample(str(at), "Q?", ["x", "y"], ["A"]) for at in range(20)]
    first = benchmarks.score(
        benchmark, samples, {one.sample_id: "A" if int(one.sample_id) < 10 else "B" for one in samples}
    )
    second = benchmarks.score(
        benchmark, samples, {one.sample_id: "A" if int(one.sample_id) < 18 else "B" for one in samples}
    )
    compared = benchmarks.compare(benchmark, first.per_sample, second.per_sample[::-1])
    assert compared.test == "McNemar exact"
    assert compared.difference == pytest.approx(40.0)
    assert compared.p_value == pytest.approx(paired.sign_test(0, 8))
    back = benchmarks.compare(benchmark, second.per_sample, first.per_sample)
    assert back.difference == pytest.approx(-40.0)
    assert back.p_value == pytest.approx(compared.p_value)


def test_different_samples_are_not_compared():
    benchmark = benchmarks.get("docvqa")
    first, second = (pd.DataFrame({"sample_id": [name, "x"], "score": [1.0, 0.0]}) for name in "ab")
    with pytest.raises(ValueError, match=r"2 samples are in just one of the two \(a, b\)"):
        benchmarks.compare(benchmark, first, second)


def test_captions_are_compared_by_image(prepared):
    fixture = MAKERS["nocaps"]()
    samples = list(benchmarks.read_samples(prepared(fixture)))
    ids = [one.sample_id for one in samples]
    first = benchmarks.score(benchmarks.get("nocaps"), samples, dict(zip(ids, fixture.answers, strict=True)))
    second = benchmarks.score(benchmarks.get("nocaps"), samples, dict.fromkeys(ids, "a dog"))
    compared = benchmarks.compare(benchmarks.get("nocaps"), first.per_sample, second.per_sample)
    assert compared.difference == pytest.approx(second.headline - first.headline)
    assert compared.n == 3


def test_a_score_that_is_not_defined_is_an_error(prepared):
    fixture = MAKERS["llavabench"]()
    samples = list(benchmarks.read_samples(prepared(fixture)))
    answers = {one.sample_id: "x" for one in samples}
    with pytest.raises(ValueError, match="relative score by a judge is not defined for these 3 samples"):
        benchmarks.score(benchmarks.get("llavabench"), samples, answers, {one.sample_id: [None] for one in samples})


@pytest.mark.parametrize("name", ["vqav2", "textvqa", "mme", "pope", "scienceqa", "docvqa"])
def test_five_thousand_samples_are_scored(name: str):
    words = np.random.default_rng(0).integers(0, 10**6, size=(5000, 11)).astype(str)
    makers = {
        "mme": lambda: mme_samples(1250),
        "pope": lambda: pope_samples(278)[:5000],
        "scienceqa": lambda: [Sample(str(at), "Q?", ["x", "y"], ["A"], [], {"subject": "s"}) for at in range(5000)],
    }
    samples = makers.get(
        name,
        lambda: [
            Sample(str(at), "Q?", [], [f"the {word}'s dog, no. {at}" for word in row[:10]])
            for at, row in enumerate(words)
        ],
    )()
    scores = benchmarks.score(benchmarks.get(name), samples, {one.sample_id: "a dog's, yes" for one in samples})
    assert scores.n in (5000, 5004)
