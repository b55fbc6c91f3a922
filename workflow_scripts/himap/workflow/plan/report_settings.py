"""What the report is told about a run: names, titles and origins, as plain data from the plan. It reads results from files."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from himap import benchmarks
from himap.paper.published import FILE as PUBLISHED
from himap.project import ROOT
from himap.workflow.plan.content_hash import digest
from himap.workflow.plan.settings import EFFICIENCY_TITLE
from himap.workflow.plan.targets import EFFICIENCY, figures, tables

if TYPE_CHECKING:
    from himap.workflow.config.schema import Config
    from himap.workflow.plan.plan import Plan
TEMPLATES = ROOT / "report" / "templates"
CLAIMS = ROOT / "report" / "claims.yaml"
BEYOND = ROOT / "report" / "beyond.yaml"
DIVERGENCES = ROOT / "report" / "divergences.yaml"


# What pydantic leaves out of a dump: keys that change how jobs run and no result.
HOW_JOBS_RUN: Any = {
    "execution": True,
    "models": {"__all__": {"memory_gb"}},
    "judge": {"base_url", "cache", "concurrency"},
}


def report_facts(plan: Plan) -> dict[str, Any]:
    """Return all that the page says about the run besides its results."""
    config = plan.config
    return {
        "tables": {name: table.title for name, table in plan.tables().items()},
        "figures": figures(plan),
        "efficiency": EFFICIENCY_TITLE if EFFICIENCY in tables(plan) else None,
        "models": {name: model_facts(plan, name) for name in plan.models_for()},
        "question_models": {name: model_facts(plan, name) for name in config.models if plan.model(name).only},
        "benchmarks": {
            name: {
                "title": benchmarks.get(name).title,
                "source": entry.source,
                # The embedded world has the benchmarks' form but not their data.
                "comparable": entry.source != "mini",
                "kind": plan.kind(name),
                "scored": plan.scored(name),
                "asked": plan.asked(name)["protocol"],
            }
            # In the report's order, that of the paper, not the config's.
            for name, entry in sorted(config.benchmarks.items(), key=lambda entry: benchmarks.get(entry[0]).rank)
        },
        "methods": {
            name: {"title": plan.title(name), "about": method.about} for name, method in config.methods.items()
        },
        "planned": {
            name: plan.known(getattr(config, name).benchmarks) for name in ("saliency", "disruption", "latency")
        },
        "evaluated": [list(cell) for cell in plan.evaluations()],
        # The first table's rows are the methods that the page's first screen compares.
        "main_methods": next((table.methods for table in plan.tables().values()), []),
        # Only what differs from the defaults is shown; the hash below is over everything.
        "config": yaml.safe_dump(deciding(config, exclude_none=True, exclude_defaults=True), sort_keys=False),
        "config_hash": digest(deciding(config)),
        # The page's job compares the text of these facts, so the templates' hash is one of them.
        "page": page_digest(),
    }


def deciding(config: Config, **options: Any) -> Any:
    """Return the part of a config that decides results. How jobs run is left out, so that it never makes the page stale."""
    return json.loads(config.model_dump_json(exclude=HOW_JOBS_RUN, **options))


def model_facts(plan: Plan, name: str) -> dict[str, Any]:
    """Return a model's origin and sizes."""
    entry, dims = plan.model(name), plan.dims(name)
    return {
        "published": entry.published,
        "source": entry.path or f"{entry.id} at {entry.revision}",
        "family": entry.family,
        "image_modes": {benchmark: plan.image_mode(name, benchmark) for benchmark in plan.config.benchmarks},
        "dtype": entry.dtype,
        "gpus": entry.gpus,
        "layers": dims.layers,
        "image_tokens": dims.tokens_per_image,
        "grid": list(dims.grid),
    }


def page_files() -> list[Path]:
    """Return the files that the page is made from beside the results: templates, claims, divergences, the paper's numbers."""
    return [*sorted(path for path in TEMPLATES.iterdir() if path.is_file()), CLAIMS, BEYOND, DIVERGENCES, PUBLISHED]


def page_inputs() -> list[str]:
    """Return the same files relative to the project, as the rule names its inputs."""
    return [str(path.relative_to(ROOT)) for path in page_files()]


def page_digest() -> str:
    """Hash those files, so that a changed sentence renews the page."""
    return hashlib.sha256(b"\0".join(path.read_bytes() for path in page_files())).hexdigest()[:16]
