# What each method costs: FLOPs by formula and as counted, latency (Figure 8), and the grid over both stages.


rule count_flops:
    input:
        model="<results>/models/{model}/manifest.json",
        samples=lambda wildcards: plan.paths.samples(plan.example_of(wildcards.kind)),
    output:
        "<results>/flops/{model}/{kind}/{method}.csv",
    log:
        "<results>/logs/flops/{model}/{kind}/{method}.log",
    benchmark:
        "<results>/timings/flops/{model}/{kind}/{method}.tsv"
    conda:
        "../envs/himap.yaml"
    threads: THREADS
    resources:
        **MODEL_JOB,
    params:
        code=lambda wildcards: staleness.costs(plan, wildcards.model, wildcards.kind),
        settings=lambda wildcards: settings.flops(plan, wildcards.model, wildcards.kind),
        method=lambda wildcards: arguments.method(
            plan, wildcards.model, plan.example_of(wildcards.kind), wildcards.method
        ),
        model=lambda wildcards: arguments.model(plan, wildcards.model),
        benchmark=lambda wildcards: plan.example_of(wildcards.kind),
    shell:
        "python workflow_scripts/preloaded.py count_flops.py {params.model:q} --benchmark {params.benchmark} --samples {input.samples:q}"
        " --method {params.method:q} --settings {params.settings:q} --out {output:q} > {log:q} 2>&1"


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
        "<results>/grid/{model}/{benchmark}/scores.csv",
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
        " --predictions {input.predictions:q} --sizes {params.sizes:q} --out {output:q} > {log:q} 2>&1"
