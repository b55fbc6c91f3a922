"""Model families, one file each, found by a checkpoint's config.json; a file added here is a family."""

from __future__ import annotations

from pkgutil import iter_modules

NO_FAMILY = "unconverted"  # recognizes checkpoints in their authors' layout only to name the command that converts them
DEFAULT = "llava"
# These ask by their checkpoint's own chat template, and their processors take a picture in its own proportions.
CHAT_TEMPLATE = frozenset({"gemma3", "internvl3", "llava_next", "mllama", "qwen2_5_vl", "qwen3_vl", "smolvlm"})
STRETCHING = frozenset(
    {"idefics", "instructblip", "qwen_vl"}
)  # their processors make a square of a picture whatever its proportions
OWN_SHAPE = CHAT_TEMPLATE | STRETCHING  # a benchmark's way to bring pictures to a square has no effect on them
CROSS = frozenset({"idefics", "mllama"})  # the decoder's rows look at image tokens that are no rows themselves
ONE_SIZE = CROSS | {"instructblip"}  # a smaller picture has no fewer tokens there
VARYING = CHAT_TEMPLATE - {"gemma3"}  # the number of image tokens depends on the picture


def names() -> tuple[str, ...]:
    """Return the families' names, from the names of the files: nothing is imported, so the config is read without torch."""
    stems = sorted(module.name for module in iter_modules(__path__))
    return tuple(stem for stem in stems if not stem.startswith("_") and stem != NO_FAMILY)
