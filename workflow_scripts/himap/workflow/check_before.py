"""Check before a run costs anything: models and data at their revisions and licenses, disk, memory, the cluster, the judge.

    ./reproduce check --configfile presets/paper.yaml --profile profiles/slurm
    ./reproduce check --try          # besides, two samples of each benchmark through each model (downloads them)

✓ is fine, ✗ will fail, – could not be checked here. The exit status is 1 if anything is marked ✗.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from himap.workflow.command_line import DEFAULT_CONFIG, plan_of
from himap.workflow.jobs.script import run

if TYPE_CHECKING:
    from himap.workflow.plan.plan import Plan
    from himap.workflow.preflight.findings import Finding


def main(argv: Sequence[str] | None = None) -> int:
    """Print the findings as they come in; return 1 if one is a failure."""
    parser = argparse.ArgumentParser(
        prog="./reproduce check", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--configfile", "--configfiles", nargs="+", default=[DEFAULT_CONFIG], metavar="FILE")
    parser.add_argument("--profile", help="the profile that the run will use, e.g. profiles/slurm")
    parser.add_argument("--try", dest="try_samples", action="store_true", help="answer two samples of each benchmark")
    arguments = parser.parse_args(argv)
    from himap.workflow.preflight.findings import listed, summary

    findings: list[Finding] = []

    # Printed while the checks still run, since a hub may take long to answer; the status needs all of them at the end.
    def kept() -> Iterator[Finding]:
        for finding in checks(plan_of(arguments.configfile), arguments.profile, arguments.try_samples):
            findings.append(finding)
            yield finding

    for line in listed(kept()):
        print(line, flush=True)
    print(summary(findings))
    # None is a check that could not be made here, and no failure.
    return int(any(finding.ok is False for finding in findings))


def checks(plan: Plan, profile: str | None, try_samples: bool) -> Iterator[Finding]:
    """Yield all findings, the cheapest first."""
    from himap.workflow.preflight import cluster, judge, room, sources, trial

    on_cluster = cluster.is_cluster(profile)
    yield from room.disks(plan)
    yield from room.devices(plan, on_cluster)
    if on_cluster and profile:
        yield from cluster.cluster(profile)
    # From here on the network is asked, then a judge that may cost money, then whole data sets are downloaded.
    yield from sources.models(plan)
    yield from sources.benchmarks(plan)
    yield from judge.judge(plan)
    if try_samples:
        yield from trial.trial(plan)


if __name__ == "__main__":
    run(main)
