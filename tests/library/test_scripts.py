"""The scripts that run a model, from a checkpoint and a sample file to their results; killed and started again."""

from __future__ import annotations

import dataclasses
import importlib
import io
import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import checkpoint
import pandas as pd
import pytest
import torch
from himap.experiments.answers import Asking, Question, answer_batch, encode
from himap.experiments.batches import answer_all, answer_each
from himap.experiments.disruption import Disruption, make_cut
from himap.experiments.sharing import sample_seed
from himap.models.loading import load
from himap.models.prompts import Prompt
from himap.pruning.resolve import resolve
from himap.pruning.stage import Schedule, Stage

pytestmark = pytest.mark.slow

SCRIPTS = Path(__file__).parents[2] / "workflow_scripts"
COUNT = 7


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    folder = tmp_path_factory.mktemp("scripts")
    checkpoint.write_checkpoint(folder / "tiny")
    checkpoint.write_samples(folder / "samples.parquet", COUNT)
    return folder


@pytest.fixture(scope="module")
def model(world):
    return load(world / "tiny")


@pytest.fixture(scope="module")
def methods(model):
    names = ("vanilla", "himap", "himap_released", "random", "downsample")
    return {name: resolve(name, model.dims, schedules=model.extras["schedules"]) for name in names}


def as_json(methods):
    """Resolved methods by name, as the workflow hands them to a script."""
    return json.dumps({name: schedule.to_json() for name, schedule in methods.items()})


def call(script: str, *arguments: object) -> None:
    """A script's main, in this process."""
    importlib.import_module(script).main([str(argument) for argument in arguments])


def asking(world, out, settings=None, **more):
    """The arguments that all of them take."""
    words = {
        "model": world / "tiny", "benchmark": "scienceqa", "samples": world / "samples.parquet", "device": "cpu",
        "out": out, "settings": settings if isinstance(settings, str) else json.dumps(settings or {}), **more,
    }  # fmt: skip
    return [part for key, value in words.items() for part in (f"--{key}", value)]


def rows_of(path):
    return [json.loads(line) for line in path.read_text(encoding="utf-8").split("\n") if line]


def test_shards_make_the_whole(world, methods, tmp_path):
    settings = {"max_new_tokens": 4}
    how = {"method": json.dumps(methods["himap"].to_json()), "batch-size": 2}
    call("evaluate_method", *asking(world, tmp_path / "whole.jsonl", settings, **how))
    for shard in range(3):
        out = tmp_path / f"shard-{shard}.jsonl"
        call("evaluate_method", *asking(world, out, settings, **how, shard=shard, shards=3))
    shards = [tmp_path / f"shard-{shard}.jsonl" for shard in range(3)]
    whole = ("--samples", world / "samples.parquet")
    call("merge_predictions", *whole, "--out", tmp_path / "merged.jsonl", *shards)
    merged = rows_of(tmp_path / "merged.jsonl")
    assert merged == rows_of(tmp_path / "whole.jsonl")
    assert [row["sample_id"] for row in merged] == [f"s{n}" for n in range(COUNT)]
    assert {tuple(map(len, row["kept"])) for row in merged} == {(4, 4)}  # 16 tokens are four hexadecimal digits
    assert {row["image_tokens"] for row in merged} == {16}
    assert json.loads((tmp_path / "whole.jsonl.provenance.json").read_text())["settings"]["max_new_tokens"] == 4
    with pytest.raises(ValueError, match=r"'s0' is in two shards"):
        call("merge_predictions", *whole, "--out", tmp_path / "twice.jsonl", shards[0], shards[0])
    shards[0].write_text('{"sample_id": "s0", ', encoding="utf-8")
    with pytest.raises(ValueError, match=r"shard-0\.jsonl, line 1"):
        call("merge_predictions", *whole, "--out", tmp_path / "twice.jsonl", *shards)


