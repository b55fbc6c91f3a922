# Checkpoints as their authors published them: rewritten once, and LLaVA-v1.5 compared with its original implementation.


rule convert_checkpoint:
    output:
        directory("<results>/models/{model}/checkpoint"),
    log:
        "<results>/logs/models/{model}-conversion.log",
    benchmark:
        "<results>/timings/models/{model}-conversion.tsv"
    conda:
        "../envs/himap.yaml"
    resources:
        **conversion_job(plan, minutes=240),
    params:
        code=code_version("convert_checkpoint.py"),
        settings=lambda wildcards: originals.conversion_settings(plan, wildcards.model),
        source=lambda wildcards: originals.conversion_arguments(plan, wildcards.model),
    shell:
        "python workflow_scripts/preloaded.py convert_checkpoint.py {params.source:q} --out {output:q} > {log:q} 2>&1"


rule ask_ours:
    input:
        model="<results>/models/{model}/manifest.json",
        samples=plan.paths.samples(plan.config.verification.benchmark),
    output:
        "<results>/verification/{model}/ours.json",
    log:
        "<results>/logs/verification/{model}-ours.log",
    conda:
        "../envs/himap.yaml"
    threads: THREADS
    resources:
        **model_job(plan, minutes=60),
    params:
        code=lambda wildcards: staleness.asking(
            plan, "verify_original.py", wildcards.model, plan.config.verification.benchmark
        ),
        settings=lambda wildcards: originals.verification_settings(plan, wildcards.model),
        model=lambda wildcards: arguments.model(plan, wildcards.model),
        asked=lambda wildcards: originals.verification_arguments(plan, wildcards.model),
    shell:
        "python workflow_scripts/preloaded.py verify_original.py ours {params.model:q} --samples {input.samples:q} {params.asked:q}"
        " --out {output:q} > {log:q} 2>&1"


rule ask_original:
    input:
        "<results>/verification/{model}/ours.json",
    output:
        "<results>/verification/{model}/original.json",
    log:
        "<results>/logs/verification/{model}-original.log",
    conda:
        "../envs/llava.yaml"
    threads: THREADS
    resources:
        **model_job(plan, minutes=60),
    params:
        code=code_version("verify_original.py"),
        settings=lambda wildcards: originals.original_settings(plan, wildcards.model),
        checkpoint=lambda wildcards: originals.original_arguments(plan, wildcards.model),
    shell:
        '"${{HIMAP_LLAVA_PYTHON:-python}}" workflow_scripts/verify_original.py original {params.checkpoint:q} --ours {input:q}'
        " --out {output:q} > {log:q} 2>&1"


rule compare_with_original:
    input:
        ours="<results>/verification/{model}/ours.json",
        original="<results>/verification/{model}/original.json",
    output:
        table="<results>/verification/{model}/table.csv",
        page=report(
            "<results>/verification/{model}/table.html",
            category="Original implementation",
            labels={"model": "{model}"},
        ),
    log:
        "<results>/logs/verification/{model}-table.log",
    conda:
        "../envs/himap.yaml"
    resources:
        **light_job(memory_mb=1000, minutes=10),
    params:
        code=code_version("verify_original.py"),
    shell:
        "python workflow_scripts/preloaded.py verify_original.py compare --ours {input.ours:q} --original {input.original:q}"
        " --out {output.table:q} > {log:q} 2>&1"


rule verify_original:
    input:
        lambda wildcards: originals.verifications(plan),
