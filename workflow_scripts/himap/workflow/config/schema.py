"""The config, typed: schema, defaults and documentation come from the classes here, and so do the errors.

`load` takes what YAML gives and returns a `Config`, or raises one `ConfigError` that lists every problem at once.
`python -m himap.workflow.config.documentation --write` renews `schemas/config.schema.json` and `docs/configuration.md`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Any, Literal, TypeVar

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Discriminator,
    Field,
    PlainValidator,
    StringConstraints,
    Tag,
    WithJsonSchema,
    create_model,
)

from himap.figures import Figure
from himap.figures import registry as known_figures
from himap.figures._base import Style
from himap.project import ROOT
from himap.pruning.stage import keep_problem

OWN_FOLDERS = (
    "docs",
    "envs",
    "models",
    "presets",
    "profiles",
    "report",
    "rules",
    "schemas",
    "tests",
    "workflow_scripts",
)
LARGEST_SEED = 2**63 - 1  # what random generators take


def check_keep(value: Any) -> int | float:
    """Return a share or a count of tokens as the library takes it; a bare 1 could mean either and is refused."""
    if problem := keep_problem(value):
        raise ValueError(problem)
    if isinstance(value, int) and value == 1:
        raise ValueError("a count of one token, or all of them? write 1.0 for all; a tiny share keeps a single token")
    return value


def check_title(value: str) -> str:
    """Return a title that can be shown on any page; raise ValueError for one with markup or control characters."""
    if re.search(r"[<>\x00-\x1f\x7f-\x9f]", value):
        raise ValueError(
            "a title holds neither < nor > nor control characters: pages show it as it is; use plain words"
        )
    return value


Title = Annotated[str, AfterValidator(check_title), WithJsonSchema({"type": "string", "pattern": r"^[^<>\x00-\x1f]*$"})]


def check_once(values: list[Any]) -> list[Any]:
    """A list that means a set holds each value once."""
    for index, value in enumerate(values):
        if value in values[:index]:
            raise ValueError(f"{value!r} is named twice; name it once")
    return values


def check_output(folder: str) -> str:
    """Results go to a folder of their own: no folder of the project, and none that the project lies in."""
    place = (ROOT / re.sub("/+", "/", folder)).resolve()
    top = place.relative_to(ROOT).parts[:1] if place.is_relative_to(ROOT) else ()
    if ROOT.is_relative_to(place):
        raise ValueError("the project itself lies in this folder; name a folder for results alone, e.g. results/mine")
    if top and (top[0] in OWN_FOLDERS or top[0].startswith(".")):
        raise ValueError(f"{top[0]} is a folder of the project; name a folder for results alone, e.g. results/mine")
    return folder


Item = TypeVar("Item")
Each = Annotated[list[Item], AfterValidator(check_once), Field(json_schema_extra={"uniqueItems": True})]
Name = Annotated[str, StringConstraints(pattern=r"^[a-z0-9][a-z0-9._-]*$")]
Revision = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{7,40}$")]
Keep = Annotated[
    int | float,
    PlainValidator(check_keep),
    WithJsonSchema(
        {"anyOf": [{"type": "integer", "minimum": 2}, {"type": "number", "exclusiveMinimum": 0, "maximum": 1}]}
    ),
]
Count = Annotated[int, Field(ge=1, strict=True)]
Index = Annotated[int, Field(ge=0, strict=True)]
Share = Annotated[float, Field(gt=0, le=1)]
Kind = Literal["qa", "caption", "open"]
Some = Field(min_length=1)


class Section(BaseModel):
    """A part of the config: unknown keys are refused, the text under a field is its documentation."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)


