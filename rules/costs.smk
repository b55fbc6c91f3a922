# What each method costs: FLOPs by formula and as counted, latency (Figure 8), and the grid over both stages.


rule count_flops:
    input:
        model=f"{out}/models/{{model}}/manifest.json",
        samples=lambda wildcards: plan.samples(plan.example_of(wildcards.kind)),
    output:
        f"{out}/flops/{{model}}/{{kind}}.csv",
    log:
        f"{out}/logs/flops/{{model}}/{{kind}}.log",
    benchmark:
        f"{out}/timings/flops/{{model}}/{{kind}}.tsv"
    conda:
        "../envs/himap.yaml"
    threads: plan.config.execution.threads
    resources:
        gpu=lambda wildcards: plan.model(wildcards.model).gpus,
        mem_mb=lambda wildcards, attempt: plan.memory(wildcards.model, attempt),
        runtime=lambda wildcards, attempt: plan.runtime(attempt),
    params:
        code=lambda wildcards: plan.model_code("count_flops.py", wildcards.model, plan.example_of(wildcards.kind)),
        settings=lambda wildcards: plan.flops_settings(wildcards.model, wildcards.kind),
        methods=lambda wildcards: plan.costed_methods(wildcards.model, wildcards.kind),
        model=lambda wildcards: plan.model_arguments(wildcards.model),
        benchmark=lambda wildcards: plan.example_of(wildcards.kind),
    shell:
        "python workflow_scripts/preloaded.py count_flops.py {params.model:q} --benchmark {params.benchmark} --samples {input.samples:q}"
        " --methods {params.methods:q} --settings {params.settings:q} --out {output:q} > {log:q} 2>&1"


rule measure_latency:
    input:
        model=f"{out}/models/{{model}}/manifest.json",
        samples=f"{out}/benchmarks/{{benchmark}}/samples.parquet",
    output:
        f"{out}/latency/{{model}}/{{benchmark}}.csv",
    log:
        f"{out}/logs/latency/{{model}}/{{benchmark}}.log",
    benchmark:
        f"{out}/timings/latency/{{model}}/{{benchmark}}.tsv"
    conda:
        "../envs/himap.yaml"
    threads: lambda wildcards: plan.cores(wildcards.model, workflow.cores)
    resources:
        gpu=lambda wildcards: plan.model(wildcards.model).gpus,
        mem_mb=lambda wildcards, attempt: plan.memory(wildcards.model, attempt),
        runtime=lambda wildcards, attempt: plan.runtime(attempt),
    params:
        code=lambda wildcards: plan.model_code("measure_latency.py", wildcards.model, wildcards.benchmark),
        settings=lambda wildcards: plan.latency_settings(wildcards.model, wildcards.benchmark),
        methods=lambda wildcards: plan.timed_methods(wildcards.model, wildcards.benchmark),
        model=lambda wildcards: plan.model_arguments(wildcards.model),
    shell:
        "python workflow_scripts/preloaded.py measure_latency.py {params.model:q} --benchmark {wildcards.benchmark} --samples {input.samples:q}"
        " --methods {params.methods:q} --settings {params.settings:q} --out {output:q} > {log:q} 2>&1"


rule explore_grid:
    input:
        model=f"{out}/models/{{model}}/manifest.json",
        samples=f"{out}/benchmarks/{{benchmark}}/samples.parquet",
    output:
        f"{out}/grid/{{model}}/{{benchmark}}/predictions.jsonl",
    log:
        f"{out}/logs/grid/{{model}}/{{benchmark}}.log",
    benchmark:
        f"{out}/timings/grid/{{model}}/{{benchmark}}.tsv"
    conda:
        "../envs/himap.yaml"
    threads: plan.config.execution.threads
    resources:
        gpu=lambda wildcards: plan.model(wildcards.model).gpus,
        mem_mb=lambda wildcards, attempt: plan.memory(wildcards.model, attempt),
        runtime=lambda wildcards, attempt: plan.runtime(attempt),
    params:
        code=lambda wildcards: plan.model_code("explore_grid.py", wildcards.model, wildcards.benchmark),
        settings=lambda wildcards: plan.grid_settings(wildcards.model, wildcards.benchmark),
        model=lambda wildcards: plan.model_arguments(wildcards.model),
    shell:
        "python workflow_scripts/preloaded.py explore_grid.py {params.model:q} --benchmark {wildcards.benchmark} --samples {input.samples:q}"
        " --settings {params.settings:q} --out {output:q} > {log:q} 2>&1"


rule score_grid:
    input:
        samples=f"{out}/benchmarks/{{benchmark}}/samples.parquet",
        predictions=f"{out}/grid/{{model}}/{{benchmark}}/predictions.jsonl",
    output:
        f"{out}/grid/{{model}}/{{benchmark}}/scores.csv",
    log:
        f"{out}/logs/grid/{{model}}/{{benchmark}}-scores.log",
    conda:
        "../envs/himap.yaml"
    resources:
        mem_mb=lambda wildcards, attempt: 4000 * attempt,
        runtime=lambda wildcards, attempt: 30 * attempt,
    params:
        code=lambda wildcards: plan.score_code("score_grid.py", wildcards.benchmark),
        sizes=lambda wildcards: plan.sizes_json(wildcards.model),
    shell:
        "python workflow_scripts/preloaded.py score_grid.py --benchmark {wildcards.benchmark} --samples {input.samples:q}"
        " --predictions {input.predictions:q} --sizes {params.sizes:q} --out {output:q} > {log:q} 2>&1"