def test_questions_about_one_picture_are_in_one_shard_and_the_merged_file_has_the_order_of_the_samples(world, tmp_path):
    """POPE asks about a picture far apart: in shards of samples, several jobs would see each picture."""
    import pyarrow.parquet as pq

    samples = checkpoint.write_samples(tmp_path / "samples.parquet", 12)
    table, pictures = pq.read_table(samples), [f"{n % 4}.jpg" for n in range(12)]
    place = table.column_names.index("metadata")
    pq.write_table(table.set_column(place, "metadata", [[json.dumps({"imageId": name}) for name in pictures]]), samples)
    shards = [tmp_path / f"shard-{number}.jsonl" for number in range(3)]
    for number, out in enumerate(shards):
        words = {"benchmark": "gqa", "samples": samples, "method": '{"name": "vanilla", "stages": []}'}
        call("evaluate_method", *asking(world, out, {"max_new_tokens": 1}, **words, shard=number, shards=3))
    ids = [[row["sample_id"] for row in rows_of(out)] for out in shards]
    assert ids == [["s0", "s3", "s4", "s7", "s8", "s11"], ["s1", "s5", "s9"], ["s2", "s6", "s10"]]
    call("merge_predictions", "--samples", samples, "--out", tmp_path / "merged.jsonl", *shards)
    assert [row["sample_id"] for row in rows_of(tmp_path / "merged.jsonl")] == [f"s{n}" for n in range(12)]
    with pytest.raises(ValueError, match=r"no shard has sample 's1' where it belongs"):
        call("merge_predictions", "--samples", samples, "--out", tmp_path / "merged.jsonl", shards[0])


def test_line_separators_inside_an_answer_survive_merging(tmp_path):
    import pyarrow.parquet as pq

    rows = [
        {"sample_id": "a", "prediction": "one\u2028two\x85three\x0cfour\nfive"},
        {"sample_id": "b", "prediction": ""},
    ]
    text = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
    (tmp_path / "shard.jsonl").write_text(text, encoding="utf-8")
    samples = tmp_path / "samples.parquet"
    pq.write_table(
        pq.read_table(checkpoint.write_samples(samples, 2)).set_column(0, "sample_id", [["a", "b"]]), samples
    )
    shard = tmp_path / "shard.jsonl"
    call("merge_predictions", "--samples", samples, "--out", tmp_path / "merged.jsonl", shard)
    assert rows_of(tmp_path / "merged.jsonl") == rows


def test_a_killed_evaluation_goes_on_where_it_was(world, methods, tmp_path, monkeypatch):
    """SIGKILL with some answers in the journal: the next start computes the others only, and ends with the same file."""
    from himap.experiments import answers

    samples = checkpoint.write_samples(tmp_path / "many.parquet", 24)
    how = {"method": json.dumps(methods["himap_released"].to_json()), "samples": samples}
    arguments = asking(world, tmp_path / "out.jsonl", {"max_new_tokens": 16}, **how, **{"batch-size": 1})
    journal = tmp_path / "out.jsonl.journal"
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}
    command = [sys.executable, SCRIPTS / "evaluate_method.py", *arguments]
    process = subprocess.Popen([str(part) for part in command], env=environment, stderr=subprocess.DEVNULL)
    try:
        until = time.monotonic() + 300
        while not (journal.is_file() and journal.read_bytes().count(b"\n") >= 6) and process.poll() is None:
            assert time.monotonic() < until
            time.sleep(0.01)
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait()
    assert process.returncode == -signal.SIGKILL, "it ended before it could be killed"
    assert not (tmp_path / "out.jsonl").exists()
    finished = {json.loads(line)["row"]["sample_id"] for line in journal.read_text(encoding="utf-8").split("\n")[1:-1]}
    assert 4 <= len(finished) < 24

    computed = []
    inner = answers.finish_batch

    def counted(model, questions, *rest, **named):
        computed.extend(question.sample_id for question in questions)
        return inner(model, questions, *rest, **named)

    monkeypatch.setattr(answers, "finish_batch", counted)
    call("evaluate_method", *arguments)
    assert sorted(computed) == sorted({f"s{n}" for n in range(24)} - finished)
    resumed = rows_of(tmp_path / "out.jsonl")
    assert [row["sample_id"] for row in resumed] == [f"s{n}" for n in range(24)]

    computed.clear()
    call("evaluate_method", *arguments[:-1], 7)  # its end was not noted: nothing is computed, at any batch size
    assert computed == []
    assert rows_of(tmp_path / "out.jsonl") == resumed

    journal.unlink()
    computed.clear()
    call("evaluate_method", *arguments)
    assert len(computed) == 24
    assert rows_of(tmp_path / "out.jsonl") == resumed


