"""Which parts of a benchmark's file a job's code hash looks at."""

from __future__ import annotations

# What a benchmark's file declares for scoring, for asking and for its data; each job looks at some of it only.
SCORES = ("rows", "headline", "details", "judge", "metric", "scale", "chance", "digits", "title", "rank", "picture")
PROMPTS = ("make_prompt", "limits", "short_limits")
DATA = ("source", "sample", "stratum", "unit")
SCORING = ("himap.benchmarks._scoring", "himap.metrics.statistics")
