"""Say before anything runs what a config takes: jobs, GPU hours, downloads and disk per stage."""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from himap.scripting import run


def main(argv: Sequence[str] | None = None) -> None:
    """Read the config as the workflow does, add up, print."""
    from himap.config import load
    from himap.config_files import read_config
    from himap.estimate import GPUS, Estimator, table
    from himap.plan import Plan

    parser = argparse.ArgumentParser(prog="./reproduce estimate", description=__doc__)
    parser.add_argument("--configfile", "--configfiles", nargs="+", default=["config.yaml"], metavar="FILE")
    parser.add_argument("--gpu", default="a100", choices=list(GPUS), help="whose hours are counted")
    arguments = parser.parse_args(argv)
    plan = Plan(load(read_config(arguments.configfile), ", ".join(arguments.configfile)))
    print(table(Estimator(plan, arguments.gpu).stages(), arguments.gpu))
    print(
        "\nFrom formulas, within a factor of about two. Jobs are what a first run does, its named targets not counted."
    )
    local = [name for name, model in plan.config.models.items() if model.gpus == 0]
    if local:
        print(f"Here {', '.join(local)} asks for no GPU; its part runs on the processor and takes longer.")


if __name__ == "__main__":
    run(main)