def test_answers_do_not_depend_on_the_batch(model, methods):
    questions = [
        Question(f"q{n}", [checkpoint.encoded(n)] * (1 + n % 2), Prompt(f"What {'then ' * (3 * n)}?")) for n in range(6)
    ]
    for name in ("himap", "random", "downsample"):
        single = list(answer_all(model, questions, methods[name], max_new_tokens=5, batch_size=1, seed=3))
        for size in (2, 4, "auto"):
            assert (
                list(answer_all(model, questions, methods[name], max_new_tokens=5, batch_size=size, seed=3)) == single
            )


def test_many_methods_in_one_pass_give_the_rows_of_each_alone(model):
    """Shared first stages, stages at the same layer, none, smaller pictures, ranking again, drawing with a seed."""
    shallow, deep = Stage(2, 0.5, "instruction_attention"), Stage(5, 0.25, "image_attention")
    stages = {
        "vanilla": (),
        "himap": (shallow, deep),
        "shallow_only": (shallow,),
        "other_deep": (shallow, Stage(5, 0.125, "embedding_norm")),
        "later_deep": (shallow, Stage(6, 0.25, "image_attention")),
        "random": (Stage(2, 0.5, "random"), Stage(5, 0.25, "random")),
        "from_the_start": (Stage(0, 0.5, "spatial_uniform"), deep),
        "gradient": (Stage(2, 0.5, "gradient"),),
    }
    schedules = [Schedule(value, name) for name, value in stages.items()]
    schedules += [Schedule((shallow, deep), "released", rerank=True), Schedule((), "small", image_grid=(3, 3))]
    questions = [Question(f"q{n}", [checkpoint.encoded(n)], Prompt(f"What {'then ' * n}?")) for n in range(5)]
    for seeds in ({}, {"random": 7}):
        together = {schedule.name: [] for schedule in schedules}
        asked = [Asking(schedules, max_new_tokens=4, seeds=seeds)]
        for schedule, row in answer_each(model, questions, asked, batch_size=3):
            together[schedule.name].append(row)
        for schedule in schedules:
            seed = seeds.get(schedule.name, 0)
            alone = answer_all(model, questions, schedule, max_new_tokens=4, batch_size=3, seed=seed)
            assert together[schedule.name] == list(alone), schedule.name


def test_a_choice_is_the_likeliest_text(model, methods):
    """The mean loss of every choice, computed on the whole text without a cache."""
    import torch
    from himap.decoder.cache import Cache
    from himap.decoder.loop import forward
    from himap.decoder.tokens import join_rows, new_rows
    from himap.pruning.intervention import Pruning

    choices = ("A", "B longer", "C")
    questions = [
        Question(f"q{n}", [checkpoint.encoded(n)], Prompt(f"What {n}?" * (n + 1), choices=choices)) for n in range(3)
    ]
    rows = answer_batch(model, questions, methods["vanilla"], max_new_tokens=3)
    for question, row in zip(questions, rows, strict=True):
        prompt, losses = encode(model, [question]), {}
        for choice in choices:
            ids = torch.tensor([model.answer_ids(choice)])
            places = prompt.positions[:, -1:] + 1 + torch.arange(ids.shape[1])[None]
            whole = join_rows(prompt, new_rows(model.embed_tokens(ids), places))
            out = forward(model, whole, Cache(), [Pruning(model, [], prompt, [0])]).hidden
            logits = model.head(model.norm(out))[0, -ids.shape[1] - 1 : -1].log_softmax(-1)
            losses[choice] = -float(logits.gather(1, ids[0][:, None]).mean())
        assert row["prediction"] == min(losses, key=losses.__getitem__)


