"""Our models as a model of lmms-eval: the class on requests as it makes them, and a task of its own where it is installed."""

from __future__ import annotations

import importlib
import importlib.util
import io
import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType, SimpleNamespace

import himap
import pytest
from himap.benchmarks import get, read_samples
from himap.experiments.answers import Question
from himap.experiments.batches import answer_all
from himap.inference import generate, schedule_of
from himap.mini.scenes import generator, make_scene, png
from himap.models.prompts import Prompt
from PIL import Image

ROOT = Path(__file__).resolve().parents[2]
MINI = ROOT / "models/mini"
ASK = "How many circles are there?\nAnswer the question using a single word or phrase."


class Base:
    """What lmms-eval's `lmms` gives its models: the documents by task and split."""

    def __init__(self):
        self.task_dict = {}


@dataclass
class GenerationResult:
    """What lmms-eval passes on to a task as it is."""

    text: object


@pytest.fixture(scope="module")
def tool():
    """The plug-in; where lmms-eval is not installed, on the two classes of it that it takes."""
    before = dict(sys.modules)
    if importlib.util.find_spec("lmms_eval") is None:
        for name, content in {
            "": {},
            ".api": {},
            ".api.model": {"lmms": Base},
            ".api.instance": {"GenerationResult": GenerationResult},
        }.items():
            sys.modules[f"lmms_eval{name}"] = module = ModuleType(f"lmms_eval{name}")
            vars(module).update(content)
    yield importlib.import_module("himap.tools.lmms_plugin")
    for name in [
        name for name in sys.modules if name.partition(".")[0] == "lmms_eval" or name == "himap.tools.lmms_plugin"
    ]:
        if name not in before:
            del sys.modules[name]


@pytest.fixture(scope="module")
def pictures():
    rng = generator("test", 5)
    return [Image.open(io.BytesIO(png(make_scene("shapes", rng)))) for _ in range(5)]


@pytest.fixture(scope="module")
def ours(tool, pictures):
    model = tool.Himap(str(MINI), method="himap", batch_size="3", device="cpu", max_batch_size=None)
    model.task_dict = {"task": {"test": [{"picture": picture} for picture in pictures]}}
    return model


def visual(doc):
    return [doc["picture"]]


def request(context, middle, doc_id, repeats=1):
    return SimpleNamespace(args=(context, *middle, doc_id, "task", "test"), repeats=repeats)


def test_answers_come_in_batches_and_in_order_as_our_own_are_under_the_method(ours, pictures):
    settings = [{"max_new_tokens": 8 if number % 2 else 4, "until": ["\n\n"]} for number in range(5)]
    asked = [request(f"<image>\n{ASK}", (settings[number], visual), number) for number in range(5)]
    answers = ours.generate_until(asked)
    own = [
        generate(ours.model, picture, ASK, "himap", max_new_tokens=8 if number % 2 else 4).text
        for number, picture in enumerate(pictures)
    ]
    assert answers == own
    assert len(set(answers)) > 1


def test_a_budget_of_image_tokens_is_solved_for_the_method(tool):
    model = tool.Himap(str(MINI), method="divprune", tokens_of="1/3", device="cpu")
    assert model.schedule == schedule_of(model.model, {"like": "divprune", "tokens_of": "1/3"})
    assert [stage.layer for stage in model.schedule.stages] == [0]


def test_an_answer_ends_before_the_first_text_that_is_to_end_it(tool):
    wanted = tool.Wanted.of({"until": [".", "\n\n"], "max_new_tokens": 5})
    assert wanted.cut("two\n\nthree. four") == "two"
    assert tool.Wanted.of({"until": "t"}).cut("none") == "none"


def test_the_smallest_loss_is_our_likeliest_choice_and_greedy_is_what_is_generated(ours, pictures):
    choices = ["0", "1", "2", "3", "three hundred"]
    for number, picture in enumerate(pictures[:3]):
        target = [lambda doc, choice=choice: choice for choice in choices[:2]] + choices[2:]
        pairs = [
            pair.text for pair in ours.loglikelihood([request(ASK, (choice, visual), number) for choice in target])
        ]
        losses = [loss for loss, _ in pairs]
        likely = next(answer_all(
            ours.model, [Question("1", [tool_bytes(picture)], Prompt(ASK, choices=tuple(choices)))], ours.schedule, max_new_tokens=1
        ))  # fmt: skip
        assert choices[losses.index(min(losses))] == likely["prediction"]
        said = generate(ours.model, picture, ASK, "himap", max_new_tokens=8).text
        assert [choice for choice, (_, is_greedy) in zip(choices, pairs, strict=True) if is_greedy] == [said]


def tool_bytes(picture):
    from himap.tools.lmms_plugin import encoded

    return encoded(picture)


