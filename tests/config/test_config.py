"""The config: what is wrong is said all at once, with path, value, what is allowed and the nearest name."""

from __future__ import annotations

import contextlib
import json
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from himap.pruning.stage import read_stages
from himap.tables.builtin import load_all as builtin_tables
from himap.workflow.command_line import TOOLS
from himap.workflow.config import documentation as generated
from himap.workflow.config import schema as config_module
from himap.workflow.config.documentation import documentation, schema
from himap.workflow.config.load import load
from himap.yaml_files import ConfigError

ROOT = Path(__file__).resolve().parents[2]
Edit = Callable[[dict[str, Any]], None]


@pytest.fixture
def raw() -> dict[str, Any]:
    """The default config, with each method's stages as one list, to be spoilt."""
    config = yaml.safe_load((ROOT / "config.yaml").read_text())
    for method in ("fastv", "himap"):
        config["methods"][method]["stages"] = config["methods"][method]["stages"]["qa"]
    return config


def problems(raw: Any) -> list[str]:
    """What is said about a config."""
    with pytest.raises(ConfigError) as caught:
        load(raw)
    return caught.value.problems


def put(path: str, value: Any) -> Edit:
    """An edit that sets one value; numbers in the path are positions."""

    def edit(raw: dict[str, Any]) -> None:
        *parts, last = [int(part) if part.isdigit() else part for part in path.split("/")]
        place: Any = raw
        for part in parts:
            place = place.setdefault(part, {}) if isinstance(place, dict) else place[part]
        place[last] = value

    return edit


