"""Which parts of a benchmark's or a figure's file a job's code hash looks at."""

from __future__ import annotations

# What a benchmark's file declares for scoring, for asking and for its data; each job looks at some of it only.
SCORES = ("rows", "headline", "details", "judge", "metric", "scale", "chance", "digits", "title", "rank", "picture")
PROMPTS = ("make_prompt", "limits", "short_limits")
DATA = ("source", "sample", "stratum", "unit")
SCORING = ("himap.benchmarks._scoring", "himap.metrics.statistics")

# What a figure's file declares for the plan and for the page; the jobs look at `numbers` or at `panels` alone.
FIGURE_PLAN = ("about", "inputs", "settings", "needs_results", "style", "rank")
FIGURE_PAGE = ("caption", "section")
BEHIND_TITLES = tuple(part for part in (*SCORES, *PROMPTS, *DATA) if part not in ("title", "digits"))
