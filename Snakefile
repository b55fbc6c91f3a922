"""Visual information flow in multimodal models, from nothing to every table and figure of the HiMAP paper.

`./reproduce` calls this; `./reproduce table1 figure4` makes these alone; `./reproduce -n` shows what is to be done.
"""

from snakemake.utils import min_version

min_version("9.0")


if not workflow.overwrite_configfiles:  # a preset replaces the default config; it is not laid over it

    configfile: "config.yaml"


include: "rules/common.smk"


wildcard_constraints:
    model="|".join(plan.config.models),
    benchmark="|".join(plan.config.benchmarks),
    method="|".join(plan.config.methods),
    table="|".join(plan.config.tables),
    figure="|".join(plan.figures()),
    kind="qa|caption|open",
    shard=r"\d+",
    shards=r"\d+",
    layers=r"\d+-\d+",


rule all:
    default_target: True
    input:  # all files by name: a file that is there would hide that what it was made from is not
        plan.products(plan.experiments),
        f"{plan.out}/report.html",


include: "rules/data.smk"
include: "rules/originals.smk"
include: "rules/analysis.smk"
include: "rules/evaluation.smk"
include: "rules/costs.smk"
include: "rules/tables.smk"
include: "rules/figures.smk"
include: "rules/targets.smk"
include: "rules/report.smk"