def test_a_task_of_several_rounds_sees_the_answers_and_says_when_it_ends(ours, pictures):
    told = []

    def rounds(doc, previous_output, round_idx, previous_round_info):
        told.append((round_idx, previous_output, previous_round_info))
        return (
            [pictures[4]],
            "Is there a red circle?\nAnswer the question using a single word or phrase.",
            round_idx == 2,
            previous_output,
            "info",
        )

    asked = [request(ASK, ({"max_new_tokens": 8}, visual, rounds), number) for number in range(2)]
    answers = ours.generate_until_multi_round(asked)
    second = generate(
        ours.model,
        pictures[4],
        "Is there a red circle?\nAnswer the question using a single word or phrase.",
        "himap",
        max_new_tokens=8,
    ).text
    assert answers == [
        (generate(ours.model, pictures[n], ASK, "himap", max_new_tokens=8).text, second) for n in range(2)
    ]
    assert told == [
        (1, [answers[0][0]], None),
        (1, [answers[1][0]], None),
        (2, list(answers[0]), "info"),
        (2, list(answers[1]), "info"),
    ]


@pytest.mark.parametrize(
    ("settings", "visuals", "words"),
    [
        ({"temperature": 0.7, "do_sample": True}, visual, "temperature 0.7 asks for drawn answers.*temperature=0"),
        ({"temperature": 0.7}, visual, "drawn answers"),
        ({"num_beams": 3}, visual, "num_beams 3 asks for a beam search.*num_beams=1"),
        ({}, lambda doc: ["film.mp4"], "task/test/0: its visuals are str; himap answers questions about pictures"),
        ({}, lambda doc: [], "its visuals are none"),
    ],
)
def test_what_is_not_greedy_or_has_no_picture_is_refused_with_the_way_out(ours, settings, visuals, words):
    with pytest.raises(ValueError, match=words):
        ours.generate_until([request(ASK, (settings, visuals), 0)])


# ---- with lmms-eval itself


def lmms_python():
    """The interpreter that has lmms-eval: HIMAP_LMMS_PYTHON, or this one."""
    if named := os.environ.get("HIMAP_LMMS_PYTHON"):
        return named
    return sys.executable if importlib.util.find_spec("lmms_eval") else None


@pytest.mark.slow
@pytest.mark.skipif(
    lmms_python() is None,
    reason="lmms-eval is not installed; HIMAP_LMMS_PYTHON names a Python that has it (docs/lmms-eval.md)",
)
def test_the_tasks_of_the_page_give_the_answers_and_the_score_of_our_own_evaluation(tmp_path):
    def run(python, *arguments):
        subprocess.run([python, *arguments], cwd=tmp_path, check=True, capture_output=True, text=True)

    scripts = ROOT / "workflow_scripts"
    run(
        sys.executable,
        str(scripts / "make_mini_benchmarks.py"),
        "--benchmarks",
        "scienceqa",
        "--samples",
        "40",
        "--out",
        "mini-world",
    )
    run(
        str(lmms_python()), "-m", "lmms_eval", "--model", "himap", "--model_args", f"pretrained={MINI},method=himap",
        "--include_path", str(ROOT / "docs/lmms-eval"), "--tasks", "local_scienceqa,local_scienceqa_losses",
        "--batch_size", "16", "--device", "cpu", "--log_samples", "--output_path", "out",
    )  # fmt: skip
    run(sys.executable, str(scripts / "download_benchmark.py"), "--benchmark", "scienceqa", "--from-path", "mini-world/scienceqa.parquet",
        "--out", "samples.parquet", "--manifest", "manifest.json")  # fmt: skip
    benchmark, model = get("scienceqa"), himap.load(MINI)
    samples = list(read_samples(tmp_path / "samples.parquet"))
    questions = [
        Question(one.sample_id, one.images, benchmark.prompt(one, "llava"), "scienceqa", "pad") for one in samples
    ]
    own = {
        row["sample_id"]: row["prediction"]
        for row in answer_all(model, questions, schedule_of(model, "himap"), max_new_tokens=16)
    }
    (results,) = (tmp_path / "out").rglob("*_results.json")
    (logged,) = (tmp_path / "out").rglob("*_samples_local_scienceqa.jsonl")
    lines = [json.loads(line) for line in logged.read_text().splitlines()]
    assert {str(line["doc_id"]): line["filtered_resps"][0] for line in lines} == own
    score = sum(own[one.sample_id] == one.references[0] for one in samples) / len(samples)
    found = json.loads(results.read_text())["results"]
    assert found["local_scienceqa"]["accuracy,none"] == pytest.approx(score)
    assert score > 0.7
    assert found["local_scienceqa_losses"]["acc,none"] > 0.7
