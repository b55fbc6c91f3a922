# Models and benchmarks: what the experiments run on.


rule fetch_model:
    input:
        lambda wildcards: plan.converted(wildcards.model),
    output:
        f"{out}/models/{{model}}/manifest.json",
    log:
        f"{out}/logs/models/{{model}}.log",
    benchmark:
        f"{out}/timings/models/{{model}}.tsv"
    conda:
        "../envs/himap.yaml"
    resources:
        mem_mb=lambda wildcards, attempt: 2000 * attempt,
        runtime=lambda wildcards, attempt: 240 * attempt,
    params:
        code=code_version("fetch_model.py"),
        settings=lambda wildcards: plan.fetch_settings(wildcards.model),
        source=lambda wildcards: plan.fetch_arguments(wildcards.model),
    shell:
        "python workflow_scripts/preloaded.py fetch_model.py {params.source:q} --out {output:q} > {log:q} 2>&1"


rule draw_mini_benchmark:
    output:
        temp(f"{out}/mini-world/{{benchmark}}.parquet"),
    log:
        f"{out}/logs/mini-world/{{benchmark}}.log",
    conda:
        "../envs/himap.yaml"
    resources:
        mem_mb=lambda wildcards, attempt: 2000 * attempt,
        runtime=lambda wildcards, attempt: 10 * attempt,
    params:
        code=lambda wildcards: code_version("make_mini_benchmarks.py", f"himap.mini.benchmarks.{wildcards.benchmark}"),
        settings=lambda wildcards: plan.drawing_settings(wildcards.benchmark),
        amount=lambda wildcards: plan.drawing_arguments(wildcards.benchmark),
    shell:
        "python workflow_scripts/preloaded.py make_mini_benchmarks.py {params.amount:q} --out {output:q} > {log:q} 2>&1"


rule download_benchmark:
    input:
        lambda wildcards: plan.sample_inputs(wildcards.benchmark),
    output:
        samples=f"{out}/benchmarks/{{benchmark}}/samples.parquet",
        manifest=f"{out}/benchmarks/{{benchmark}}/manifest.json",
    log:
        f"{out}/logs/benchmarks/{{benchmark}}.log",
    benchmark:
        f"{out}/timings/benchmarks/{{benchmark}}.tsv"
    conda:
        "../envs/himap.yaml"
    resources:
        mem_mb=lambda wildcards, attempt: 4000 * attempt,
        runtime=lambda wildcards, attempt: 240 * attempt,
    params:
        code=lambda wildcards: plan.sample_code(wildcards.benchmark),
        settings=lambda wildcards: plan.sample_settings(wildcards.benchmark),
        source=lambda wildcards: plan.sample_arguments(wildcards.benchmark),
    shell:
        "python workflow_scripts/preloaded.py download_benchmark.py --benchmark {wildcards.benchmark} {params.source:q}"
        " --out {output.samples:q} --manifest {output.manifest:q} > {log:q} 2>&1"


rule train_mini:
    output:
        f"{out}/trained-mini/model.safetensors",
    log:
        f"{out}/logs/train-mini.log",
    benchmark:
        f"{out}/timings/train-mini.tsv"
    conda:
        "../envs/himap.yaml"
    threads: 2
    resources:
        mem_mb=lambda wildcards, attempt: 8000 * attempt,
        runtime=lambda wildcards, attempt: 240 * attempt,
    params:
        code=lambda wildcards: code_version("train_mini.py"),
        folder=lambda wildcards: f"{out}/trained-mini",
        minutes=60,
    shell:
        "python workflow_scripts/train_mini.py --out {params.folder:q} --minutes {params.minutes:q} --threads {threads} > {log:q} 2>&1"
