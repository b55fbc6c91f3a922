# Binds the config to the tested modules of workflow_scripts/himap/workflow/plan; the rules use `plan` and these modules.

import os
import re
import shlex
import sys
from functools import partial
from pathlib import Path

sys.path.insert(0, f"{workflow.basedir}/workflow_scripts")

from himap.workflow.jobs.slurm_arrays import become_own_task

become_own_task()  # before anything else is read: a task of a SLURM array is its own job

from himap.workflow.jobs.sole_writer import is_replaced

if is_replaced():  # before Snakemake deletes a job's old output
    sys.exit("error: this job belongs to a run that a newer one has replaced; it does nothing")

from himap.workflow.config.load import load
from himap.workflow.code_ledger import note_code
from himap.workflow.command_line import TARGETS
from himap.workflow.plan import arguments, originals, passes, settings, staleness, targets
from himap.workflow.plan.code_hash import code_version
from himap.workflow.plan.history import History
from himap.workflow.plan.plan import Plan
from himap.workflow.plan.resources import conversion_job, light_job, model_job, pass_job, random_job, timing_cores
from himap.workflow.scheduler_timer import limit_timers
from himap.yaml_files import ConfigError, read_config

try:
    read_config(workflow.configfiles)  # Snakemake would silently take the last of two equal keys
    plan = Plan(
        load(config, ", ".join(map(str, workflow.configfiles))),
        History(in_run=not workflow.is_main_process),  # a cluster's job finds the rules of the run that submitted it
    )
except ConfigError as error:
    sys.exit(f"error: {error}")


pathvars:
    results=plan.out,


# Snakemake itself learns its targets only after the rules are read.
plan.requested = targets.requested(plan, shlex.split(os.environ.get(TARGETS, "")))

THREADS = plan.config.execution.threads
MODEL_JOB = model_job(plan)


def uncompared(words):
    """Return a value of `params` that is passed to the job but never makes it stale.

    Snakemake takes a function that asks for `output` as derived from the job's files: it does not record its value, and it
    compares a shell command before values are filled in. What decides a result goes into another param, as `settings`.
    """
    return lambda wildcards, output: words(wildcards)


def compared(value):
    """Return a value of `params` as a function, because Snakemake would take the braces of a text for wildcards."""
    return lambda wildcards: value


def take_resources(name, shared):
    """Give a rule what `--set-resources` says of the name that it shares with others."""
    asked = workflow.resource_settings.overwrite_resources.get(shared)
    if asked:
        workflow.get_rule(name).resources.update(asked)


onstart:
    note_code(Path.cwd())
    plan.history.freeze(passes.partition(plan))
    limit_timers(workflow.scheduler)
