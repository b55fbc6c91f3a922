"""Sizes of a config's models, read without loading them."""

from __future__ import annotations

from pathlib import Path

from himap.models import families
from himap.models.sizes import Dims, checkpoint_dims, read_config
from himap.project import ROOT
from himap.workflow.config.schema import Model


def dims_of(entry: Model) -> Dims:
    """Return the sizes in a model's entry, or those in its folder's config.json."""
    if entry.dims is not None:
        sizes = entry.dims
        return Dims(
            layers=sizes.layers,
            width=sizes.width,
            heads=sizes.heads,
            kv_heads=sizes.kv_heads,
            head_dim=sizes.head_dim or sizes.width // sizes.heads,
            ffn=sizes.ffn,
            vocab=sizes.vocab,
            tokens_per_image=sizes.image_tokens,
            # Families whose number of image tokens depends on the picture.
            varies=entry.family in families.VARYING,
            cross=tuple(sizes.cross_layers),
            # Only models with cross-attention layers look at image tokens of another width.
            picture_width=(sizes.picture_width or sizes.width) if sizes.cross_layers else 0,
        )
    return local_dims(ROOT / str(entry.path))


def local_dims(folder: Path) -> Dims:
    """Return the sizes in a local checkpoint's config.json, without importing torch."""
    return checkpoint_dims(read_config(folder))
