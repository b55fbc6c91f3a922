# The open questions beyond the paper: one job per question, model and benchmark.

from himap.experiments.questions import names as open_questions


rule ask_question:
    input:
        model="<results>/models/{model}/manifest.json",
        samples="<results>/benchmarks/{benchmark}/samples.parquet",
    output:
        "<results>/questions/{model}/{benchmark}/{question}.csv",
    log:
        "<results>/logs/questions/{model}/{benchmark}/{question}.log",
    benchmark:
        "<results>/timings/questions/{model}/{benchmark}/{question}.tsv"
    wildcard_constraints:
        question="|".join(open_questions()),
    conda:
        "../envs/himap.yaml"
    threads: THREADS
    resources:
        **MODEL_JOB,
    params:
        code=lambda wildcards: staleness.question(plan, wildcards.question, wildcards.model, wildcards.benchmark),
        settings=lambda wildcards: settings.question(plan, wildcards.question, wildcards.model, wildcards.benchmark),
        model=lambda wildcards: arguments.model(plan, wildcards.model),
    shell:
        "python workflow_scripts/preloaded.py ask_question.py --question {wildcards.question} {params.model:q}"
        " --benchmark {wildcards.benchmark} --samples {input.samples:q} --settings {params.settings:q} --out {output:q} > {log:q} 2>&1"
