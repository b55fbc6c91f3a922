"""Where a benchmark can be asked in two ways: what each does to pictures, rows and words, and what the presets choose."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import yaml
from benchmark_runs import prepare_in_process
from himap import benchmarks
from himap.benchmarks.pope import QUESTIONS_ADDED
from himap.workflow.config.load import load
from himap.workflow.plan import arguments as told
from himap.workflow.plan import settings
from himap.workflow.plan.plan import Plan
from hub_fixtures import MAKERS

PRESETS = Path(__file__).parents[2] / "presets"
CUT = {"scienceqa", "mmvet", "llavabench"}


def preset(name: str) -> Plan:
    """The plan of a preset."""
    return Plan(load(yaml.safe_load((PRESETS / f"{name}.yaml").read_text(encoding="utf-8"))))


@pytest.mark.parametrize("family", ["llava", "internvl"])
def test_pictures_are_cut_where_the_authors_cut_them_and_padded_elsewhere(family: str):
    modes = {name: benchmarks.get(name).image_mode(family) for name in benchmarks.names()}
    assert {name for name, mode in modes.items() if mode == "crop"} == CUT
    assert set(modes.values()) == {"pad", "crop"}
    assert benchmarks.get("scienceqa").image_mode(family, images="pad") == "pad"
    assert benchmarks.get("scienceqa").image_mode("qwen_vl", images="pad") is None  # it stretches every picture


def test_the_preset_asks_as_the_paper_probably_did_in_the_published_precision_and_in_one_batch_size():
    plan = preset("paper")
    assert {name: model.dtype for name, model in plan.config.models.items()} == {
        "llava-1.5-7b": "float16",
        "llava-1.5-13b": "float16",
        "internvl-chat-7b": "float16",
        "qwen-vl-chat": "bfloat16",
    }
    assert plan.image_mode("llava-1.5-7b", "scienceqa") == "crop"
    assert plan.image_mode("llava-1.5-7b", "textvqa") == "pad"
    assert plan.asked("aokvqa")["protocol"]["protocol"] == "fastv"
    assert plan.asked("pope")["protocol"]["version"] == "llava"
    assert plan.asked("flickr30k")["protocol"]["corpus"] == "karpathy"
    assert isinstance(plan.config.execution.batch_size, int)
    assert isinstance(preset("quick-gpu").config.execution.batch_size, int)


@pytest.mark.parametrize(
    ("task", "here", "other"),
    [("scienceqa", "crop", "pad"), ("aokvqa", "fastv", "llava"), ("pope", "llava", "hub")],
)
def test_the_other_way_of_asking_is_a_method_on_the_same_samples(task: str, here: str, other: str):
    plan, option = preset("paper"), benchmarks.get(task).contested
    assert plan.asked(task)["protocol"][option] == here
    assert plan.protocol(task, "asked_otherwise")[option] == other
    assert ("llava-1.5-7b", task, "asked_otherwise") in plan.table_cells("protocols")
    assert f'"{option}": "{other}"' in settings.evaluation(plan, "llava-1.5-7b", task, "asked_otherwise")
    assert '"dtype": "bfloat16"' in settings.evaluation(plan, "llava-1.5-7b", task, "in_bfloat16")


def test_pope_of_2023_lacks_ninety_questions_and_has_the_typo(tmp_path: Path):
    assert len(QUESTIONS_ADDED) == 90
    fixture = MAKERS["pope"]()
    added = {**fixture.rows[-1], "id": "added", "answer": "no", "image_source": "COCO_val2014_000000353180"}
    added["question"] = "Is there a wine glass in the image?"
    elsewhere = {**added, "id": "elsewhere", "category": "popular"}
    orange = {**added, "id": "orange", "question": "Is there an orange in the image?"}
    rows = [*fixture.rows, added, elsewhere, orange]
    for version, count in (("hub", 9), ("llava", 8)):
        folder = tmp_path / version
        path = prepare_in_process(replace(fixture, rows=rows), folder, protocol={"version": version})
        samples = list(benchmarks.read_samples(path))
        asked = {one.sample_id: benchmarks.get("pope").prompt(one, "llava", version=version).text for one in samples}
        assert len(asked) == count
        assert "elsewhere" in asked
        assert ("added" in asked) == (version == "hub")
        assert asked["orange"].startswith(f"Is there an orange in the {'image' if version == 'hub' else 'imange'}?")


def test_todays_pope_also_gives_the_score_of_llavas_questions(tmp_path: Path):
    fixture = MAKERS["pope"]()
    added = {**fixture.rows[-1], "id": "added", "answer": "no", "image_source": "COCO_val2014_000000353180"}
    added["question"] = "Is there a suitcase in the image?"
    samples = list(benchmarks.read_samples(prepare_in_process(replace(fixture, rows=[*fixture.rows, added]), tmp_path)))
    answers = dict(zip((one.sample_id for one in samples), [*fixture.answers, "Yes"], strict=True))
    score = benchmarks.score(benchmarks.get("pope"), samples, answers)
    assert score.scores["as_llava_f1"] == pytest.approx(fixture.headline)  # without the question that came later
    assert score.headline is not None
    assert score.headline < fixture.headline


def test_karpathys_pictures_come_from_their_own_repository():
    flickr = benchmarks.get("flickr30k")
    assert flickr.source_of({}).rows == 31_783
    assert flickr.source_of({"corpus": "karpathy"}).rows == 1_000
    arguments = told.samples(preset("paper"), "flickr30k")
    assert arguments[arguments.index("--protocol") + 1] == '{"corpus": "karpathy"}'


def test_qwen_forms_of_pope_and_aokvqa_are_ours_and_not_compared_with_the_paper():
    from himap.tables.records import reason

    assert [name for name in benchmarks.names() if "qwen_vl" in benchmarks.get(name).own_form] == ["pope", "aokvqa"]
    plan = preset("paper")
    column = {"source": "hub", "kind": "qa", "asked": plan.asked("aokvqa")}
    assert "this project's" in reason({"published": "QwenVL-7B", "family": "qwen_vl"}, "aokvqa", column, 1145)
    as_stated = {"template": None, "image_mode": None, "restaged": {"qa": []}}
    assert reason({"published": "LLaVA-7B", "family": "llava", **as_stated}, "aokvqa", column, 1145) == ""
