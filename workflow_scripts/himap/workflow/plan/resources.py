"""What a job asks of the machine. None of it decides a result, so Snakemake does not compare it with the last run."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from himap.workflow.plan.plan import Plan

Bundle = dict[str, Any]  # values of a rule's `resources`
METHODS_AT_ONCE = 6  # that are done within `execution.runtime_minutes`


def light_job(memory_mb: int, minutes: int) -> Bundle:
    """Return the request of a job without a model, more at each attempt."""
    return {
        # Snakemake gives the number of the attempt: a job that ran out of memory is tried again with more.
        "mem_mb": lambda wildcards, attempt: memory_mb * attempt,
        "runtime": lambda wildcards, attempt: minutes * attempt,
    }


def model_job(plan: Plan, minutes: int | None = None) -> Bundle:
    """Return the request of a job that runs a model, by the model's entry."""
    return {
        "gpu": lambda wildcards: plan.model(wildcards.model).gpus,
        "mem_mb": lambda wildcards, attempt: memory(plan, wildcards.model) * attempt,
        "runtime": running_time(plan, minutes),
    }


def conversion_job(plan: Plan, minutes: int) -> Bundle:
    """Return the request of a job that holds a model's weights but computes nothing with them."""
    return {key: value for key, value in model_job(plan, minutes).items() if key != "gpu"}


def pass_job(plan: Plan, model: str, methods: int) -> Bundle:
    """Return the request of a pass: more time if it has many methods, which share the layers that they agree on."""
    # In steps and not in proportion: methods of a pass share the tower and the first layers.
    times = math.ceil(methods / METHODS_AT_ONCE)
    return {
        "gpu": plan.model(model).gpus,
        "mem_mb": lambda wildcards, attempt: memory(plan, model) * attempt,
        "runtime": running_time(plan, plan.config.execution.runtime_minutes * times),
    }


def memory(plan: Plan, model: str) -> int:
    """Return the main memory in MB that a model's job asks for at first."""
    return plan.model(model).memory_gb * 1000


def running_time(plan: Plan, minutes: int | None = None) -> Callable[..., int]:
    """Return the minutes that a model's job asks for, more at each attempt."""
    first = minutes or plan.config.execution.runtime_minutes
    return lambda wildcards, attempt: first * attempt


def random_job(plan: Plan) -> Bundle:
    """Return the request of the job that times random weights: its weights twice over, as they are made, and room to compute."""
    entry = plan.config.latency.random_weights
    # Per layer four square projections and three matrices of the feed-forward part.
    parameters = entry.dims.layers * (4 * entry.width**2 + 3 * entry.width * entry.ffn) if entry else 0
    return {
        "gpu": entry.gpus if entry else 0,
        # 8 bytes per parameter: two copies in float32. 4 GB for Python, torch and the run itself.
        "mem_mb": lambda wildcards, attempt: (4000 + parameters * 8 // 10**6) * attempt,
        "runtime": running_time(plan),
    }


def timing_cores(plan: Plan, model: str | None, available: int | None) -> int:
    """Return the cores of a job that measures time: all if the processor computes, so that no other job disturbs it.

    Without a model it is the one of random weights.
    """
    entry = plan.config.latency.random_weights if model is None else plan.model(model)
    return plan.config.execution.threads if entry and entry.gpus else available or 1