WRONG: list[tuple[Edit, str]] = [
    (put("sed", 1), "sed: unknown key (did you mean 'seed'?)"),
    (put("seed", "zero"), "seed: 'zero': should be a valid integer"),
    (put("seed", -1), "seed: -1: should be greater than or equal to 0"),
    (put("output", "a b"), "output: 'a b' is not allowed; it must match ^[A-Za-z0-9._/-]+$"),
    (put("models", {}), "models: at least one model is needed"),
    (put("models/mini/path", None), "models.mini: needs either `path` (a local folder) or `id` (a hub id), not both and not neither"),
    (put("models/mini/path", "nowhere"), "models.mini.path: 'nowhere' holds no config.json; give the folder of a checkpoint"),
    (put("models/other", {"id": "a/b"}), "models.other.revision: is required with `id`"),
    (put("models/mini/convert", True), "models.mini.dims: is required with `convert`"),
    (put("models/mini/tower", "a/b"), "models.mini.tower: is only allowed together with `convert`"),
    (put("models/mini/tower", "a/b"), "models.mini.tower_revision: is required: 'a/b' is no folder, so it is taken from the hub"),
    (put("models/mini/text_tower", "a/b"), "models.mini.text_tower: 'a/b' is no folder, so it is taken from the hub and needs its commit: `a/b@<commit>`"),
    (put("tables/table1", {"methods": ["vanilla", "cdpruner"]}), "methods.cdpruner: on mini: 'cdpruner' compares pictures with the question by CLIP's text tower; name that CLIP as `models.mini.text_tower` (docs/rivals.md), or leave the method out (built in; give `methods.cdpruner` stages of your own, or name it in no table and not in `latency.methods`)"),
    (put("models/mini/original", {"id": "a/b"}), "models.mini.original.revision: is required with `id`"),
    (put("models/mini/original", {}), "models.mini.original: needs either `path` (a local folder) or `id` (a hub id), not both and not neither"),
    (put("models/other", {"path": "models/mini", "family": "qwen_vl", "original": {"path": "x"}}), "models.other.original: is only allowed with the family llava: the original implementation runs no other"),
    (put("verification/benchmark", "popee"), "verification.benchmark: unknown benchmark 'popee' (did you mean 'pope'?)"),
    (put("models/mini/dtype", "float64"), "models.mini.dtype: 'float64' is not one of 'float32', 'float16' or 'bfloat16' (did you mean 'float16'?)"),
    (put("benchmarks/popee", {}), "benchmarks.popee: unknown benchmark (did you mean 'pope'?)"),
    (put("benchmarks/pope/shards", 0), "benchmarks.pope.shards: 0: should be greater than or equal to 1"),
    (put("benchmarks/pope/limit", 1.5), "benchmarks.pope.limit: 1.5: should be a valid integer"),
    (put("benchmarks/pope/source", "nowhere.parquet"), "benchmarks.pope.source: 'nowhere.parquet' is neither `hub` nor `mini` nor a file or folder that exists"),
    (put("methods/himap/stages/0/layr", 2), "methods.himap.stages[0].layr: unknown key (did you mean 'layer'?)"),
    (put("methods/himap/stages/0/layer", 11), "methods.himap.stages[0].layer: 11 is not below the last layer of mini (allowed: 0 to 10)"),
    (put("methods/himap/stages/1/layer", 1), "methods.himap.stages[1].layer: 1 must be above the layer of the stage before (3); put stages in order of their layers"),
    (put("methods/himap/stages/1/keep", 0.75), "methods.himap.stages[1].keep: 0.75 is more than the 0.5 that is left; shares are of the original image tokens and fall from stage to stage"),
    (put("methods/himap/stages/0/keep", 1.5), "methods.himap.stages[0].keep: 1.5: is outside (0, 1]; give a share of the original image tokens, or a whole number as a count"),
    (put("methods/himap/stages/0/keep", True), "methods.himap.stages[0].keep: True: is no number; give a share in (0, 1] or a count of image tokens"),
    (put("methods/himap/stages/1/keep", 0.5), "methods.himap.stages[1].keep: 0.5 is what the stage before keeps, so nothing is dropped; shares are of the original image tokens"),
    (put("methods/himap/stages/0/layer", 0), "methods.himap.stages[0].criterion: 'instruction_attention' looks at the layer below, and layer 0 has none; allowed there: cdpruner, divprune, dpp, embedding_norm, fastervlm, gradient, pyramiddrop, random, spatial_uniform, visionzip, vispruner"),
    (put("methods/himap/stages", [{"layer": 3, "keep": 40, "criterion": "random"}, {"layer": 5, "keep": 41, "criterion": "random"}]), "methods.himap.stages[1].keep: 41 is more than the 40 that are left"),
    (put("methods/himap/stages/0/criterion", "imge_attention"), "methods.himap.stages[0].criterion: unknown criterion 'imge_attention' (did you mean 'image_attention'?)"),
    (put("methods/himap/stages/0/keep", 1), "methods.himap.stages[0].keep: 1: a count of one token, or all of them? write 1.0 for all; a tiny share keeps a single token"),
    (put("methods/himap/stages/0/keep", 500), "methods.himap: on mini (caption): stages[0].keep: 500 is 500 image tokens, but only 144 are left"),
    (put("methods/himap/stages/1/keep", 100), "methods.himap: on mini (caption): stages[1].keep: 100 is 100 image tokens, but only 72 are left"),
    (put("methods/new", {"like": "himap", "criteria": ["random"]}), "methods.new: on mini (caption): 1 criteria for 2 stages of 'himap'"),
    (put("methods/new", {"like": "himap", "criteria": []}), "methods.new.criteria: is empty; name at least one, or leave the key out"),
    (put("methods/new", {"like": "himap", "only": [5]}), "methods.new: on mini (caption): only: 5 is beyond the 2 stages of 'himap'"),
    (put("methods/new", {"like": "himap", "only": []}), "methods.new.only: is empty; name at least one, or leave the key out"),
    (put("methods/fastv/models", {"mini": {"stages": [{"layer": 2, "keep": 145, "criterion": "random"}]}}), "methods.fastv: on mini (caption): stages[0].keep: 145 is 145 image tokens, but only 144 are left"),
    (put("methods/new", {"like": "himapp"}), "methods.new.like: unknown method 'himapp' (did you mean 'himap'?)"),
    (put("methods/new", {"like": "new"}), "methods.new: is defined in a circle: new -> new"),
    (put("methods/new", {"like": "himap", "downsample": True, "flops_of": "himap"}), "methods.new: must say what it does by exactly one of stages, like, every_layer, before_decoder, downsample; it has like, downsample"),
    (put("methods/new", {"downsample": True}), "methods.new.flops_of: is required: the method whose FLOPs are to be met; or give tokens_of, a number of image tokens"),
    (put("methods/new", {"stages": [], "criterion": "random"}), "methods.new.criterion: is only allowed together with `like`"),
    (put("tables/table1", {"methods": ["vanilla", "hymap"]}), "tables.table1.methods[1]: unknown method 'hymap' (did you mean 'himap'?)"),
    (put("tables/table1", {"benchmarks": ["mmee"]}), "tables.table1.benchmarks[0]: unknown benchmark 'mmee' (did you mean 'mme'?)"),
    (put("tables/table1", {"models": ["mimi"]}), "tables.table1.models[0]: unknown model 'mimi' (did you mean 'mini'?)"),
    (put("tables/table1", {"methods": []}), "tables.table1.methods: is empty; name at least one, or leave the key out"),
    (put("tables/table1", {"models": []}), "tables.table1.models: is empty; name at least one, or leave the key out"),
    *((put(f"tables/{name}", {}), f"tables.{name}: is the name of another target; choose a different one") for name in ("all", "figure3", "make_table", "efficiency", *TOOLS)),
    (put("saliency/definitions", []), "saliency.definitions: is empty; name at least one, or leave the key out"),
    *((put(f"disruption/{key}", []), f"disruption.{key}: is empty; name at least one, or leave the key out") for key in ("flows", "extents", "blocks", "layers")),
    (put("latency/methods", []), "latency.methods: is empty; name at least one, or leave the key out"),
    (put("latency/methods", ["fastvv"]), "latency.methods[0]: unknown method 'fastvv' (did you mean 'fastv'?)"),
    (put("disruption/layers", [3, 12]), "disruption.layers[1]: 12 is not a layer of mini, which has 12 (0 to 11)"),
    (put("disruption/flows", ["img2text"]), "disruption.flows[0]: 'img2text' is not one of 'img2txt', 'img2img', 'random' or 'random_unmatched' (did you mean 'img2txt'?)"),
    (put("grid/k2", [5, 11]), "grid.k2[1]: 11 is not below the last layer of mini, which has 12"),
    (put("grid/k1", [10]), "grid: has no schedule whose deep stage comes after its shallow one (k2 > k1)"),
    (put("grid/r1", []), "grid.r1: is empty; name at least one, or leave the key out"),
    (put("grid/k1", [0]), "grid.k1[0]: 0: should be greater than or equal to 1"),
    (put("grid/benchmarks", ["scienceqa", "mmvet"]), "grid.benchmarks[1]: 'mmvet' is judged; a grid needs a benchmark that is scored by rules"),
    (put("figures/figure9", {}), "figures.figure9: unknown key (did you mean 'figure8'?)"),
    (put("judge", {}), "judge.base_url: is required"),
    (put("judge", {"base_url": "foo"}), "judge.base_url: 'foo' is not the address of an endpoint; write http:// or https://, a host and the path, as in https://api.openai.com/v1"),
    (put("judge", {"base_url": "https:///v1"}), "judge.base_url: 'https:///v1' is not the address of an endpoint; write http:// or https://, a host and the path, as in https://api.openai.com/v1"),
    (put("judge", {"base_url": "https://a/v1", "unreadable": 1}), "judge.unreadable: 1: should be less than 1"),
    (put("seed", 2**63), "seed: 9223372036854775808: should be less than or equal to 9223372036854775807"),
    *((put("output", folder), f"output: {folder!r}: the project itself lies in this folder; name a folder for results alone, e.g. results/mine") for folder in ("/", "//", ".", "../..", "results/..", str(ROOT))),
    *((put("output", folder), f"output: {folder!r}: {own} is a folder of the project; name a folder for results alone, e.g. results/mine") for folder, own in (("rules", "rules"), ("./docs/", "docs"), ("results/../models/new", "models"), (".snakemake", ".snakemake"))),
    (put("tables/table1", {"benchmarks": ["pope", "mme", "pope"]}), "tables.table1.benchmarks: ['pope', 'mme', 'pope']: 'pope' is named twice; name it once"),
    (put("tables/table1", {"models": ["mini", "mini"]}), "tables.table1.models: ['mini', 'mini']: 'mini' is named twice; name it once"),
    (put("disruption/layers", [3, 3]), "disruption.layers: [3, 3]: 3 is named twice; name it once"),
    (put("grid/r1", [0.5, 0.50]), "grid.r1: [0.5, 0.5]: 0.5 is named twice; name it once"),
    (put("grid", {}), "grid.k2[1]: 12 is not below the last layer of mini, which has 12 (the default; give `grid.k2` values of your own, or leave it out with `grid: {benchmarks: []}`)"),
    (put("disruption/flows", ["img2txt"]), "disruption.flows: ['img2txt'] lacks img2img; Figure 6 compares img2txt with img2img, add it"),
    (put("disruption/benchmarks", ["scienceqa", "mmvet"]), "disruption.benchmarks[1]: 'mmvet' is judged, so no answer is known to be right; set `disruption.only_correct: false` or leave it out"),
    *((put("methods/vanilla", method), "methods.vanilla: must stay the model as it is (`stages: []`), as all others are compared with it; give this method another name")
      for method in ({"stages": [{"layer": 3, "keep": 0.5, "criterion": "random"}]}, {"like": "himap"}, {"stages": [], "models": {"mini": {"stages": [{"layer": 3, "keep": 0.5, "criterion": "random"}]}}})),
    (put("methods/1", {"stages": []}), "methods: the key 1 is not text (number); use a name, or put it in quotes"),
    (put("benchmarks/pope", {"protocol": {None: 1}}), "benchmarks.pope.protocol: holds a value without a key; write a name before its colon"),
    (lambda raw: raw["models"].update({"path": "models/mini"}), "models.path: 'models/mini': should be a valid dictionary or instance of Model"),
]  # fmt: skip


