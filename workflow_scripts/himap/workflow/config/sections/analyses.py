"""The analyses beside the scores: saliency, disruption, latency, FLOPs, the grid, the comparison with the original."""

from __future__ import annotations

from math import isqrt
from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from himap.models.sizes import Dims
from himap.workflow.config.sections._section import Count, Each, Index, Section, Share, Some

VOCABULARY = 32064  # of a model of random weights: LLaVA-1.5's


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
    extents: Annotated[Each[Literal["single", "suffix", "prefix", "window"]], Some] = ["single", "suffix"]
    """At layer l alone (the paper's words), at l and all above (the released code), at all below l, or at a window of layers."""
    window: Count = 5
    """Layers of a window."""
    blocks: Annotated[Each[Literal["pre", "post"]], Some] = ["pre"]
    """Before the softmax (the rest renormalizes) or after it; figures show the first, another is run on the first flow alone."""
    new_tokens: Count = 8
    """Tokens generated after a cut."""
    layers: Annotated[Each[Index], Some] | None = None
    """Layers; all of the model if left out."""
    layers_per_job: Count = 4
    """Layers that one job works through after loading the model once."""
    edge: Count = 5
    """How many first and last layers Figure 5 averages."""


class RandomWeights(Section):
    """A LLaVA of random weights, made from the seed and timed alone: its size shows what fewer tokens save, its answers mean nothing."""

    layers: Annotated[int, Field(ge=10, le=200, strict=True)] = 16
    """Decoder layers; the paper's stages are at layers 2 and 8."""
    width: Count = 768
    """Of the hidden states; a multiple of `heads`."""
    heads: Count = 12
    """Attention heads."""
    ffn: Count = 2048
    """Inner width of the feed-forward part."""
    image_tokens: Count = 576
    """Tokens of a picture, a square number."""
    text_tokens: Annotated[int, Field(ge=40, strict=True)] = 95
    """System and instruction tokens of a prompt."""
    new_tokens: Count = 4
    """Length of an answer."""
    methods: Annotated[Each[str], Some] = ["vanilla", "fastv", "himap"]
    """Methods timed in turns, as they are built in: stages of the paper, not of the config."""
    examples: Count = 3
    """Prompts timed."""
    rounds: Count = 1
    """Rounds; each prompt's median counts."""
    batches: Each[Count] = []
    """Further batch sizes, beside one prompt at a time."""
    eager: bool = False
    """Time the unpruned model with the eager kernel of attention too."""
    dtype: Literal["float32", "bfloat16", "float16"] = "float32"
    """Number format."""
    gpus: Annotated[int, Field(ge=0, le=1, strict=True)] = 0
    """0 for the processor, 1 for a GPU."""

    @property
    def dims(self) -> Dims:
        """Return the decoder's sizes."""
        head = self.width // self.heads
        # As many key-value heads as heads: LLaVA-1.5 has no grouped queries.
        return Dims(self.layers, self.width, self.heads, self.heads, head, self.ffn, VOCABULARY, self.image_tokens)

    @model_validator(mode="after")
    def check_sizes(self) -> RandomWeights:
        """Raise ValueError for sizes that make no decoder."""
        # A head's width must be even: rotary positions turn pairs of its values.
        if self.width % (2 * self.heads):
            raise ValueError(f"width: {self.width} is no even multiple of `heads` ({self.heads}); take one that is")
        if isqrt(self.image_tokens) ** 2 != self.image_tokens:
            raise ValueError(f"image_tokens: {self.image_tokens} tokens form no square; take a square number, as 576")
        return self


class Latency(Section):
    """Figure 8 and the table `efficiency`: time and memory of a question alone and in batches."""

    benchmarks: Each[str] = ["scienceqa", "aokvqa", "nocaps", "flickr30k"]
    """On which benchmarks."""
    methods: Annotated[Each[str], Some] = ["vanilla", "fastv", "himap"]
    """Methods timed in turns."""
    examples: Count = 100
    """Samples timed."""
    rounds: Count = 3
    """Rounds; each sample's median counts."""
    batches: Each[Count] | None = None
    """Further batch sizes for the table `efficiency`, beside one question at a time; left out: 8, and on a GPU 32 too."""
    eager: bool = True
    """Time the unpruned model with the eager kernel of attention too, as a further row of that table."""
    random_weights: RandomWeights | None = None
    """A larger model of random weights, timed in addition; left out: none. `{}` takes 16 layers of width 768."""


class Flops(Section):
    """FLOPs by formula and as counted on a real run."""

    measured: Count = 4
    """Samples on which operations are counted; their mean is `measured`."""


class Question(Section):
    """An open question: on what it is asked, and the settings of its own file in himap/experiments/questions."""

    benchmarks: Each[str] = ["kinds"]
    """On which benchmarks; those that the config does not have are passed over."""
    models: Each[str] | None = None
    """On which models; all if left out."""
    limit: Count | None = None
    """How many samples of each benchmark."""
    settings: dict[str, Any] = {}
    """Settings of the question in place of its own."""


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

    benchmarks: Each[str] = ["vqav2", "nocaps"]
    """On which benchmarks."""
    models: Each[str] | None = None
    """On which models; all if left out."""
    limit: Count | None = None
    """How many samples of each."""
    k1: Annotated[Each[Count], Some] = [1, 2, 3]
    """Layers of the shallow stage."""
    r1: Annotated[Each[Share], Some] = [0.7, 0.5, 0.3]
    """Share of the image tokens kept by the shallow stage; the paper's R1 is the share dropped."""
    k2: Annotated[Each[Count], Some] = [8, 12, 15]
    """Layers of the deep stage."""
    r2: Annotated[Each[Share], Some] = [0.5, 0.25, 0.125]
    """Share of what the shallow stage left that the deep stage keeps; the paper's R2 is the share dropped."""
