"""Visual information flow in multimodal models, from nothing to every table and figure of the HiMAP paper.

`./reproduce` calls this; `./reproduce table1 figure4` makes only these; `./reproduce -n` shows what is to be done.
"""

from snakemake.utils import min_version

min_version("9.27")  # pathvars


if not workflow.overwrite_configfiles:  # a preset replaces the default config instead of being merged into it

    configfile: "config.yaml"


include: "rules/common.smk"


report: "report/captions/workflow.rst"


wildcard_constraints:
    model="|".join(plan.config.models),
    benchmark="|".join(plan.config.benchmarks),
    method="|".join(plan.config.methods),
    table="|".join(plan.config.tables),
    figure="|".join(targets.figures(plan)),
    kind="qa|caption|open",
    part=r"predictions|shard-\d+-of-\d+",
    layers=r"\d+-\d+",


rule all:
    default_target: True
    input:  # every file by name: an existing page would hide that a file it was made from is missing
        targets.products(plan, targets.jobs(plan)),
        "<results>/report.html",


include: "rules/data.smk"
include: "rules/originals.smk"
include: "rules/analysis.smk"
include: "rules/questions.smk"
include: "rules/evaluation.smk"
include: "rules/costs.smk"
include: "rules/tables.smk"
include: "rules/figures.smk"
include: "rules/targets.smk"
include: "rules/report.smk"
