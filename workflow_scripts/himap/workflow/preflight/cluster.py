"""Whether SLURM takes the jobs that a profile describes: partitions, accounts, and a request that is tested, not submitted."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from himap.project import ROOT
from himap.workflow.preflight.findings import Finding, one_line
from himap.yaml_files import read_mapping

CLUSTER = "Cluster"
SECONDS = 60
SETTING = re.compile(r"(slurm_partition|slurm_account|constraint|qos)\s*[=:]\s*(.+)")


def is_cluster(profile: str | None) -> bool:
    """Return whether a profile sends jobs to SLURM."""
    return profile is not None and str(settings(profile).get("executor", "")).startswith("slurm")


def settings(profile: str) -> dict[str, Any]:
    """Return a profile's settings. Raise ValueError if there is none."""
    folder = ROOT / profile
    # Snakemake takes the file with the version in its name first.
    for name in ("config.v8+.yaml", "config.yaml"):
        if (folder / name).is_file():
            return dict(read_mapping(folder / name))
    raise ValueError(
        f"--profile {profile}: no config.yaml in {folder}; the project's are profiles/local and profiles/slurm"
    )


def cluster(profile: str) -> Iterator[Finding]:
    """Yield whether SLURM answers, knows the partitions and accounts, and would take a job."""
    chosen = settings(profile)
    try:
        known = partitions_of(ask("sinfo", "-h", "-o", "%P"))
    except (OSError, subprocess.SubprocessError) as error:
        words = f"sinfo does not answer ({reason(error)})"
        yield Finding(CLUSTER, "SLURM", False, words, "run this on the cluster's login node")
        return
    yield Finding(CLUSTER, "SLURM", True, f"partitions {', '.join(known)}")
    for name in partitions(chosen):
        advice = "" if name in known else f"correct it in {profile}/config.yaml; known: {', '.join(known)}"
        words = "is known" if name in known else "is unknown to SLURM"
        yield Finding(CLUSTER, f"partition {name}", name in known, words, advice)
    yield request(profile, defaults(chosen))


def ask(*words: str) -> str:
    """Return what a SLURM command prints. Raise SubprocessError or OSError if it fails."""
    return subprocess.run(words, capture_output=True, text=True, timeout=SECONDS, check=True).stdout


def reason(error: BaseException) -> str:
    """Return why a command failed: its own last words where it had some."""
    words = getattr(error, "stderr", None)
    return " ".join(str(words).split())[:200] if words else one_line(error)


def partitions_of(listing: str) -> list[str]:
    """Return the partitions of sinfo's list, in which the default one has a star."""
    # sinfo -h -o %P prints a partition per line, the default one as `gpu*`.
    return sorted({line.strip().rstrip("*") for line in listing.splitlines() if line.strip()})


def defaults(chosen: Mapping[str, Any]) -> dict[str, str]:
    """Return the profile's default resources that SLURM has to know; they are a mapping or a list of key=value."""
    given = chosen.get("default-resources") or {}
    # As a list `- slurm_account=lab`, as a mapping `slurm_account: lab`; Snakemake takes both.
    lines = given if isinstance(given, list) else [f"{key}={value}" for key, value in given.items()]
    pairs = (SETTING.fullmatch(str(line).strip()) for line in lines)
    return {pair[1]: pair[2].strip().strip("'\"") for pair in pairs if pair}


def partitions(chosen: Mapping[str, Any]) -> list[str]:
    """Return every partition that a profile names: by default, for a rule, or in its table of partitions."""
    rules = chosen.get("set-resources") or {}
    texts = (
        [str(line) for line in rules]
        if isinstance(rules, list)
        else [f"{key}={value}" for r in rules.values() for key, value in r.items()]
    )
    names = [
        defaults(chosen).get("slurm_partition", ""),
        *re.findall(r"slurm_partition\s*[=:]\s*([\w.,-]+)", "\n".join(texts)),
    ]
    table = chosen.get("slurm-partition-config")
    if table and Path(ROOT / str(table)).is_file():
        names += list(read_mapping(ROOT / str(table)).get("partitions", {}))
    # A job may name several: slurm_partition=gpu,long
    return list(dict.fromkeys(part for name in names for part in name.split(",") if part))


def request(profile: str, given: Mapping[str, str]) -> Finding:
    """Return whether SLURM would take a small job with the profile's account and partition."""
    # Resources of the executor plugin on the left, options of sbatch on the right.
    flags = {"slurm_partition": "partition", "slurm_account": "account", "constraint": "constraint", "qos": "qos"}
    words = [f"--{flag}={given[key]}" for key, flag in flags.items() if key in given]
    name = f"a job with {' '.join(words)}" if words else "a job without partition and account"
    try:
        subprocess.run(
            # SLURM checks account, partition and limits as for a real job, and queues nothing.
            ["sbatch", "--test-only", *words, "--time=5", "--wrap=true"],
            capture_output=True,
            text=True,
            timeout=SECONDS,
            check=True,
        )
    except (OSError, subprocess.SubprocessError) as error:
        advice = f"correct `default-resources` in {profile}/config.yaml; your accounts: sacctmgr show assoc user=$USER format=account"
        return Finding(CLUSTER, name, False, f"SLURM rejects it ({reason(error)})", advice)
    return Finding(CLUSTER, name, True, "SLURM would take it (tested, not submitted)")