@pytest.mark.parametrize(
    ("edit", "line"), WRONG, ids=[line.split(": ")[0] + str(n) for n, (_, line) in enumerate(WRONG)]
)
def test_a_mistake_is_named_with_its_place_and_what_is_allowed(raw: dict[str, Any], edit: Edit, line: str) -> None:
    edit(raw)
    assert line in problems(raw)


def test_all_mistakes_are_listed_at_once(raw: dict[str, Any]) -> None:
    chosen = [
        put("sed", 1),
        put("benchmarks/pope/shards", 0),
        put("methods/fastv/stages/0/criterion", "x"),
        put("grid/k2", [99]),
    ]
    for edit in chosen:
        edit(raw)
    found = "\n".join(problems(raw))
    for path in ("sed:", "benchmarks.pope.shards:", "methods.fastv.stages[0].criterion:", "grid.k2[0]:"):
        assert path in found


@pytest.mark.parametrize("raw", [None, [], "text", {}])
def test_an_empty_or_foreign_file_is_refused(raw: Any) -> None:
    assert problems(raw)


def test_the_default_config_and_the_presets_are_valid() -> None:
    for path in (ROOT / "config.yaml", *sorted((ROOT / "presets").glob("*.yaml"))):
        load(yaml.safe_load(path.read_text()))


