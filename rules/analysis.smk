# Where information flows: saliency per layer (Figures 3, 4) and disruption per block of layers (Figures 5, 6).


rule extract_saliency:
    input:
        model="<results>/models/{model}/manifest.json",
        samples="<results>/benchmarks/{benchmark}/samples.parquet",
    output:
        "<results>/saliency/{model}/{benchmark}/saliency.parquet",
    log:
        "<results>/logs/saliency/{model}/{benchmark}.log",
    benchmark:
        "<results>/timings/saliency/{model}/{benchmark}.tsv"
    conda:
        "../envs/himap.yaml"
    threads: THREADS
    resources:
        **MODEL_JOB,
    params:
        code=lambda wildcards: staleness.asking(plan, "extract_saliency.py", wildcards.model, wildcards.benchmark),
        settings=lambda wildcards: settings.saliency(plan, wildcards.model, wildcards.benchmark),
        model=lambda wildcards: arguments.model(plan, wildcards.model),
    shell:
        "python workflow_scripts/preloaded.py extract_saliency.py {params.model:q} --benchmark {wildcards.benchmark} --samples {input.samples:q}"
        " --settings {params.settings:q} --out {output:q} > {log:q} 2>&1"


rule disrupt_attention:
    input:
        model="<results>/models/{model}/manifest.json",
        samples="<results>/benchmarks/{benchmark}/samples.parquet",
    output:
        "<results>/disruption/{model}/{benchmark}/layers-{layers}.parquet",
    log:
        "<results>/logs/disruption/{model}/{benchmark}/layers-{layers}.log",
    benchmark:
        "<results>/timings/disruption/{model}/{benchmark}/layers-{layers}.tsv"
    conda:
        "../envs/himap.yaml"
    threads: THREADS
    resources:
        **MODEL_JOB,
    params:
        code=lambda wildcards: staleness.disruption(plan, wildcards.model, wildcards.benchmark),
        settings=lambda wildcards: settings.disruption(plan, wildcards.model, wildcards.benchmark),
        model=lambda wildcards: arguments.model(plan, wildcards.model),
    shell:
        "python workflow_scripts/preloaded.py disrupt_attention.py {params.model:q} --benchmark {wildcards.benchmark} --samples {input.samples:q}"
        " --layers {wildcards.layers} --settings {params.settings:q} --out {output:q} > {log:q} 2>&1"