class Dims(Section):
    """A decoder's sizes, for models that are not on this disk yet; a local model's are read from its config.json."""

    layers: Count
    """Decoder layers."""
    width: Count
    """Hidden size."""
    heads: Count
    """Attention heads."""
    kv_heads: Count
    """Key-value heads."""
    ffn: Count
    """Inner size of the feed-forward block."""
    vocab: Count
    """Vocabulary size."""
    image_tokens: Count
    """Image tokens of one image."""
    parameters_billion: Annotated[float, Field(gt=0)]
    """All parameters, vision tower included, in billions; for the estimate of downloads and memory."""


class Original(Section):
    """A checkpoint of LLaVA-v1.5 in its authors' layout."""

    path: str | None = None
    """Its folder."""
    id: str | None = None
    """Its hub id, e.g. liuhaotian/llava-v1.5-7b; needs `revision`."""
    revision: Revision | None = None
    """Commit of the hub repository."""


class Model(Section):
    """A model: a folder (`path`) or a hub id with its pinned revision."""

    path: str | None = None
    """Folder of a checkpoint."""
    id: str | None = None
    """Hub id, e.g. llava-hf/llava-1.5-7b-hf; needs `revision` and `dims`."""
    revision: Revision | None = None
    """Commit of the hub repository."""
    convert: bool = False
    """Its weights are in their authors' layout (InternVL-Chat-V1.0, the original LLaVA-v1.5): rewrite them once; needs `dims`."""
    tower: str | None = None
    """With `convert`: hub id or folder of the vision tower, if not the one that the checkpoint's config names."""
    tower_revision: Revision | None = None
    """With `convert`: commit of the tower's hub repository."""
    original: Original | None = None
    """The same weights as LLaVA-v1.5's authors published them, for the target `verify_original`; with `convert` its own source."""
    family: Literal["llava", "qwen_vl", "internvl"] = "llava"
    """Which family of `himap.models` it belongs to; decides prompts and templates."""
    dtype: Literal["float32", "float16", "bfloat16"] = "float32"
    """Precision of weights and activations."""
    attention: Literal["sdpa", "eager", "flash"] = "sdpa"
    """Attention kernel."""
    template: str | None = None
    """Chat template, if not the family's own (LLaVA: vicuna_v1, llava_v1, user)."""
    image_mode: Literal["pad", "crop"] | None = None
    """How every picture is brought to a square, whatever its benchmark's authors did; by benchmark (`protocol`) if left out."""
    dims: Dims | None = None
    """Sizes of the decoder; needed with `id`."""
    published: Literal["LLaVA-7B", "LLaVA-13B", "QwenVL-7B", "InternVL-7B"] | None = None
    """The paper's row that its results are compared with; without one the paper's column is only a reference."""
    gpus: Literal[0, 1] = 0
    """GPUs that one of its jobs asks for; a model works on one."""
    memory_gb: Count = 4
    """Main memory that one of its jobs asks for."""


class Benchmark(Section):
    """A benchmark's data and protocol; what is left out is the benchmark's own default."""

    source: str = "hub"
    """`hub`, `mini` (drawn by the embedded world's generator), or a local file or folder of the published schema."""
    id: str | None = None
    """Hub id, if not the default one."""
    config: str | None = None
    """Hub config, if not the default one."""
    split: str | None = None
    """Split, if not the default one."""
    revision: str | None = None
    """Hub revision, if not the default one."""
    limit: Count | None = None
    """How many samples (images where questions come in pairs); drawn with the seed unless the source is `mini`."""
    protocol: dict[str, Any] = {}
    """Options of the benchmark's protocol, e.g. `{ocr: false}` for TextVQA, or a prompt `template`."""
    max_new_tokens: Count | None = None
    """Longest answer, if not the benchmark's own limit."""
    shards: Count = 1
    """Into how many jobs each of its evaluations is cut."""


class Stage(Section):
    """From `layer` on, only the `keep` image tokens with the highest score by `criterion` remain."""

    layer: Index
    """The first layer (from 0) that runs on what remains; the score comes from the layer below."""
    keep: Keep
    """Share of the original image tokens still there, or a count."""
    criterion: str
    """The score, one of `himap.pruning`'s criteria."""


