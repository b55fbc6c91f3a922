# Tables: ours, the paper's value, the difference, n, interval and the paired test, as CSV, LaTeX, Markdown and HTML.


rule make_table:
    input:
        results=lambda wildcards: plan.table_inputs(wildcards.table),
        published=ancient("workflow_scripts/himap/paper/published.yaml"),
    output:
        f"{out}/tables/{{table}}.csv",
        f"{out}/tables/{{table}}.tex",
        f"{out}/tables/{{table}}.md",
        report(
            f"{out}/tables/{{table}}.html",
            caption="../report/captions/table.rst",
            category="Tables",
            labels={"table": "{table}"},
        ),
    log:
        f"{out}/logs/tables/{{table}}.log",
    conda:
        "../envs/himap.yaml"
    resources:
        mem_mb=lambda wildcards, attempt: 4000 * attempt,
        runtime=lambda wildcards, attempt: 30 * attempt,
    params:
        code=lambda wildcards: plan.table_code(wildcards.table),
        settings=lambda wildcards: plan.table_settings(wildcards.table),
        results=lambda wildcards: out,
        path=lambda wildcards: f"{out}/tables/{wildcards.table}",
    shell:
        "python workflow_scripts/preloaded.py make_table.py --settings {params.settings:q} --results {params.results:q}"
        " --out {params.path:q} > {log:q} 2>&1"
