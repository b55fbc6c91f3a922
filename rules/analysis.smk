# Where information flows: saliency per layer (Figures 3, 4) and disruption per block of layers (Figures 5, 6).


rule extract_saliency:
    input:
        model=f"{out}/models/{{model}}/manifest.json",
        samples=f"{out}/benchmarks/{{benchmark}}/samples.parquet",
    output:
        f"{out}/saliency/{{model}}/{{benchmark}}/saliency.parquet",
    log:
        f"{out}/logs/saliency/{{model}}/{{benchmark}}.log",
    benchmark:
        f"{out}/timings/saliency/{{model}}/{{benchmark}}.tsv"
    conda:
        "../envs/himap.yaml"
    threads: plan.config.execution.threads
    resources:
        gpu=lambda wildcards: plan.model(wildcards.model).gpus,
        mem_mb=lambda wildcards, attempt: plan.memory(wildcards.model, attempt),
        runtime=lambda wildcards, attempt: plan.runtime(attempt),
    params:
        code=lambda wildcards: plan.model_code("extract_saliency.py", wildcards.model, wildcards.benchmark),
        settings=lambda wildcards: plan.saliency_settings(wildcards.model, wildcards.benchmark),
        model=lambda wildcards: plan.model_arguments(wildcards.model),
    shell:
        "python workflow_scripts/preloaded.py extract_saliency.py {params.model:q} --benchmark {wildcards.benchmark} --samples {input.samples:q}"
        " --settings {params.settings:q} --out {output:q} > {log:q} 2>&1"


rule disrupt_attention:
    input:
        model=f"{out}/models/{{model}}/manifest.json",
        samples=f"{out}/benchmarks/{{benchmark}}/samples.parquet",
    output:
        f"{out}/disruption/{{model}}/{{benchmark}}/layers-{{layers}}.parquet",
    log:
        f"{out}/logs/disruption/{{model}}/{{benchmark}}/layers-{{layers}}.log",
    benchmark:
        f"{out}/timings/disruption/{{model}}/{{benchmark}}/layers-{{layers}}.tsv"
    conda:
        "../envs/himap.yaml"
    threads: plan.config.execution.threads
    resources:
        gpu=lambda wildcards: plan.model(wildcards.model).gpus,
        mem_mb=lambda wildcards, attempt: plan.memory(wildcards.model, attempt),
        runtime=lambda wildcards, attempt: plan.runtime(attempt),
    params:
        code=lambda wildcards: plan.disruption_code(wildcards.model, wildcards.benchmark),
        settings=lambda wildcards: plan.disruption_settings(wildcards.model, wildcards.benchmark),
        model=lambda wildcards: plan.model_arguments(wildcards.model),
    shell:
        "python workflow_scripts/preloaded.py disrupt_attention.py {params.model:q} --benchmark {wildcards.benchmark} --samples {input.samples:q}"
        " --layers {wildcards.layers} --settings {params.settings:q} --out {output:q} > {log:q} 2>&1"
