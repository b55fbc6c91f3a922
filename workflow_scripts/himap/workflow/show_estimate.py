"""Say before anything runs what a config takes: jobs, GPU hours or minutes of this machine, downloads and disk per stage."""

from __future__ import annotations

import argparse
import os
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from himap.project import ROOT
from himap.workflow.jobs.script import run

if TYPE_CHECKING:
    from himap.workflow.estimate import Stage

STATE = ROOT / ".snakemake"


def main(argv: Sequence[str] | None = None) -> None:
    """Read the config as the workflow does, add up, print."""
    from himap.workflow.assumptions import GPUS, LAYER, NEW_TOKENS, REACHED, REACHED_FLOAT32
    from himap.workflow.config.load import load
    from himap.workflow.estimate import Estimator
    from himap.workflow.jobs.gpus import without_gpu
    from himap.workflow.plan.plan import Plan
    from himap.workflow.speed import speeds_here
    from himap.yaml_files import read_config

    parser = argparse.ArgumentParser(prog="./reproduce estimate", description=__doc__)
    parser.add_argument("--configfile", "--configfiles", nargs="+", default=["config.yaml"], metavar="FILE")
    parser.add_argument("--gpu", default="a100", choices=list(GPUS), help="whose hours are counted")
    arguments = parser.parse_args(argv)
    plan = Plan(load(read_config(arguments.configfile), ", ".join(arguments.configfile)))
    speeds = speeds_here(plan)
    estimator = Estimator(plan, arguments.gpu, speeds)
    stages = estimator.stages()
    tokens = ", ".join(str(NEW_TOKENS[kind]) for kind in ("qa", "caption", "open"))
    print(table(stages, arguments.gpu))
    if downloads := estimator.model_downloads():
        print(
            f"Models to download, in 16 bits: {', '.join(f'{name} {size:.1f} GB' for name, size in downloads.items())}."
        )
    print(
        "\nFrom formulas, within a factor of about two. Jobs are what a first run does, its named targets not counted.\n"
        f"Assumed: {100 * REACHED:.0f} % of the GPU's peak rate in a prefill, batches of {estimator.times.batch}, "
        f"answers of {tokens} tokens\n"
        f"(questions, captions, open answers) with at least {1000 * LAYER:g} ms per token and layer, in saliency "
        f"{100 * REACHED_FLOAT32:.0f} % of the peak rate\n"
        "in float32, and questions about one picture as many as in the published data, which share it."
    )
    if speeds:
        print(minutes_here(stages, list(speeds)))
    # Speeds exist only for local models small enough to try.
    unmeasured = [name for name, model in plan.config.models.items() if model.gpus == 0 and name not in speeds]
    if unmeasured:
        print(
            f"{', '.join(unmeasured)}: asks for no GPU, so it runs on the processor and takes many times these hours."
        )
    if without := without_gpu({name: model.gpus for name, model in plan.config.models.items()}):
        print(f"{', '.join(without)}: this machine has no GPU; here it would take many times these hours.")


def minutes_here(stages: list[Stage], models: list[str]) -> str:
    """Return the sentence that says how long the run takes on this machine, and where the number comes from."""
    from himap.workflow.snakemake_log import durations
    from himap.workflow.speed import job_start

    cores = len(os.sched_getaffinity(0))
    # Times that this folder's jobs really took are better than a trial of a second.
    earlier = earlier_minutes(stages, durations(STATE), cores)
    if earlier is not None:
        return (
            f"Here, on {cores} cores: about {earlier:.0f} minutes in all, by the times of earlier jobs in this folder."
        )
    start = job_start()
    # As if the cores shared the jobs without a gap.
    whole = sum(stage.here + stage.jobs * start for stage in stages) / cores / 60
    return (
        f"Here, on {cores} cores: about {max(whole, 1):.0f} minutes in all while nothing else runs, by a trial just now "
        f"({', '.join(name.partition(',')[0] for name in models)} on this processor, and {start:.1f} s for the start of each job)."
    )


def earlier_minutes(stages: list[Stage], seconds: Mapping[str, list[float]], lanes: int) -> float | None:
    """Return the minutes that the jobs take by earlier jobs of the same rules; None if a rule has not run yet."""
    # Adding Counters drops rules with zero jobs, which need no times.
    rules = sum((stage.rules for stage in stages), Counter[str]())
    if any(not seconds.get(rule) for rule in rules):
        return None
    return sum(count * sum(seconds[rule]) / len(seconds[rule]) for rule, count in rules.items()) / lanes / 60


def table(stages: list[Stage], gpu: str) -> str:
    """Return the stages as text, with their sum."""
    from himap.workflow.estimate import Stage

    whole = Stage("all", sum((stage.rules for stage in stages), Counter[str]()))
    for stage in stages:
        whole.seconds += stage.seconds
        whole.here += stage.here
        whole.download_gb += stage.download_gb
        whole.disk_gb += stage.disk_gb
    # The column of this machine's minutes is only there if a model runs on the processor.
    here = bool(whole.here)
    lines = [f"{'stage':<26}{'jobs':>8}{f'{gpu} hours':>16}{'download GB':>14}{'disk GB':>10}"]
    lines[0] += f"{'minutes here':>15}" if here else ""
    for stage in [*stages, whole]:
        spent = f"{stage.seconds / 3600:.2f}" if stage.seconds else ""
        sizes = [f"{size:.1f}" if size else "" for size in (stage.download_gb, stage.disk_gb)]
        line = f"{stage.name:<26}{stage.jobs:>8}{spent:>16}{sizes[0]:>14}{sizes[1]:>10}"
        lines.append((line + (f"{stage.here / 60:.1f}" if stage.here else "").rjust(15 * here)).rstrip())
    return "\n".join([*lines, "Disk: models and data; results take little beside them."])


if __name__ == "__main__":
    run(main)
