"""The models of a run, and where each comes from."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import Field

from himap.models.families import names as family_names
from himap.paper.published import models as published_models
from himap.workflow.config.sections._section import Count, Each, Revision, Section, Some

if TYPE_CHECKING:  # a type checker takes no list that is only known at run time
    Family = str
    Published = str
else:
    Family, Published = Literal[family_names()], Literal[published_models()]


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
    head_dim: Count | None = None
    """Width of an attention head, if not `width` divided by `heads`."""
    cross_layers: list[Annotated[int, Field(ge=0)]] = []
    """Layers, counted among `layers`, in which text looks at image tokens that are no tokens of the sequence (`idefics`, `mllama`)."""
    picture_width: Count | None = None
    """Width of those image tokens, if not `width`."""
    image_tokens: Count
    """Image tokens of one image; of a typical one (640 x 480 pixels) where the number depends on the picture."""
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
    family: Family = "llava"
    """Which family it belongs to, a file of `himap/models/families`; decides prompts and templates."""
    dtype: Literal["float32", "float16", "bfloat16"] = "float32"
    """Precision of weights and activations."""
    attention: Literal["sdpa", "eager", "flash"] = "sdpa"
    """Attention kernel."""
    template: str | None = None
    """Chat template, if not the family's own (LLaVA: vicuna_v1, llava_v1, user)."""
    image_mode: Literal["pad", "crop"] | None = None
    """How every picture is brought to a square, whatever its benchmark's authors did; by benchmark (`protocol`) if left out."""
    text_tower: str | None = None
    """The CLIP of its vision tower, whose text tower the method `cdpruner` needs: a folder, or hub id and commit as `owner/name@commit`."""
    dims: Dims | None = None
    """Sizes of the decoder; needed with `id`."""
    published: Published | None = None
    """The paper's row that its results are compared with; without one the paper's column is only a reference."""
    only: Annotated[Each[str], Some] | None = None
    """Open questions that it is for; it is then in no table and no other analysis. Left out: it takes part in all that names no models."""
    gpus: Literal[0, 1] = 0
    """GPUs that one of its jobs asks for; a model works on one."""
    memory_gb: Count = 4
    """Main memory that one of its jobs asks for."""
