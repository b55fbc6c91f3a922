# Tables: ours, the paper's value, the difference, n, interval and the paired test, as CSV, LaTeX, Markdown and HTML.


rule make_table:
    input:
        results=lambda wildcards: targets.table_inputs(plan, wildcards.table),
        published=ancient("workflow_scripts/himap/paper/published.yaml"),
    output:
        "<results>/tables/{table}.csv",
        "<results>/tables/{table}.tex",
        "<results>/tables/{table}.md",
        report(
            "<results>/tables/{table}.html",
            caption="../report/captions/table.rst",
            category="Tables",
            labels={"table": "{table}"},
        ),
    log:
        "<results>/logs/tables/{table}.log",
    conda:
        "../envs/himap.yaml"
    resources:
        **light_job(memory_mb=4000, minutes=30),
    params:
        code=lambda wildcards: staleness.table(plan, wildcards.table),
        settings=lambda wildcards: settings.table(plan, wildcards.table),
        results=lambda wildcards: plan.out,
        path=lambda wildcards: f"{plan.out}/tables/{wildcards.table}",
    shell:
        "python workflow_scripts/preloaded.py make_table.py --settings {params.settings:q} --results {params.results:q}"
        " --out {params.path:q} > {log:q} 2>&1"
