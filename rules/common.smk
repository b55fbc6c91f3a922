# Binds the config to the tested modules of workflow_scripts/himap; the rules use `plan` and `out`.

import sys
from pathlib import Path

sys.path.insert(0, f"{workflow.basedir}/workflow_scripts")

from himap.workflow.jobs.slurm_arrays import become_own_task

become_own_task()  # before anything else is read: a task of a SLURM array is its own job

from himap.workflow.jobs.sole_writer import is_replaced

if is_replaced():  # before Snakemake clears the way for a job's output
    sys.exit("error: this job belongs to a run that a newer one has replaced; it does nothing")

from himap.workflow.plan.code_hash import code_version
from himap.yaml_files import ConfigError
from himap.workflow.config.load import load
from himap.yaml_files import read_config
from himap.workflow.plan.plan import Plan
from himap.workflow.reasons import note_code

try:
    read_config(workflow.configfiles)  # refuses a key that is given twice, of which Snakemake takes the last
    plan = Plan(load(config, ", ".join(map(str, workflow.configfiles))))
except ConfigError as error:
    sys.exit(f"error: {error}")

out = plan.out


def uncompared(words):
    """Return a value of `params` that is handed to the job, but never makes a job stale.

    Snakemake takes a function that asks for `output` as derived from the job's files: it does not record its value, and
    compares a shell command before values are filled in. What decides a result is in another param, `settings`.
    """
    return lambda wildcards, output: words(wildcards)


onstart:
    note_code(Path.cwd())