def test_saliency_rows(world, model, tmp_path):
    from himap.experiments.saliency import saliency
    from himap.models.loading import redraw_weights

    settings = {"limit": 2, "targets": ["emitted", "released"], "seed": 4}
    call("extract_saliency", *asking(world, tmp_path / "saliency.parquet", settings))
    found = pd.read_parquet(tmp_path / "saliency.parquet")
    layers = model.dims.layers
    counts = found.groupby(["weights", "target", "definition"]).size()
    assert set(counts) == {2 * layers}
    asked_for = [
        ("random", "emitted"),
        ("trained", "emitted"),
        ("trained", "released"),
    ]  # the control: the first target
    assert list(counts.index) == [(*one, name) for one in asked_for for name in ("paper", "released")]
    frame = found[(found.sample_id == "s1") & (found.definition == "paper")]
    frame = frame.set_index(["weights", "target", "layer"]).sort_index()
    from himap.benchmarks import get, read_samples
    from himap.workflow.jobs.model_script import question

    sample = list(read_samples(world / "samples.parquet"))[1]
    asked = question(sample, get("scienceqa"), "llava", {})
    for weights in ("trained", "random"):
        other = load(world / "tiny")
        if weights == "random":
            redraw_weights(other, 4)
        expected = saliency(other, encode(other, [asked]), model.answer_ids("B")[0])
        written = frame.loc[(weights, "emitted"), "instruction_from_image"]
        assert written.tolist() == pytest.approx(expected.block("paper", "instruction", "image").tolist(), rel=1e-3)
    assert frame.loc[("trained", "emitted", 0), "size_image"] == 16


def test_disruption_rows(world, model, tmp_path):
    from himap.benchmarks import get, read_samples
    from himap.decoder.generation import generate
    from himap.workflow.jobs.model_script import question

    settings = {"limit": 2, "only_correct": False, "new_tokens": 3, "flows": ["img2txt", "random"], "seed": 5}
    settings["blocks"] = ["pre", "post"]
    call("disrupt_attention", *asking(world, tmp_path / "cut.parquet", settings, layers="2-4"))
    found = pd.read_parquet(tmp_path / "cut.parquet")
    assert found.groupby(["block", "flow"]).size().to_dict() == {
        ("pre", "img2txt"): 12, ("pre", "random"): 12, ("post", "img2txt"): 12,
    }  # fmt: skip
    assert set(found.layer) == {2, 3, 4}
    sample = next(iter(read_samples(world / "samples.parquet")))
    prompt = encode(model, [question(sample, get("scienceqa"), "llava", {})])
    for row in found[found.sample_id == "s0"].itertuples():
        cut = make_cut(row.flow, row.layer, row.extent, model.dims.layers)
        direct = generate(model, prompt, 3, [Disruption([cut], prompt, [sample_seed(5, "s0")], row.block)])
        assert row.answer == model.detokenize(direct.ids[0])
        assert row.same_answer == (row.answer == row.clean_answer)
        assert row.reference_in_answer == ("A" in row.answer)
        assert 0 <= row.jaccard <= 1


@pytest.mark.parametrize(("layers", "words"), [("4-2", "4-2"), ("a", "'a'"), ("0-10", "last layer 9")])
def test_bad_layers_are_named(world, tmp_path, layers, words):
    with pytest.raises(ValueError, match=words):
        call("disrupt_attention", *asking(world, tmp_path / "cut.parquet", layers=layers))