def test_a_method_of_the_config_replaces_the_builtin_one_and_a_table_is_laid_over_it(raw: dict[str, Any]) -> None:
    raw["methods"]["fastv"] = {"like": "himap", "criterion": "random"}
    raw["tables"] = {"table1": {"models": ["mini"]}}
    config = load(raw)
    assert config.methods["fastv"].stages is None
    assert config.tables["table1"].models == ["mini"]
    assert config.tables["table1"].benchmarks == builtin_tables()["table1"]["benchmarks"]


def test_stages_may_differ_by_kind_of_task(raw: dict[str, Any]) -> None:
    stages = [{"layer": 3, "keep": 40, "criterion": "random"}, {"layer": 5, "keep": 0.25, "criterion": "random"}]
    raw["methods"]["himap"] = {"stages": {"qa": stages, "caption": stages}}
    load(raw)
    raw["methods"]["himap"]["stages"]["captions"] = []
    assert "methods.himap.stages.captions: unknown key (did you mean 'caption'?)" in problems(raw)


def test_a_mistake_is_said_once_and_not_of_every_method_that_follows_from_it(raw: dict[str, Any]) -> None:
    raw["methods"]["himap"]["stages"][1]["keep"] = 100
    assert [line.split(":")[0] for line in problems(raw)] == ["methods.himap"]
    raw["methods"]["himap"]["stages"][1]["keep"] = 1.5
    assert [line.split(":")[0] for line in problems(raw)] == ["methods.himap.stages[1].keep"]


