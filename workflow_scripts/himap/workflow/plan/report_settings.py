"""What the report is told about a run: names, titles and origins, as plain data from the plan; results are read from files."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from himap import benchmarks
from himap.paper.published import FILE as PUBLISHED
from himap.project import ROOT
from himap.workflow.plan.targets import figures

if TYPE_CHECKING:
    from himap.workflow.plan.plan import Plan
TEMPLATES = ROOT / "report" / "templates"
CLAIMS = ROOT / "report" / "claims.yaml"
DIVERGENCES = ROOT / "report" / "divergences.yaml"


def report_facts(plan: Plan) -> dict[str, Any]:
    """All that the page says about the run beside its results."""
    config = plan.config
    return {
        "tables": {name: table.title for name, table in plan.tables().items()},
        "figures": figures(plan),
        "models": {name: model_facts(plan, name) for name in config.models},
        "benchmarks": {
            name: {
                "title": benchmarks.get(name).title,
                "source": entry.source,
                "comparable": entry.source != "mini",
                "kind": plan.kind(name),
                "scored": plan.scored(name),
                "asked": plan.asked(name)["protocol"],
            }
            for name, entry in sorted(config.benchmarks.items(), key=lambda one: benchmarks.get(one[0]).rank)
        },
        "methods": {
            name: {"title": plan.title(name), "about": method.about} for name, method in config.methods.items()
        },
        "planned": {
            name: plan.known(getattr(config, name).benchmarks) for name in ("saliency", "disruption", "latency")
        },
        "evaluated": [list(cell) for cell in plan.evaluations()],
        "main_methods": next((table.methods for table in plan.tables().values()), []),
        "edge": config.disruption.edge,
        "batch_size": config.execution.batch_size,
        "config": yaml.safe_dump(
            json.loads(config.model_dump_json(exclude_none=True, exclude_defaults=True)), sort_keys=False
        ),
        "config_hash": hashlib.sha256(
            json.dumps(json.loads(config.model_dump_json()), sort_keys=True).encode()
        ).hexdigest()[:16],
        "page": page_digest(),
    }


def model_facts(plan: Plan, name: str) -> dict[str, Any]:
    """A model's origin and sizes."""
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
    return [*sorted(path for path in TEMPLATES.iterdir() if path.is_file()), CLAIMS, DIVERGENCES, PUBLISHED]


def page_inputs() -> list[str]:
    """The same, relative to the project, as the rule names its inputs."""
    return [str(path.relative_to(ROOT)) for path in page_files()]


def page_digest() -> str:
    """A hash of those files, so that a changed sentence renews the page."""
    return hashlib.sha256(b"\0".join(path.read_bytes() for path in page_files())).hexdigest()[:16]