class StagesByKind(Section):
    """Other stages for other kinds of task; open questions take those of captions unless they have their own."""

    qa: list[Stage]
    """Short answers and multiple choice."""
    caption: list[Stage] | None = None
    """Captions."""
    open: list[Stage] | None = None
    """Open questions."""


def stages_form(value: Any) -> str:
    """Whether stages stand as one list or by kind of task."""
    return "by_kind" if isinstance(value, (Mapping, StagesByKind)) else "list"


Stages = Annotated[
    Annotated[list[Stage], Tag("list")] | Annotated[StagesByKind, Tag("by_kind")], Discriminator(stages_form)
]


class Scored(Section):
    """Tokens chosen by a score, as many as the FLOPs to be met allow."""

    criterion: str
    """The score, one of `himap.pruning`'s criteria."""


class ModelStages(Section):
    """A method's stages on one model."""

    stages: Stages
    """Where tokens are dropped."""


class Method(Section):
    """A pruning method: exactly one of `stages`, `like`, `every_layer`, `before_decoder`, `downsample`."""

    title: Title | None = None
    """How tables and figures call it."""
    about: Title | None = None
    """What it does, in a sentence."""
    stages: Stages | None = None
    """Where tokens are dropped, as one list or by kind of task; an empty list is the model as it is."""
    like: str | None = None
    """Another method whose stages are taken."""
    criterion: str | None = None
    """With `like`: this criterion in every stage."""
    criteria: Annotated[list[str], Some] | None = None
    """With `like`: one criterion per stage."""
    only: Annotated[Each[Index], Some] | None = None
    """With `like`: these stages alone; 0 is the first."""
    every_layer: Scored | None = None
    """The same share dropped at every layer; needs `flops_of`."""
    before_decoder: Scored | None = None
    """Dropped once, before the first layer; needs `flops_of`."""
    downsample: Literal[True] | None = None
    """The image is made smaller before the model sees it; needs `flops_of`."""
    flops_of: str | None = None
    """The method whose FLOPs are met."""
    relative: bool | None = None
    """With `only`: a stage keeps its share of what the stages before it left (the paper's R), not of the original tokens."""
    rerank: bool | None = None
    """The released code's way: no cache, the tokens are ranked anew for each generated token."""
    protocol: Literal["other"] | None = None
    """Asks the other way where a benchmark's form is contested: pictures padded or cropped, A-OKVQA's wording, POPE's version."""
    dtype: Literal["float32", "float16", "bfloat16"] | None = None
    """Another precision than the model's, for the answers of this method."""
    models: dict[Name, ModelStages] | None = None
    """Other stages on single models."""


class Table(Section):
    """A table: which methods on which benchmarks."""

    title: Title
    """Its caption."""
    benchmarks: Each[str]
    """Columns; those that the config has no entry for are left out."""
    methods: Annotated[Each[str], Some]
    """Rows."""
    models: Annotated[Each[str], Some] | None = None
    """Models; all of the config if left out."""
    judged: bool = True
    """Whether judged benchmarks are shown also while no judge is configured (as answers without a score)."""


class Saliency(Section):
    """Figures 3 and 4: information flow per layer from attention times its gradient."""

    benchmarks: Each[str] = ["scienceqa", "aokvqa"]
    """On which benchmarks."""
    limit: Count | None = None
    """How many samples of each."""
    definitions: Annotated[Each[Literal["paper", "released"]], Some] = ["paper", "released"]
    """Equation 1 of the paper, and what the released code computes."""
    weights: Annotated[Each[Literal["trained", "random"]], Some] = ["trained", "random"]
    """The model, and the same architecture with random weights as a control, for the first target."""
    targets: Annotated[Each[Literal["emitted", "released"]], Some] = ["emitted"]
    """The answer token that the model would emit, or the one without word mark that the released code takes; figures show the first."""


