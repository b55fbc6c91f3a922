# Models and benchmarks: what the experiments run on.


rule fetch_model:
    input:
        lambda wildcards: plan.converted(wildcards.model),
    output:
        "<results>/models/{model}/manifest.json",
    log:
        "<results>/logs/models/{model}.log",
    benchmark:
        "<results>/timings/models/{model}.tsv"
    conda:
        "../envs/himap.yaml"
    resources:
        **light_job(memory_mb=2000, minutes=240),
    params:
        code=code_version("fetch_model.py"),
        settings=lambda wildcards: settings.fetch(plan, wildcards.model),
        source=lambda wildcards: arguments.fetch(plan, wildcards.model),
    shell:
        "python workflow_scripts/preloaded.py fetch_model.py {params.source:q} --out {output:q} > {log:q} 2>&1"


rule draw_mini_benchmark:
    output:
        temp("<results>/mini-world/{benchmark}.parquet"),
    log:
        "<results>/logs/mini-world/{benchmark}.log",
    conda:
        "../envs/himap.yaml"
    resources:
        **light_job(memory_mb=2000, minutes=10),
    params:
        code=lambda wildcards: code_version("make_mini_benchmarks.py", f"himap.mini.benchmarks.{wildcards.benchmark}"),
        settings=lambda wildcards: settings.drawing(plan, wildcards.benchmark),
        amount=lambda wildcards: arguments.drawing(plan, wildcards.benchmark),
    shell:
        "python workflow_scripts/preloaded.py make_mini_benchmarks.py {params.amount:q} --out {output:q} > {log:q} 2>&1"


rule download_benchmark:
    input:
        lambda wildcards: plan.mini_rows(wildcards.benchmark),
    output:
        samples="<results>/benchmarks/{benchmark}/samples.parquet",
        manifest="<results>/benchmarks/{benchmark}/manifest.json",
    log:
        "<results>/logs/benchmarks/{benchmark}.log",
    benchmark:
        "<results>/timings/benchmarks/{benchmark}.tsv"
    conda:
        "../envs/himap.yaml"
    resources:
        **light_job(memory_mb=4000, minutes=240),
    params:
        code=lambda wildcards: staleness.samples(wildcards.benchmark),
        settings=lambda wildcards: settings.samples(plan, wildcards.benchmark),
        source=lambda wildcards: arguments.samples(plan, wildcards.benchmark),
    shell:
        "python workflow_scripts/preloaded.py download_benchmark.py --benchmark {wildcards.benchmark} {params.source:q}"
        " --out {output.samples:q} --manifest {output.manifest:q} > {log:q} 2>&1"


rule train_mini:
    output:
        "<results>/trained-mini/model.safetensors",
    log:
        "<results>/logs/train-mini.log",
    benchmark:
        "<results>/timings/train-mini.tsv"
    conda:
        "../envs/himap.yaml"
    threads: 2
    resources:
        **light_job(memory_mb=8000, minutes=240),
    params:
        code=lambda wildcards: code_version("train_mini.py"),
        folder=lambda wildcards: f"{plan.out}/trained-mini",
        minutes=60,
    shell:
        "python workflow_scripts/train_mini.py --out {params.folder:q} --minutes {params.minutes:q} --threads {threads} > {log:q} 2>&1"
