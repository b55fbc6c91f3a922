"""Which parts of a benchmark's file a job's code hash looks at."""

from __future__ import annotations

# What a benchmark's file declares for scoring, for asking and for its data; each job looks at some of it only.
SCORES = (
    "rows",
    "headline",
    "details",
    "judge",
    "metric",
    "scale",
    "chance",
    "digits",
    "title",
    "rank",
    "picture",
    "own_form",
)
PROMPTS = ("make_prompt", "limits", "short_limits", "image_modes")
DATA = ("source", "sources", "sample", "stratum", "unit", "keep")
SCORING = ("himap.benchmarks._scoring", "himap.metrics.statistics")
