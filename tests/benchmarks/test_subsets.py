"""Limited runs: deterministic, balanced, whole pairs, the same images."""

from __future__ import annotations

from collections import Counter

import pytest
from himap import benchmarks
from himap.benchmarks.samples.subset import Key, choose
from himap.files import read_json
from hub_fixtures import MAKERS, picture


def keys(n: int) -> list[Key]:
    """Samples without groups or strata."""
    return [Key(str(number), str(number), "", str(number)) for number in range(n)]


def test_the_same_seed_takes_the_same_samples_in_their_order():
    chosen = choose(keys(1000), 50, seed=3)
    assert chosen == choose(keys(1000), 50, seed=3)
    assert chosen == sorted(chosen)
    assert len(set(chosen)) == 50
    assert chosen != choose(keys(1000), 50, seed=4)


def test_a_larger_limit_takes_the_smaller_ones_samples_too():
    assert set(choose(keys(1000), 50, seed=3)) < set(choose(keys(1000), 200, seed=3))


def test_a_limit_beyond_the_set_takes_all_of_it():
    assert choose(keys(5), 9, seed=0) == [0, 1, 2, 3, 4]


def test_a_subset_is_drawn_from_the_whole_set():
    chosen = choose(keys(1000), 100, seed=0)
    assert 10 < sum(position < 200 for position in chosen) < 35


def test_strata_give_the_same_number_and_small_ones_what_they_have():
    sizes = {"a": 3, "b": 50, "c": 50}
    everything = [
        Key(f"{name}{at}", f"{name}{at}", name, f"{name}{at}") for name, size in sizes.items() for at in range(size)
    ]
    chosen = choose(everything, 43, seed=0)
    assert Counter(everything[at].stratum for at in chosen) == {"a": 3, "b": 20, "c": 20}


def test_mme_is_taken_by_image_over_all_subtasks(prepared, tmp_path):
    fixture = MAKERS["mme"]()
    for number in range(4):
        image = {"question_id": f"count/x{number}.jpg", "image": picture(number), "category": "count"}
        fixture.rows.append(image | {"question": "One?", "answer": "Yes"})
        fixture.rows.append(image | {"question": "Two?", "answer": "No"})
    samples = list(benchmarks.read_samples(prepared(fixture, limit=3, seed=1)))
    assert Counter(one.metadata["category"] for one in samples) == {"existence": 2, "count": 2, "code_reasoning": 2}
    assert set(Counter(one.metadata["question_id"] for one in samples).values()) == {2}
    assert read_json(tmp_path / "manifest.json")["subset"] == {"limit": 3, "seed": 1, "n_total": 16}


def test_pope_takes_the_same_images_in_every_setting(prepared):
    fixture = MAKERS["pope"]()
    fixture.rows.clear()
    for number, setting in enumerate(("adversarial", "popular", "random")):
        for at in range(60):
            row = {"id": str(60 * number + at), "question_id": str(at), "question": "Is there?", "category": setting}
            source = f"COCO_{at // 6}"
            fixture.rows.append(
                row | {"answer": "yes" if at % 2 else "no", "image_source": source, "image": picture(at // 6)}
            )
    samples = list(benchmarks.read_samples(prepared(fixture, limit=36, seed=0)))
    assert Counter(one.metadata["category"] for one in samples) == {"adversarial": 12, "popular": 12, "random": 12}
    images = {
        setting: {one.metadata["image_source"] for one in samples if one.metadata["category"] == setting}
        for setting in ("adversarial", "popular", "random")
    }
    assert images["adversarial"] == images["popular"] == images["random"]
    assert len(images["random"]) == 2


def test_samples_of_a_subset_are_those_of_the_whole_set(prepared):
    fixture = MAKERS["chartqa"]()
    whole = {one.sample_id: one for one in benchmarks.read_samples(prepared(fixture))}
    part = list(benchmarks.read_samples(prepared(fixture, limit=4, seed=5)))
    assert [whole[one.sample_id] for one in part] == part
    assert Counter(one.metadata["type"] for one in part) == {"human": 2, "augmented": 2}


@pytest.mark.parametrize(("name", "limit"), [("pope", 0), ("vqav2", -3)])
def test_a_limit_that_leaves_nothing_is_an_error(name: str, limit: int, prepared):
    with pytest.raises(ValueError, match=f"limit {limit} leaves nothing"):
        prepared(MAKERS[name](), limit=limit)
