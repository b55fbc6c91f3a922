"""The analyses beside the scores: saliency, disruption, latency, FLOPs, the grid, the comparison with the original."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from himap.workflow.config.sections._section import Count, Each, Index, Section, Share, Some


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