@pytest.mark.parametrize("wrong", [{"layer": 30}, {"layer": 0}, {"criterion": "randm"}, {"keep": -0.5}, {"kep": 0.5}])
def test_the_config_says_of_a_stage_what_the_library_says(raw: dict[str, Any], wrong: dict[str, Any]) -> None:
    raw["methods"]["himap"]["stages"][0] |= wrong
    with pytest.raises(ValueError) as caught:
        read_stages(raw["methods"]["himap"]["stages"], layers=12)
    key, message = str(caught.value).split(": ", 1)
    lines = [line.replace("mini", "the model") for line in problems(raw) if line.startswith(f"methods.himap.{key}: ")]
    assert [line.replace("-0.5: is", "-0.5 is") for line in lines] == [f"methods.himap.{key}: {message}"]


def test_what_no_table_asks_for_need_not_fit(raw: dict[str, Any]) -> None:
    raw["methods"]["himap"]["stages"].pop()  # `swapped` and others give criteria for two stages
    assert "methods.swapped: on mini (caption): 2 criteria for 1 stages of 'himap'" in "\n".join(problems(raw))
    raw["tables"] = {name: {"benchmarks": []} for name in builtin_tables()}
    load(raw)


@pytest.mark.parametrize(
    ("family", "method", "reason"),
    [
        ("smolvlm", "fastervlm", "'fastervlm' looks at the class token of the vision tower, which smolvlm has none of"),
        (
            "qwen3_vl",
            "divprune",
            "qwen3_vl counts rows and columns, so `positions: renumber` has no meaning; leave the model out",
        ),
    ],
)
def test_a_method_that_a_family_cannot_run_is_refused_before_the_run(
    raw: dict[str, Any], monkeypatch: pytest.MonkeyPatch, family: str, method: str, reason: str
) -> None:
    from himap.models.sizes import Dims
    from himap.pruning.resolve import load_all
    from himap.workflow.config.checks import methods

    sizes = Dims(24, 64, 4, 4, 16, 128, 97, 300, varies=True)
    monkeypatch.setattr(methods, "sizes_of_models", lambda raw: {"other": sizes})
    raw["models"]["other"] = {"path": "models/mini", "family": family}
    raw["methods"] = load_all()
    told = list(methods.check_resolved(raw, {("other", "qa", method)}, set()))
    assert told == [(f"methods.{method}", f"on other: {reason}")]
    raw["models"]["other"]["family"] = "llava"
    assert list(methods.check_resolved(raw, {("other", "qa", method)}, set())) == []


def test_two_lines_are_enough_and_stages_of_kinds_that_nothing_uses_need_not_fit() -> None:
    minimal = {"models": {"mini": {"path": "models/mini"}}, "benchmarks": {"pope": {"source": "mini"}}}
    load(minimal)  # the built-in HiMAP's stages for captions lie above this model's 12 layers
    captions = minimal | {"benchmarks": {"nocaps": {"source": "mini"}}}
    assert problems(captions)[0].startswith(
        "methods.himap.stages.caption[1].layer: 15 is not below the last layer of mini"
    )
    assert "built in; give `methods.himap` stages of your own" in problems(captions)[0]


@pytest.mark.parametrize("part", ["grid", "disruption"])
def test_an_analysis_without_a_benchmark_need_not_fit(raw: dict[str, Any], part: str) -> None:
    raw["grid"] |= {"k2": [99]}
    raw["disruption"] |= {"layers": [99], "flows": ["random"]}
    assert any(line.startswith(part) for line in problems(raw))
    raw[part]["benchmarks"] = []
    assert not any(line.startswith(part) for line in problems(raw))