def test_flops_rows(world, methods, tmp_path):
    for name, method in methods.items():
        told = json.dumps(method.to_json())
        call("count_flops", *asking(world, tmp_path / f"{name}.csv", {"measured": 2}, method=told))
    costs = [pd.read_csv(tmp_path / f"{name}.csv") for name in methods]
    found = pd.concat(costs).set_index(["method", "convention"])
    assert set(found.index) == {(m, c) for m in methods for c in ("paper", "gated", "prompt", "measured")}
    assert (found.loc["vanilla"].ratio == 1).all()
    assert (found.loc["himap"].ratio < 1).drop("measured").all()
    assert found.loc[("downsample", "paper"), "image_tokens"] == 9


def test_a_wrong_stage_of_one_of_several_methods_is_named_with_its_method(world, tmp_path):
    methods = '{"vanilla": {"stages": []}, "mine": {"stages": [{"layer": 1, "keep": 1.5, "criterion": "random"}]}}'
    with pytest.raises(ValueError, match=r"--methods: mine: stages\[0\].keep: 1.5 is outside \(0, 1\]"):
        call("measure_latency", *asking(world, tmp_path / "out.csv", methods=methods))


def test_latency_generates_at_least_what_the_benchmark_asks_for(model):
    from himap.experiments.latency import Protocol, time_methods

    sample = Question("s", [checkpoint.encoded(1)], Prompt("Describe it."))
    method = {"vanilla": Schedule()}
    before = model.end_ids
    model.end_ids = frozenset(range(model.dims.vocab - 1))  # nearly every token ends the answer
    try:
        counts = [
            next(time_methods(model, [sample], method, Protocol(9, 1, min_new_tokens=least)))["generated_tokens"]
            for least in (0, 6)
        ]
    finally:
        model.end_ids = before
    assert counts[0] == 1
    assert counts[1] >= 6


def test_evaluation_saliency_and_disruption_cut_scienceqas_pictures_and_pad_others(model):
    """All of them ask by `question` and `encode`; a wide picture's sides are gone only where its authors cut them."""
    from himap.benchmarks import Sample, get
    from himap.experiments.pictures import pixels_of
    from himap.workflow.jobs.model_script import question

    stream = io.BytesIO()
    checkpoint.picture(1, (100, 40)).save(stream, "PNG")
    sample = Sample("s", "What?", ["one", "two"], ["A"], [stream.getvalue()])
    bars = {
        name: float(pixels_of(model, question(sample, get(name), "llava", protocol))[0, :, 0].std(dim=1).max()) < 0.01
        for name, protocol in (("scienceqa", {}), ("vqav2", {}), ("mmvet", {}), ("llavabench", {}), ("chartqa", {}))
    }
    assert bars == {"scienceqa": False, "vqav2": True, "mmvet": False, "llavabench": False, "chartqa": True}
    padded = question(sample, get("scienceqa"), "llava", {"images": "pad"})
    assert not torch.equal(encode(model, [padded]).hidden, encode(model, [replace(padded, image_mode="crop")]).hidden)


def test_latency_rows(world, methods, tmp_path):
    settings = {"examples": 2, "rounds": 2, "max_new_tokens": 2}
    call("measure_latency", *asking(world, tmp_path / "latency.csv", settings, methods=as_json(methods)))
    found = pd.read_csv(tmp_path / "latency.csv")
    assert found["method"].tolist() == list(methods) * 4  # in turns
    assert (found.filter(like="seconds").drop(columns="seconds_scoring") > 0).all(axis=None)
    has_stages = found["method"].map({name: bool(method.stages) for name, method in methods.items()})
    assert ((found["seconds_scoring"] > 0) == has_stages).all()
    assert (found["seconds_scoring"] < found["seconds_prefill"]).all()
    parts = found.seconds_vision + found.seconds_prefill + found.seconds_answer
    assert (parts - found.seconds_total).abs().max() < 1e-5


