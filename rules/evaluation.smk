# Answers of each model under each method, and their scores (Tables 1 to 9, ablations).


for each in passes.passes(plan):

    rule:
        name:
            each.name
        input:
            model="<results>/models/{model}/manifest.json",
            samples="<results>/benchmarks/{benchmark}/samples.parquet",
        output:
            [f"<results>/evaluation/{{model}}/{{benchmark}}/{method}/{{part}}.jsonl" for method in each.methods],
        log:
            f"<results>/logs/evaluation/{{model}}/{{benchmark}}/{each.methods[0]}/{{part}}.log",
        benchmark:
            f"<results>/timings/evaluation/{{model}}/{{benchmark}}/{each.methods[0]}/{{part}}.tsv"
        wildcard_constraints:
            model=re.escape(each.model),
            benchmark=each.place,
            part=each.part,
        conda:
            "../envs/himap.yaml"
        threads: THREADS
        resources:
            **pass_job(plan, each.model, len(each.methods)),
        params:
            methods=compared(each.made_with),
            told=uncompared(partial(lambda each, wildcards: passes.command(plan, each), each)),
            model=uncompared(lambda wildcards: arguments.model(plan, wildcards.model)),
            part=uncompared(lambda wildcards: arguments.part(wildcards.part)),
            batch=uncompared(lambda wildcards: arguments.batch_size(plan)),
        shell:
            "python workflow_scripts/preloaded.py evaluate_method.py {params.model:q} --benchmark {wildcards.benchmark}"
            " --samples {input.samples:q} {params.part:q} {params.batch:q} {params.told:q} > {log:q} 2>&1"

    take_resources(each.name, each.step.rule)


rule merge_predictions:
    input:
        shards=lambda wildcards: plan.shards(wildcards.model, wildcards.benchmark, wildcards.method),
        samples="<results>/benchmarks/{benchmark}/samples.parquet",
    output:
        "<results>/evaluation/{model}/{benchmark}/{method}/predictions.jsonl",
    log:
        "<results>/logs/evaluation/{model}/{benchmark}/{method}/merge.log",
    wildcard_constraints:
        benchmark="|".join(plan.sharded()) or "(?!)",  # no benchmark
    conda:
        "../envs/himap.yaml"
    resources:
        **light_job(memory_mb=1000, minutes=10),
    params:
        code=code_version("merge_predictions.py"),
    shell:
        "python workflow_scripts/preloaded.py merge_predictions.py --samples {input.samples:q} --out {output:q} {input.shards:q} > {log:q} 2>&1"


rule judge_answers:
    input:
        samples="<results>/benchmarks/{benchmark}/samples.parquet",
        predictions="<results>/evaluation/{model}/{benchmark}/{method}/predictions.jsonl",
    output:
        "<results>/evaluation/{model}/{benchmark}/{method}/judgements.jsonl",
    log:
        "<results>/logs/evaluation/{model}/{benchmark}/{method}/judge.log",
    conda:
        "../envs/himap.yaml"
    resources:
        **light_job(memory_mb=1000, minutes=240),
        judge=1,
    params:
        code=lambda wildcards: staleness.scores("judge_answers.py", wildcards.benchmark),
        settings=settings.judge(plan),
        judge=uncompared(lambda wildcards: arguments.judge(plan)),
    shell:
        "python workflow_scripts/preloaded.py judge_answers.py --benchmark {wildcards.benchmark} --samples {input.samples:q}"
        " --predictions {input.predictions:q} {params.judge:q} --out {output:q} > {log:q} 2>&1"


for each in passes.passes(plan, passes.SCORES):

    rule:
        name:
            each.name
        input:
            samples="<results>/benchmarks/{benchmark}/samples.parquet",
            predictions=[
                f"<results>/evaluation/{{model}}/{{benchmark}}/{method}/predictions.jsonl" for method in each.methods
            ],
            judgements=[file for method in each.methods for file in plan.judgements(each.model, each.place, method)],
            former=ancient(
                [
                    file
                    for method in each.former
                    for file in (
                        plan.paths.predictions(each.model, each.place, method),
                        *plan.judgements(each.model, each.place, method),
                    )
                ]
            ),
        output:
            [
                f"<results>/evaluation/{{model}}/{{benchmark}}/{method}/{file}"
                for method in each.methods
                for file in ("score.json", "per_sample.parquet")
            ],
        log:
            f"<results>/logs/evaluation/{{model}}/{{benchmark}}/{each.methods[0]}/score.log",
        wildcard_constraints:
            model=re.escape(each.model),
            benchmark=each.place,
        conda:
            "../envs/himap.yaml"
        resources:
            **light_job(memory_mb=4000, minutes=30),
        params:
            methods=compared(each.made_with),
            told=uncompared(partial(lambda each, wildcards: passes.command(plan, each), each)),
        shell:
            "python workflow_scripts/preloaded.py score_predictions.py --benchmark {wildcards.benchmark} --samples {input.samples:q}"
            " {params.told:q} > {log:q} 2>&1"

    take_resources(each.name, each.step.rule)
