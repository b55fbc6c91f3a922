# The page that people look at: drawn again when a result, a template, a claim or a number of the paper changes.

import json

from himap.workflow.plan.report_settings import page_inputs, report_facts


rule report:
    input:
        [file for name in targets.tables(plan) for file in plan.paths.table(name)],
        [file for name in targets.figures(plan) for file in plan.paths.figure(name)],
        page=ancient(page_inputs()),
    output:
        "<results>/report.html",
    log:
        "<results>/logs/report.log",
    conda:
        "../envs/himap.yaml"
    resources:
        **light_job(memory_mb=2000, minutes=10),
    params:
        code=staleness.page(targets.figures(plan)),
        settings=json.dumps(report_facts(plan), ensure_ascii=False),
        results=lambda wildcards: plan.out,
    shell:
        "python workflow_scripts/preloaded.py render_report.py --settings {params.settings:q} --results {params.results:q} --out {output:q} > {log:q} 2>&1"
