"""Checkpoints as their authors published them: their conversion, and the comparison with LLaVA's original implementation."""

from __future__ import annotations

from typing import Any

from himap.project import ROOT
from himap.workflow.plan.content_hash import as_json, origin
from himap.workflow.plan.plan import Plan


def pinned(plan: Plan, model: str) -> list[str]:
    """Return a hub model's id and revision as words of a command line."""
    return [str(plan.model(model).id), "--revision", str(plan.model(model).revision)]


# ---- conversion


def conversion_arguments(plan: Plan, model: str) -> list[str]:
    """Return the sources that a conversion reads."""
    entry = plan.model(model)
    arguments = ["--source", *([entry.path] if entry.path else pinned(plan, model))]
    arguments += ["--tower", entry.tower] if entry.tower else []
    return arguments + (["--tower-revision", entry.tower_revision] if entry.tower_revision else [])


def conversion_settings(plan: Plan, model: str) -> str:
    """Return what identifies a conversion's sources: ids and revisions, or the contents of folders."""
    entry = plan.model(model)
    settings: dict[str, Any] = {"source": origin(entry.path, entry.id, entry.revision)}
    if entry.tower:
        # A tower is a hub id or a folder, written the same way in the config.
        folder = entry.tower if (ROOT / entry.tower).is_dir() else None
        settings["tower"] = origin(folder, entry.tower, entry.tower_revision)
    return as_json(settings)


# ---- comparison


def original(plan: Plan, model: str) -> dict[str, str] | None:
    """Return where a model's weights lie as LLaVA's authors published them, or None if that is not known."""
    entry = plan.model(model)
    # The package llava runs no other family.
    if entry.family != "llava":
        return None
    if entry.original:
        return origin(entry.original.path, entry.original.id, entry.original.revision)
    # With `convert` the model's own source is in the authors' layout already.
    return origin(entry.path, entry.id, entry.revision) if entry.convert else None


def verifications(plan: Plan) -> list[str]:
    """Return the tables of the comparison, one per model that has an original. Raise ValueError if there is none."""
    names = [name for name in plan.config.models if original(plan, name)]
    benchmark = plan.config.verification.benchmark
    if not names or not plan.known([benchmark]):
        raise ValueError(
            "verify_original: needs a model of the family llava with `convert` or `original`, and the benchmark "
            f"{benchmark} in the config (docs/models.md)"
        )
    return [plan.paths.verification(name) for name in names]


def original_arguments(plan: Plan, model: str) -> list[str]:
    """Return where the original implementation finds its checkpoint."""
    source, tower = original(plan, model) or {}, plan.model(model).tower
    arguments = ["--checkpoint", source.get("path") or source.get("id", "")]
    arguments += ["--revision", source["revision"]] if "revision" in source else []
    return arguments + (["--tower", tower] if tower else [])


def original_settings(plan: Plan, model: str) -> str:
    """Return what identifies the original's checkpoint."""
    return as_json(original(plan, model) or {})


def verification_arguments(plan: Plan, model: str) -> list[str]:
    """Return what both implementations are asked, and in which precision."""
    part = plan.config.verification
    arguments = ["--benchmark", part.benchmark, "--limit", str(part.samples)]
    return [*arguments, "--max-new-tokens", str(part.new_tokens), "--dtype", plan.model(model).dtype]


def verification_settings(plan: Plan, model: str) -> str:
    """Return the same as a slice of the settings."""
    return as_json(verification_arguments(plan, model))