def test_a_grid_equals_separate_runs(world, model, tmp_path):
    from himap.benchmarks import get, read_samples
    from himap.workflow.jobs.model_script import question

    grid = {"k1": [0, 1, 3], "r1": [0.5], "k2": [2, 5], "r2": [0.25, 0.0625]}
    for first in ("instruction_attention", "spatial_uniform"):
        criteria = [first, "image_attention"]
        named = {**grid, "k1": grid["k1"] if first == "spatial_uniform" else [1, 3]}
        settings = {**named, "criteria": criteria, "max_new_tokens": 3, "limit": 3}
        call("explore_grid", *asking(world, tmp_path / "grid.jsonl", settings, **{"batch-size": 3}))
        found = rows_of(tmp_path / "grid.jsonl")
        schedules = {(row["k1"], row["r1"], row["k2"], row["r2"]) for row in found}
        assert schedules == {
            (0, 1.0, 0, 1.0),  # the unpruned model; all others keep a share r2 of what r1 left
            *((k1, r1, k2, r1 * r2) for k1 in named["k1"] for r1 in grid["r1"] for k2 in grid["k2"] for r2 in grid["r2"] if k2 > k1),
        }  # fmt: skip
        assert len(found) == 3 * len(schedules)
        samples = list(read_samples(world / "samples.parquet"))[:3]
        questions = [question(sample, get("scienceqa"), "llava", {}) for sample in samples]
        for k1, r1, k2, r2 in schedules:
            stages = (Stage(k1, r1, first), Stage(k2, r2, criteria[1])) if k2 else ()
            schedule = Schedule(stages)
            direct = answer_all(model, questions, schedule, max_new_tokens=3)
            ours = {
                row["sample_id"]: row["prediction"]
                for row in found
                if (row["k1"], row["r1"], row["k2"], row["r2"]) == (k1, r1, k2, r2)
            }
            assert ours == {row["sample_id"]: row["prediction"] for row in direct}


def test_a_manifest(world, tmp_path):
    call("fetch_model", "--path", world / "tiny", "--out", tmp_path / "manifest.json")
    found = json.loads((tmp_path / "manifest.json").read_text())
    assert found["model_type"] == "llava"
    names = {entry["name"]: entry["bytes"] for entry in found["files"]}
    assert names["model.safetensors"] == (world / "tiny" / "model.safetensors").stat().st_size
    with pytest.raises(ValueError, match=r"revision.*missing"):
        call("fetch_model", "--id", "someone/something", "--out", tmp_path / "manifest.json")
    (tmp_path / "config.json").write_text("{}", encoding="utf-8")
    with pytest.raises(ValueError, match="no weights"):
        call("fetch_model", "--path", tmp_path, "--out", tmp_path / "manifest.json")


@pytest.mark.parametrize(
    ("more", "words"),
    [
        ({"settings": '{"dtyp": "float32"}'}, ["dtyp", "'dtype'"]),
        ({"settings": "{"}, ["--settings", "not valid JSON"]),
        ({"settings": "[]"}, ["--settings", "JSON object"]),
        ({"settings": '{"dtype": "half"}'}, ["dtype", "half", "float16"]),
        ({"settings": '{"batch_size": 2}'}, ["batch_size"]),
        ({"settings": '{"max_new_tokens": -1}'}, ["max_new_tokens", "-1"]),
        (
            {"method": '{"stages": [{"layer": 9, "keep": 0.5, "criterion": "random"}]}'},
            ["stages[0].layer", "9", "0 to 8"],
        ),
        ({"method": '{"stages": [{"layer": 1, "keep": 0.5, "criterion": "rnd"}]}'}, ["rnd", "'random'"]),
        ({"method": '{"stages": [{"layer": 1, "keep": 0.5}]}'}, ["stages[0].criterion", "missing"]),
        ({"method": "himap"}, ["--method", "not valid JSON"]),
        ({"shard": "3", "shards": "2"}, ["--shard", "3", "0 to 1"]),
        ({"benchmark": "sciencqa"}, ["sciencqa", "scienceqa"]),
        ({"model": "nowhere"}, ["nowhere", "no such folder"]),
    ],
)
def test_bad_arguments_are_named(world, tmp_path, more, words):
    given = {"method": '{"name": "vanilla"}', **more}
    with pytest.raises(ValueError) as caught:
        call("evaluate_method", *asking(world, tmp_path / "out.jsonl", **given))
    assert all(word in str(caught.value) for word in words), caught.value
    assert not (tmp_path / "out.jsonl").exists()