class Disruption(Section):
    """Figures 5 and 6: attention from image tokens is cut at some layers, and the answers are compared."""

    benchmarks: Each[str] = ["scienceqa", "aokvqa"]
    """On which benchmarks."""
    limit: Count | None = None
    """How many samples of each."""
    only_correct: bool = True
    """Only samples that the undisturbed model answers right, as in the paper."""
    flows: Annotated[Each[Literal["img2txt", "img2img", "random", "random_unmatched"]], Some] = [
        "img2txt",
        "img2img",
        "random",
    ]
    """What is cut: image to instruction, image to image, as many random pairs, or the released code's random rows."""
    extents: Annotated[Each[Literal["single", "suffix", "window"]], Some] = ["single", "suffix"]
    """At layer l alone (the paper's words), at l and all above (the released code), or at a window of layers."""
    window: Count = 5
    """Layers of a window."""
    blocks: Annotated[Each[Literal["pre", "post"]], Some] = ["pre"]
    """Before the softmax (the rest renormalises) or after it; figures show the first, another is run on the first flow alone."""
    new_tokens: Count = 8
    """Tokens generated after a cut."""
    layers: Annotated[Each[Index], Some] | None = None
    """Layers; all of the model if left out."""
    layers_per_job: Count = 4
    """Layers that one job works through after loading the model once."""
    edge: Count = 5
    """How many first and last layers Figure 5 averages."""


class Latency(Section):
    """Figure 8: seconds per example."""

    benchmarks: Each[str] = ["scienceqa", "aokvqa", "nocaps", "flickr30k"]
    """On which benchmarks."""
    methods: Annotated[Each[str], Some] = ["vanilla", "fastv", "himap"]
    """Methods timed in turns."""
    examples: Count = 100
    """Samples timed."""
    rounds: Count = 3
    """Rounds; each sample's median counts."""


class Flops(Section):
    """FLOPs by formula and as counted on a real run."""

    measured: Count = 4
    """Samples on which operations are counted; their mean is `measured`."""


class Verification(Section):
    """What the target `verify_original` asks this project and the original LLaVA-v1.5 alike."""

    benchmark: str = "scienceqa"
    """On which benchmark."""
    samples: Count = 8
    """How many of its samples."""
    new_tokens: Count = 16
    """Longest answer."""


class Grid(Section):
    """The search over both stages, as one job per model and benchmark that shares work."""

    benchmarks: Each[str] = ["scienceqa"]
    """On which benchmarks."""
    limit: Count | None = None
    """How many samples of each."""
    k1: Annotated[Each[Count], Some] = [1, 2, 3, 4]
    """Layers of the shallow stage."""
    r1: Annotated[Each[Share], Some] = [0.75, 0.5, 0.25]
    """Share of the image tokens kept by the shallow stage."""
    k2: Annotated[Each[Count], Some] = [8, 12, 15]
    """Layers of the deep stage."""
    r2: Annotated[Each[Share], Some] = [0.25, 0.125, 0.0625]
    """Share of the original image tokens kept by the deep stage."""


class Judge(Section):
    """The judge of LLaVA-Bench and MM-Vet, an OpenAI-compatible endpoint; the key comes from HIMAP_JUDGE_API_KEY or OPENAI_API_KEY."""

    base_url: str
    """Address of the endpoint, e.g. https://api.openai.com/v1."""
    model: str | None = None
    """Name of the judging model; the benchmark's official judge if left out."""
    runs: Count | None = None
    """How often each answer is judged; as officially if left out."""
    concurrency: Count = 8
    """Requests under way at a time."""
    unreadable: Annotated[float, Field(ge=0, lt=1)] = 0.02
    """Share of the verdicts that may be unreadable after all tries: they are left out of the score, with a note; more fail the job."""
    cache: str = ".cache/judge"
    """Folder, readable by you alone, in which every readable verdict is kept for good, so that none is paid twice."""


