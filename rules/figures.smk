# Figures in two steps, so that a changed plot never repeats a computation: numbers first, then the drawing.

from himap.figures import get as figure_named


rule collect_figure_data:
    input:
        results=lambda wildcards: plan.figure_inputs(wildcards.figure),
        published=ancient("workflow_scripts/himap/paper/published.yaml"),
    output:
        f"{out}/figures/data/{{figure}}.csv",
    log:
        f"{out}/logs/figures/{{figure}}-data.log",
    conda:
        "../envs/himap.yaml"
    resources:
        mem_mb=lambda wildcards, attempt: 4000 * attempt,
        runtime=lambda wildcards, attempt: 30 * attempt,
    params:
        code=lambda wildcards: plan.figure_numbers_code(wildcards.figure),
        settings=lambda wildcards: plan.figure_settings(wildcards.figure),
        results=lambda wildcards: out,
    shell:
        "python workflow_scripts/preloaded.py collect_figure_data.py --figure {wildcards.figure} --settings {params.settings:q}"
        " --results {params.results:q} --out {output:q} > {log:q} 2>&1"


rule draw_figure:
    input:
        f"{out}/figures/data/{{figure}}.csv",
    output:
        report(
            f"{out}/figures/{{figure}}.svg",
            caption="../report/captions/figure.rst",
            category="Figures",
            labels={"figure": "{figure}"},
        ),
        f"{out}/figures/{{figure}}.pdf",
        f"{out}/figures/{{figure}}.png",
    log:
        f"{out}/logs/figures/{{figure}}.log",
    conda:
        "../envs/himap.yaml"
    resources:
        mem_mb=lambda wildcards, attempt: 2000 * attempt,
        runtime=lambda wildcards, attempt: 10 * attempt,
    params:
        code=lambda wildcards: plan.figure_drawing_code(wildcards.figure),
        style=lambda wildcards: plan.style(wildcards.figure),
        path=lambda wildcards: f"{out}/figures/{wildcards.figure}",
        caption=uncompared(lambda wildcards: figure_named(wildcards.figure).in_restructured_text),
    shell:
        "python workflow_scripts/preloaded.py draw_figure.py --figure {wildcards.figure} --data {input:q} --style {params.style:q}"
        " --out {params.path:q} > {log:q} 2>&1"
