# Figures in two steps, so that a changed plot never repeats a computation: numbers first, then the drawing.

from himap.figures import get as figure_named


rule collect_figure_data:
    input:
        results=lambda wildcards: targets.figure_inputs(plan, wildcards.figure),
        published=ancient("workflow_scripts/himap/paper/published.yaml"),
    output:
        "<results>/figures/data/{figure}.csv",
    log:
        "<results>/logs/figures/{figure}-data.log",
    conda:
        "../envs/himap.yaml"
    resources:
        **light_job(memory_mb=4000, minutes=30),
    params:
        code=lambda wildcards: staleness.figure_numbers(wildcards.figure),
        settings=lambda wildcards: settings.figure(plan, wildcards.figure),
        results=lambda wildcards: plan.out,
    shell:
        "python workflow_scripts/preloaded.py collect_figure_data.py --figure {wildcards.figure} --settings {params.settings:q}"
        " --results {params.results:q} --out {output:q} > {log:q} 2>&1"


rule draw_figure:
    input:
        "<results>/figures/data/{figure}.csv",
    output:
        report(
            "<results>/figures/{figure}.svg",
            caption="../report/captions/figure.rst",
            category="Figures",
            labels={"figure": "{figure}"},
        ),
        "<results>/figures/{figure}.pdf",
        "<results>/figures/{figure}.png",
    log:
        "<results>/logs/figures/{figure}.log",
    conda:
        "../envs/himap.yaml"
    resources:
        **light_job(memory_mb=2000, minutes=10),
    params:
        code=lambda wildcards: staleness.figure_drawing(plan, wildcards.figure),
        style=lambda wildcards: settings.style(plan, wildcards.figure),
        path=lambda wildcards: f"{plan.out}/figures/{wildcards.figure}",
        caption=uncompared(lambda wildcards: figure_named(wildcards.figure).in_restructured_text),
    shell:
        "python workflow_scripts/preloaded.py draw_figure.py --figure {wildcards.figure} --data {input:q} --style {params.style:q}"
        " --out {params.path:q} > {log:q} 2>&1"
