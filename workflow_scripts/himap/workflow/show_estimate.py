"""Say before anything runs what a config takes: jobs, GPU hours or minutes of this machine, downloads and disk per stage."""

from __future__ import annotations

import argparse
import os
from collections.abc import Sequence
from typing import TYPE_CHECKING

from himap.project import ROOT
from himap.workflow.jobs.script import run

if TYPE_CHECKING:
    from himap.workflow.estimate import Stage

STATE = ROOT / ".snakemake"


def main(argv: Sequence[str] | None = None) -> None:
    """Read the config as the workflow does, add up, print."""
    from himap.workflow.config.load import load
    from himap.workflow.estimate import GPUS, Estimator, speeds_here, table
    from himap.workflow.jobs.gpus import without_gpu
    from himap.workflow.plan.plan import Plan
    from himap.yaml_files import read_config

    parser = argparse.ArgumentParser(prog="./reproduce estimate", description=__doc__)
    parser.add_argument("--configfile", "--configfiles", nargs="+", default=["config.yaml"], metavar="FILE")
    parser.add_argument("--gpu", default="a100", choices=list(GPUS), help="whose hours are counted")
    arguments = parser.parse_args(argv)
    plan = Plan(load(read_config(arguments.configfile), ", ".join(arguments.configfile)))
    speeds = speeds_here(plan)
    stages = Estimator(plan, arguments.gpu, speeds).stages()
    print(table(stages, arguments.gpu))
    print(
        "\nFrom formulas, within a factor of about two. Jobs are what a first run does, its named targets not counted."
    )
    if speeds:
        print(minutes_here(stages, list(speeds)))
    unmeasured = [name for name, model in plan.config.models.items() if model.gpus == 0 and name not in speeds]
    if unmeasured:
        print(
            f"{', '.join(unmeasured)}: asks for no GPU, so it runs on the processor and takes many times these hours."
        )
    if without := without_gpu({name: model.gpus for name, model in plan.config.models.items()}):
        print(f"{', '.join(without)}: this machine has no GPU; here it would take many times these hours.")


def minutes_here(stages: list[Stage], models: list[str]) -> str:
    """Return the sentence that says how long the run takes on this machine, and where the number comes from."""
    from himap.workflow.estimate import earlier_minutes, job_start
    from himap.workflow.snakemake_log import durations

    cores = len(os.sched_getaffinity(0))
    earlier = earlier_minutes(stages, durations(STATE), cores)
    if earlier is not None:
        return (
            f"Here, on {cores} cores: about {earlier:.0f} minutes in all, by the times of earlier jobs in this folder."
        )
    start = job_start()
    whole = sum(stage.here + stage.jobs * start for stage in stages) / cores / 60
    return (
        f"Here, on {cores} cores: about {max(whole, 1):.0f} minutes in all while nothing else runs, by a trial just now "
        f"({', '.join(models)} on this processor, and {start:.1f} s for the start of each job)."
    )


if __name__ == "__main__":
    run(main)