class Execution(Section):
    """How work is cut into jobs; results depend on `batch_size` alone, and that in half precision."""

    batch_size: Count | Literal["auto"] = "auto"
    """Samples per forward pass. `auto` grows to what the memory holds; a number keeps rounding the same for all methods, since in
    half precision some answers depend on the batch."""
    threads: Count = 1
    """Processor threads of a model job."""
    runtime_minutes: Count = 240
    """Time that a model job asks a cluster for."""
    checksums_up_to_mb: Count = 64
    """Results up to this size are read at every start, to see that they are what their jobs wrote; of larger ones this is
    done only if size or time differ."""


class FigureStyle(Section):
    """How a figure looks; a change redraws this figure and nothing else."""

    width: Annotated[float, Field(gt=1, le=30)] = Style.width
    """Width in inches."""
    height: Annotated[float, Field(gt=1, le=30)] = Style.height
    """Height of a row of panels in inches; more where a panel needs it."""
    columns: Annotated[int, Field(ge=1, le=12, strict=True)] = Style.columns
    """At most so many panels side by side."""
    palette: Literal["report", "colorblind", "deep", "muted", "bright", "pastel", "dark"] = "report"
    """The colors of the report page, or a palette of seaborn."""
    style: Literal["whitegrid", "white", "ticks", "darkgrid", "dark"] = "whitegrid"
    """Seaborn style."""
    dpi: Annotated[int, Field(ge=50, le=600)] = Style.dpi
    """Resolution of the PNG."""


def figure_field(figure: Figure) -> Any:
    """Return a figure's key: what the config says is laid over the style that the figure's own file asks for."""
    usual = {key: value for key, value in asdict(figure.style).items() if key in FigureStyle.model_fields}

    def over_usual(given: Any) -> Any:
        return {**usual, **given} if isinstance(given, Mapping) else given

    field = Field(default=FigureStyle(**usual), description=figure.about)
    return Annotated[FigureStyle, BeforeValidator(over_usual)], field


if TYPE_CHECKING:
    Figures = Section
else:  # a key per file of himap/figures
    Figures = create_model(
        "Figures",
        __base__=Section,
        __doc__="One entry per figure; defaults are those of `FigureStyle` unless the figure's file asks for others.",
        **{name: figure_field(figure) for name, figure in known_figures().items()},
    )


class Config(Section):
    """The scientific settings of a run: models, benchmarks, methods, analyses."""

    output: Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9._/-]+$"), AfterValidator(check_output)] = "results"
    """Folder of all results, none of the project's own; two configs with different models or data need two folders."""
    seed: Annotated[int, Field(ge=0, le=LARGEST_SEED, strict=True)] = 0
    """For all that is drawn at random: subsets, random criteria, random controls, random weights."""
    models: dict[Name, Model]
    """Models by name."""
    benchmarks: dict[Name, Benchmark]
    """Benchmarks by name; each must be known to `himap.benchmarks`."""
    methods: dict[Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9_]*$")], Method] = {}
    """Methods by name, laid over the built-in ones (vanilla, fastv, himap and what is derived from them)."""
    tables: dict[Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9_]*$")], Table] = {}
    """Tables by name, each laid over the built-in one key by key."""
    saliency: Saliency = Saliency()
    """Figures 3 and 4."""
    disruption: Disruption = Disruption()
    """Figures 5 and 6."""
    latency: Latency = Latency()
    """Figure 8."""
    flops: Flops = Flops()
    """FLOPs."""
    grid: Grid = Grid()
    """The grid over both stages."""
    verification: Verification = Verification()
    """The comparison with the original LLaVA-v1.5."""
    judge: Judge | None = None
    """The judge; without one, answers of judged benchmarks are generated and the tables say so."""
    execution: Execution = Execution()
    """Sizes of jobs."""
    figures: Figures = Figures()
    """Looks of the figures."""
