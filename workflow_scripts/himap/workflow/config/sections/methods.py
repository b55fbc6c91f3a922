"""Pruning methods: stages, or how they follow from another method's."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import Discriminator, Field, Tag

from himap.workflow.config.sections._section import Depth, Each, Index, Keep, Name, Section, Share, Some, Title


class KeepRule(Section):
    """Each input keeps the fewest image tokens that hold a share of the criterion's score."""

    mass: Share
    """The share of the score of the tokens that are left, for criteria whose scores add up."""
    floor: Keep | None = None
    """At least so many stay: a share of the original image tokens or a count; one token if this is not given."""
    ceiling: Keep | None = None
    """At most so many stay; all that are left if this is not given."""


class LayerRule(Section):
    """Each input finds the layer: the first at which a signal has sunk below a share of its peak so far."""

    after: Literal["instruction_share", "image_entropy"]
    """The signal, from the attention below: the instruction's share on image tokens, or its entropy among image tokens."""
    below: Share
    """The share of the peak; the peak counts from where the stage before is done with every input."""
    # `from` is a keyword of Python.
    first: Index | Depth = Field(alias="from")
    """The earliest layer, or a share of the model's depth."""
    to: Index | Depth
    """The latest layer: where the signal has not sunk by then, the stage acts here."""


def stage_form(value: Any) -> str:
    """Return whether a stage's layer or count is a number or a rule."""
    # A discriminator is called with YAML's mapping and with a section that was built in code.
    return "rule" if isinstance(value, (Mapping, KeepRule, LayerRule)) else "number"


class Stage(Section):
    """From `layer` on, only the `keep` image tokens with the highest score by `criterion` remain."""

    layer: Annotated[
        Annotated[Index | Depth, Tag("number")] | Annotated[LayerRule, Tag("rule")], Discriminator(stage_form)
    ]
    """The first layer (from 0) that runs on what remains, a share of the model's depth (0.25), or a rule by which each input finds it."""
    keep: Annotated[Annotated[Keep, Tag("number")] | Annotated[KeepRule, Tag("rule")], Discriminator(stage_form)]
    """Share of the original image tokens still there, or a count, or a rule by which each input finds it; 0 drops them all."""
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
    """Return whether stages are one list or given by kind of task."""
    return "by_kind" if isinstance(value, (Mapping, StagesByKind)) else "list"


# A discriminator instead of a plain union: pydantic then reports the errors of the form that is meant, not of both.
Stages = Annotated[
    Annotated[list[Stage], Tag("list")] | Annotated[StagesByKind, Tag("by_kind")], Discriminator(stages_form)
]


class Scored(Section):
    """Tokens chosen by a score, as many as the budget allows."""

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
    """The same share dropped at every layer; needs `flops_of` or `tokens_of`."""
    before_decoder: Scored | None = None
    """Dropped once, before the first layer; needs `flops_of` or `tokens_of`."""
    downsample: Literal[True] | None = None
    """The image is made smaller before the model sees it; needs `flops_of` or `tokens_of`."""
    flops_of: str | None = None
    """The method whose FLOPs are met; stages keep their layers if they can, and their shares are raised to one power."""
    tokens_of: int | float | str | None = None
    """The image tokens per layer that are met, in the mean of all layers that look at them: a count, a share, or a fraction as `1/3`."""
    budget_by: Literal["layers"] | None = None
    """With a budget: the stages move to other layers before their shares change."""
    budget_layers: Annotated[Each[Index], Some] | None = None
    """With a budget: where the stages are then."""
    depth: Annotated[int, Field(ge=2, strict=True)] | None = None
    """The decoder layers that `stages` are written for; on a model with more or fewer they move in proportion."""
    positions: Literal["keep", "renumber"] | None = None
    """Whether what is left keeps its positions, or is counted again after each stage; `like` takes the other method's."""
    relative: bool | None = None
    """With `only`: a stage keeps its share of what the stages before it left (the paper's R), not of the original tokens."""
    rerank: bool | None = None
    """The released code's way: no cache, the tokens are ranked again for each generated token."""
    protocol: Literal["other"] | None = None
    """Asks the other way where a benchmark's form is contested: pictures padded or cropped, A-OKVQA's wording, POPE's version."""
    dtype: Literal["float32", "float16", "bfloat16"] | None = None
    """Another precision than the model's, for the answers of this method."""
    models: dict[Name, ModelStages] | None = None
    """Other stages on single models."""