@pytest.mark.parametrize("folder", ["/tmp/elsewhere", "../beside", "results/mine", "outcome"])
def test_results_may_go_to_any_folder_of_their_own(raw: dict[str, Any], folder: str) -> None:
    assert load(raw | {"output": folder}).output == folder


def test_the_project_s_own_folders_are_those_that_it_has() -> None:
    if not (ROOT / ".git").exists():
        pytest.skip("an unpacked archive, not a git repository")
    listed = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True)
    folders = {line.split("/")[0] for line in listed.stdout.splitlines() if "/" in line}
    assert {name for name in folders if not name.startswith(".")} - {"results"} == set(config_module.OWN_FOLDERS)


@pytest.mark.slow
@pytest.mark.parametrize("value", [None, -1, float("nan"), 10**30, "\0", [], {}, [[]], {1: 2}])
def test_whatever_a_section_holds_it_is_a_config_error_at_worst(raw: dict[str, Any], value: Any) -> None:
    names = [(part, key) for part in ("models", "benchmarks", "methods", "grid", "disruption") for key in raw[part]]
    for part, key in names[:: len(names) // 8]:
        with contextlib.suppress(ConfigError):
            load(raw | {part: raw[part] | {key: value}})
    for part in raw:
        with contextlib.suppress(ConfigError):
            load(raw | {part: value})


def test_schema_and_documentation_are_up_to_date() -> None:
    assert generated.SCHEMA_FILE.read_text() == json.dumps(schema(), indent=1) + "\n", (
        "run: python -m himap.workflow.config.documentation --write"
    )
    assert generated.DOCS_FILE.read_text() == documentation(), (
        "run: python -m himap.workflow.config.documentation --write"
    )


def test_the_schema_accepts_the_default_config_and_refuses_an_unknown_key(raw: dict[str, Any]) -> None:
    from jsonschema import Draft202012Validator

    check = Draft202012Validator(schema())
    assert not list(check.iter_errors(raw))
    raw["sed"] = 0
    assert list(check.iter_errors(raw))


def test_the_default_schedules_are_those_chosen_for_the_mini_model() -> None:
    methods = yaml.safe_load((ROOT / "config.yaml").read_text())["methods"]
    chosen = json.loads((ROOT / "models" / "mini" / "schedules.json").read_text())
    for method in ("fastv", "himap"):
        assert methods[method]["stages"] == chosen[method], method


SCRIPT = "</script><script>alert(1)</script>"


@pytest.mark.parametrize(
    ("edit", "place", "why"),
    [
        (put("methods/himap/title", SCRIPT), "methods.himap.title", "a title holds neither < nor >"),
        (put("methods/himap/title", "Hi\x07MAP"), "methods.himap.title", "nor control characters"),
        (put("tables", {"table1": {"title": "a < b"}}), "tables.table1.title", "a title holds neither < nor >"),
        (put("models/mini/template", SCRIPT), "models.mini.template", "'</script' is not allowed"),
        (
            put("benchmarks/vqav2/protocol", {"template": "{question}<!--<SCRIPT>"}),
            "benchmarks.vqav2.protocol.template",
            "'<!--' is not allowed",
        ),
        (put("models", {SCRIPT: {"path": "models/mini"}}), f"models.{SCRIPT}", "it must match"),
        (put("benchmarks", {SCRIPT: {"source": "mini"}}), f"benchmarks.{SCRIPT}", "it must match"),
    ],
)
def test_no_text_of_a_config_can_run_as_a_script_in_a_report(
    raw: dict[str, Any], edit: Edit, place: str, why: str
) -> None:
    edit(raw)
    assert any(line.startswith(place) and why in line for line in problems(raw)), problems(raw)


def test_marks_of_a_model_are_allowed_in_a_prompt_template(raw: dict[str, Any]) -> None:
    raw["benchmarks"]["vqav2"]["protocol"] = {"template": "Where is <ref>{question}</ref>?"}
    load(raw)
