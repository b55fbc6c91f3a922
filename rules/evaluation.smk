# Answers of each model under each method, and their scores (Tables 1 to 9, ablations).


rule evaluate_method:
    input:
        model=f"{out}/models/{{model}}/manifest.json",
        samples=f"{out}/benchmarks/{{benchmark}}/samples.parquet",
    output:
        f"{out}/evaluation/{{model}}/{{benchmark}}/{{method}}/shard-{{shard}}-of-{{shards}}.jsonl",
    log:
        f"{out}/logs/evaluation/{{model}}/{{benchmark}}/{{method}}/shard-{{shard}}-of-{{shards}}.log",
    benchmark:
        f"{out}/timings/evaluation/{{model}}/{{benchmark}}/{{method}}/shard-{{shard}}-of-{{shards}}.tsv"
    conda:
        "../envs/himap.yaml"
    threads: plan.config.execution.threads
    resources:
        gpu=plan.evaluation_gpus(),
        mem_mb=lambda wildcards, attempt: plan.evaluation_memory(attempt),
        runtime=lambda wildcards, attempt: plan.runtime(attempt),
    params:
        code=lambda wildcards: plan.evaluation_code(wildcards.model, wildcards.benchmark, wildcards.method),
        settings=lambda wildcards: plan.evaluation_settings(wildcards.model, wildcards.benchmark, wildcards.method),
        method=lambda wildcards: plan.method_json(wildcards.model, wildcards.benchmark, wildcards.method),
        model=lambda wildcards: plan.model_arguments(wildcards.model),
    shell:
        "python workflow_scripts/preloaded.py evaluate_method.py {params.model:q} --benchmark {wildcards.benchmark} --samples {input.samples:q}"
        " --method {params.method:q} --settings {params.settings:q}"
        " --shard {wildcards.shard} --shards {wildcards.shards} --out {output:q} > {log:q} 2>&1"


rule merge_predictions:
    input:
        lambda wildcards: plan.shards(wildcards.model, wildcards.benchmark, wildcards.method),
    output:
        f"{out}/evaluation/{{model}}/{{benchmark}}/{{method}}/predictions.jsonl",
    log:
        f"{out}/logs/evaluation/{{model}}/{{benchmark}}/{{method}}/merge.log",
    conda:
        "../envs/himap.yaml"
    resources:
        mem_mb=lambda wildcards, attempt: 1000 * attempt,
        runtime=lambda wildcards, attempt: 10 * attempt,
    params:
        code=code_version("merge_predictions.py"),
    shell:
        "python workflow_scripts/preloaded.py merge_predictions.py --out {output:q} {input:q} > {log:q} 2>&1"


rule judge_answers:
    input:
        samples=f"{out}/benchmarks/{{benchmark}}/samples.parquet",
        predictions=f"{out}/evaluation/{{model}}/{{benchmark}}/{{method}}/predictions.jsonl",
    output:
        f"{out}/evaluation/{{model}}/{{benchmark}}/{{method}}/judgements.jsonl",
    log:
        f"{out}/logs/evaluation/{{model}}/{{benchmark}}/{{method}}/judge.log",
    conda:
        "../envs/himap.yaml"
    resources:
        mem_mb=lambda wildcards, attempt: 1000 * attempt,
        runtime=lambda wildcards, attempt: 240 * attempt,
        judge=1,
    params:
        code=lambda wildcards: plan.score_code("judge_answers.py", wildcards.benchmark),
        settings=plan.judge_settings(),
        judge=uncompared(lambda wildcards: plan.judge_arguments()),
    shell:
        "python workflow_scripts/preloaded.py judge_answers.py --benchmark {wildcards.benchmark} --samples {input.samples:q}"
        " --predictions {input.predictions:q} {params.judge:q} --out {output:q} > {log:q} 2>&1"


rule score_predictions:
    input:
        samples=f"{out}/benchmarks/{{benchmark}}/samples.parquet",
        predictions=f"{out}/evaluation/{{model}}/{{benchmark}}/{{method}}/predictions.jsonl",
        judgements=lambda wildcards: plan.judgements(wildcards.benchmark, wildcards.model, wildcards.method),
    output:
        score=f"{out}/evaluation/{{model}}/{{benchmark}}/{{method}}/score.json",
        per_sample=f"{out}/evaluation/{{model}}/{{benchmark}}/{{method}}/per_sample.parquet",
    log:
        f"{out}/logs/evaluation/{{model}}/{{benchmark}}/{{method}}/score.log",
    conda:
        "../envs/himap.yaml"
    resources:
        mem_mb=lambda wildcards, attempt: 4000 * attempt,
        runtime=lambda wildcards, attempt: 30 * attempt,
    params:
        code=lambda wildcards: plan.score_code("score_predictions.py", wildcards.benchmark),
        judged=lambda wildcards: plan.judged_arguments(wildcards.benchmark, wildcards.model, wildcards.method),
    shell:
        "python workflow_scripts/preloaded.py score_predictions.py --benchmark {wildcards.benchmark} --samples {input.samples:q}"
        " --predictions {input.predictions:q} {params.judged:q} --out {output.score:q}"
        " --per-sample-out {output.per_sample:q} > {log:q} 2>&1"
