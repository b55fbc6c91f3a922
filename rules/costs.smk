# What each method costs: FLOPs by formula and as counted, time and memory (Figure 8, efficiency), and the grid over both stages.


for each in passes.passes(plan, passes.COSTS):

    rule:
        name:
            each.name
        input:
            model="<results>/models/{model}/manifest.json",
            samples=plan.paths.samples(plan.example_of(each.place)),
        output:
            [f"<results>/flops/{{model}}/{{kind}}/{method}.csv" for method in each.methods],
        log:
            f"<results>/logs/flops/{{model}}/{{kind}}/{each.methods[0]}.log",
        benchmark:
            f"<results>/timings/flops/{{model}}/{{kind}}/{each.methods[0]}.tsv"
        wildcard_constraints:
            model=re.escape(each.model),
            kind=each.place,
        conda:
            "../envs/himap.yaml"
        threads: THREADS
        resources:
            **pass_job(plan, each.model, len(each.methods)),
        params:
            methods=compared(each.made_with),
            told=uncompared(partial(lambda each, wildcards: passes.command(plan, each), each)),
            model=uncompared(lambda wildcards: arguments.model(plan, wildcards.model)),
            benchmark=uncompared(lambda wildcards: plan.example_of(wildcards.kind)),
        shell:
            "python workflow_scripts/preloaded.py count_flops.py {params.model:q} --benchmark {params.benchmark}"
            " --samples {input.samples:q} {params.told:q} > {log:q} 2>&1"

    take_resources(each.name, each.step.rule)


rule measure_latency:
    input:
        model="<results>/models/{model}/manifest.json",
        samples="<results>/benchmarks/{benchmark}/samples.parquet",
    output:
        "<results>/latency/{model}/{benchmark}.csv",
    log:
        "<results>/logs/latency/{model}/{benchmark}.log",
    benchmark:
        "<results>/timings/latency/{model}/{benchmark}.tsv"
    conda:
        "../envs/himap.yaml"
    threads: lambda wildcards: timing_cores(plan, wildcards.model, workflow.cores)
    resources:
        **MODEL_JOB,
    params:
        code=lambda wildcards: staleness.asking(plan, "measure_latency.py", wildcards.model, wildcards.benchmark),
        settings=lambda wildcards: settings.latency(plan, wildcards.model, wildcards.benchmark),
        methods=lambda wildcards: arguments.timed_methods(plan, wildcards.model, wildcards.benchmark),
        model=lambda wildcards: arguments.model(plan, wildcards.model),
    shell:
        "python workflow_scripts/preloaded.py measure_latency.py {params.model:q} --benchmark {wildcards.benchmark} --samples {input.samples:q}"
        " --methods {params.methods:q} --settings {params.settings:q} --out {output:q} > {log:q} 2>&1"


rule time_random_weights:
    output:
        "<results>/random-weights/latency.csv",
    log:
        "<results>/logs/random-weights/latency.log",
    benchmark:
        "<results>/timings/random-weights/latency.tsv"
    conda:
        "../envs/himap.yaml"
    threads: lambda wildcards: timing_cores(plan, None, workflow.cores)
    resources:
        **random_job(plan),
    params:
        code=lambda wildcards: staleness.random_latency(),
        settings=lambda wildcards: settings.random_latency(plan),
        methods=lambda wildcards: arguments.random_methods(plan),
        sizes=lambda wildcards: arguments.random_sizes(plan),
    shell:
        "python workflow_scripts/preloaded.py time_random_weights.py --sizes {params.sizes:q} --methods {params.methods:q}"
        " --settings {params.settings:q} --out {output:q} > {log:q} 2>&1"


rule tabulate_efficiency:
    input:
        targets.timings(plan),
    output:
        "<results>/tables/efficiency.csv",
        "<results>/tables/efficiency.tex",
        "<results>/tables/efficiency.md",
        report(
            "<results>/tables/efficiency.html",
            caption="../report/captions/efficiency.rst",
            category="Tables",
            labels={"table": "efficiency"},
        ),
    log:
        "<results>/logs/tables/efficiency.log",
    conda:
        "../envs/himap.yaml"
    resources:
        **light_job(memory_mb=4000, minutes=30),
    params:
        code=lambda wildcards: staleness.efficiency(plan),
        settings=lambda wildcards: settings.efficiency(plan),
        results=lambda wildcards: plan.out,
        path=lambda wildcards: f"{plan.out}/tables/efficiency",
    shell:
        "python workflow_scripts/preloaded.py tabulate_efficiency.py --settings {params.settings:q} --results {params.results:q}"
        " --out {params.path:q} > {log:q} 2>&1"


rule explore_grid:
    input:
        model="<results>/models/{model}/manifest.json",
        samples="<results>/benchmarks/{benchmark}/samples.parquet",
    output:
        "<results>/grid/{model}/{benchmark}/predictions.jsonl",
    log:
        "<results>/logs/grid/{model}/{benchmark}.log",
    benchmark:
        "<results>/timings/grid/{model}/{benchmark}.tsv"
    conda:
        "../envs/himap.yaml"
    threads: THREADS
    resources:
        **MODEL_JOB,
    params:
        code=lambda wildcards: staleness.asking(plan, "explore_grid.py", wildcards.model, wildcards.benchmark),
        settings=lambda wildcards: settings.grid(plan, wildcards.model, wildcards.benchmark),
        model=lambda wildcards: arguments.model(plan, wildcards.model),
        batch=uncompared(lambda wildcards: arguments.batch_size(plan)),
    shell:
        "python workflow_scripts/preloaded.py explore_grid.py {params.model:q} --benchmark {wildcards.benchmark} --samples {input.samples:q}"
        " {params.batch:q} --settings {params.settings:q} --out {output:q} > {log:q} 2>&1"


rule score_grid:
    input:
        samples="<results>/benchmarks/{benchmark}/samples.parquet",
        predictions="<results>/grid/{model}/{benchmark}/predictions.jsonl",
    output:
        scores="<results>/grid/{model}/{benchmark}/scores.csv",
        samples="<results>/grid/{model}/{benchmark}/samples.csv",
    log:
        "<results>/logs/grid/{model}/{benchmark}-scores.log",
    conda:
        "../envs/himap.yaml"
    resources:
        **light_job(memory_mb=4000, minutes=30),
    params:
        code=lambda wildcards: staleness.scores("score_grid.py", wildcards.benchmark),
        sizes=lambda wildcards: arguments.sizes(plan, wildcards.model),
    shell:
        "python workflow_scripts/preloaded.py score_grid.py --benchmark {wildcards.benchmark} --samples {input.samples:q}"
        " --predictions {input.predictions:q} --sizes {params.sizes:q} --out {output.scores:q} --by-sample {output.samples:q} > {log:q} 2>&1"
