"""Checks of models: where each comes from, and what a conversion needs."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import suppress
from typing import Any

from himap.experiments.questions import names as open_questions
from himap.models.families import CROSS
from himap.models.sizes import Dims
from himap.project import ROOT
from himap.registry import hint
from himap.workflow.config.checks._raw import Problem, evaluated_models, items, section
from himap.workflow.config.model_sizes import dims_of
from himap.workflow.config.schema import Model


def check_models(raw: Mapping[str, Any]) -> Iterator[Problem]:
    """Yield a problem for each model that is neither a local folder nor a pinned hub id with its sizes."""
    models = section(raw, "models")
    if "models" in raw and isinstance(raw["models"], Mapping) and not models:
        yield "models", "at least one model is needed"
    elif models and not evaluated_models(raw):
        yield "models", "every model has `only`; at least one without it is needed, for the tables and the analyses"
    for name in models:
        model, at = section(models, name), f"models.{name}"
        # The branches are exclusive, so that one mistake gives one line.
        if (model.get("path") is None) == (model.get("id") is None):
            yield at, "needs either `path` (a local folder) or `id` (a hub id), not both and not neither"
        elif model.get("id") is not None:
            # Nothing is downloaded to read a config, so the sizes of a hub model are in its entry.
            for key in ("revision", "dims"):
                if model.get(key) is None:
                    yield f"{at}.{key}", "is required with `id`"
        # The layout whose config.json we read sizes from is only written by the conversion.
        elif model.get("convert") and model.get("dims") is None:
            yield f"{at}.dims", "is required with `convert`"
        elif isinstance(model["path"], str) and not (ROOT / model["path"] / "config.json").is_file():
            yield f"{at}.path", f"{model['path']!r} holds no config.json; give the folder of a checkpoint"
        # A local checkpoint's config.json lists these layers; for a hub model only its entry can.
        if (
            model.get("family") in CROSS
            and model.get("dims") is not None
            and not section(model, "dims").get("cross_layers")
        ):
            yield (
                f"{at}.dims.cross_layers",
                f"is required with the family {model['family']}: the layers in which text looks at image tokens (docs/models.md)",
            )
        yield from check_conversion(model, at)
        for index, question in items(model.get("only")):
            if isinstance(question, str) and question not in open_questions():
                yield f"{at}.only[{index}]", f"unknown open question {question!r}" + hint(question, open_questions())
        text_tower = model.get("text_tower")
        if isinstance(text_tower, str) and not (ROOT / text_tower).is_dir() and "@" not in text_tower:
            yield (
                f"{at}.text_tower",
                f"{text_tower!r} is no folder, so it is taken from the hub and needs its commit: `{text_tower}@<commit>`",
            )


def check_conversion(model: Mapping[str, Any], at: str) -> Iterator[Problem]:
    """Yield problems of what goes with a model: a tower needs a conversion, a hub id a revision, an original LLaVA-v1.5."""
    for key in ("tower", "tower_revision"):
        if model.get(key) is not None and not model.get("convert"):
            yield f"{at}.{key}", "is only allowed together with `convert`"
    tower = model.get("tower")
    # A tower that is no folder here is taken for a hub id, which has to be pinned.
    if isinstance(tower, str) and not (ROOT / tower).is_dir() and model.get("tower_revision") is None:
        yield f"{at}.tower_revision", f"is required: {tower!r} is no folder, so it is taken from the hub"
    if (original := model.get("original")) is None:
        return
    if model.get("family", "llava") != "llava":
        yield f"{at}.original", "is only allowed with the family llava: the original implementation runs no other"
    original = section(model, "original")
    if (original.get("path") is None) == (original.get("id") is None):
        yield f"{at}.original", "needs either `path` (a local folder) or `id` (a hub id), not both and not neither"
    elif original.get("id") is not None and original.get("revision") is None:
        yield f"{at}.original.revision", "is required with `id`"


def sizes_of_models(raw: Mapping[str, Any]) -> dict[str, Dims]:
    """Return the sizes of the models whose entries are valid."""
    sizes = {}
    for name, entry in section(raw, "models").items():
        with suppress(ValueError, OSError, KeyError):
            sizes[name] = dims_of(Model.model_validate(entry))
    return sizes
