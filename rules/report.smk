# The page that people look at: drawn anew when a result, a template, a claim or a number of the paper changes.

import json

from himap.workflow.plan.report_settings import page_inputs, report_facts


rule report:
    input:
        [file for name in plan.tables() for file in plan.table_files(name)],
        [file for name in plan.figures() for file in plan.figure_files(name)],
        page=ancient(page_inputs()),
    output:
        f"{out}/report.html",
    log:
        f"{out}/logs/report.log",
    conda:
        "../envs/himap.yaml"
    resources:
        mem_mb=lambda wildcards, attempt: 2000 * attempt,
        runtime=lambda wildcards, attempt: 10 * attempt,
    params:
        code=plan.page_code(),
        settings=json.dumps(report_facts(plan), ensure_ascii=False),
        results=lambda wildcards: out,
    shell:
        "python workflow_scripts/preloaded.py render_report.py --settings {params.settings:q} --results {params.results:q} --out {output:q} > {log:q} 2>&1"