def test_samples_without_an_image_or_with_a_broken_one_are_named(model):
    method = Schedule()
    with pytest.raises(ValueError, match=r"'bare' has no image"):
        answer_batch(model, [Question("bare", [], Prompt("What?"))], method, max_new_tokens=1)
    with pytest.raises(ValueError, match=r"'torn'.*image cannot be read"):
        answer_batch(model, [Question("torn", [checkpoint.encoded(1)[:50]], Prompt("What?"))], method, max_new_tokens=1)


def test_time_and_memory_are_measured_alone_and_in_batches_and_the_eager_kernel_is_a_row_of_its_own(
    world, methods, tmp_path
):
    chosen = {name: methods[name] for name in ("vanilla", "himap")}
    settings = {"examples": 2, "rounds": 1, "max_new_tokens": 3, "batches": [2, 3], "eager": True}
    call("measure_latency", *asking(world, tmp_path / "latency.csv", settings, methods=as_json(chosen)))
    found = pd.read_csv(tmp_path / "latency.csv")
    arms = found.groupby(["method", "kernel"], sort=False).size()
    assert arms.to_dict() == {("vanilla", "flash"): 4, ("himap", "flash"): 4, ("vanilla", "eager"): 4}
    assert found.groupby("batch_size").size().to_dict() == {1: 3 * 2, 2: 3, 3: 3}  # three of two: one comes twice
    first = found.drop_duplicates(["method", "kernel", "batch_size"]).set_index(["kernel", "method", "batch_size"])
    vanilla, himap = first.loc["flash"].loc["vanilla"], first.loc["flash"].loc["himap"]
    assert (himap["cache_mb"] < vanilla["cache_mb"]).all()
    assert (himap["tokens_per_layer"] < vanilla["tokens_per_layer"]).all()
    assert (himap["ideal_speedup"] > 1).all()
    assert vanilla["cache_mb"][2] > 1.9 * vanilla["cache_mb"][1]
    assert (found["tflops_counted"] > found["tflops_formula"]).all()  # the head, and what scoring takes


def test_random_weights_are_timed_without_any_file_and_the_same_seed_gives_the_same_model(tmp_path):
    from himap.experiments.random_weights import random_questions, random_weights
    from himap.workflow.config.sections.analyses import RandomWeights

    entry = RandomWeights(
        layers=10, width=64, heads=2, ffn=64, image_tokens=16, text_tokens=40, batches=[2], eager=True
    )
    sizes = json.dumps(dataclasses.asdict(entry.dims))
    schedules = as_json({name: resolve(name, entry.dims) for name in entry.methods})
    settings = json.dumps({**entry.model_dump(), "seed": 3})
    out = tmp_path / "latency.csv"
    call(
        "time_random_weights",
        "--sizes",
        sizes,
        "--methods",
        schedules,
        "--settings",
        settings,
        "--device",
        "cpu",
        "--out",
        out,
    )
    found = pd.read_csv(out)
    assert len(found) == 4 * (3 + 1)  # arms, prompts one at a time and one batch of two
    assert (found["generated_tokens"] == 4 * found["batch_size"]).all()
    assert (found["text_tokens"] == 40).all()
    assert json.loads(Path(f"{out}.provenance.json").read_text())["model"]["source"] == "random weights"
    ours, again, other = (random_weights(entry.dims, text_tokens=40, seed=seed) for seed in (3, 3, 4))
    ids = [each.tokenize(random_questions(1)[0].prompt, [16]) for each in (ours, again, other)]
    assert ids[0] == ids[1] != ids[2]
    assert torch.equal(ours.head.weight, again.head.weight)
