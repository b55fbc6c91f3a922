# Checkpoints as their authors published them: rewritten once, and LLaVA-v1.5 compared with its original implementation.


rule convert_checkpoint:
    output:
        directory(f"{out}/models/{{model}}/checkpoint"),
    log:
        f"{out}/logs/models/{{model}}-conversion.log",
    benchmark:
        f"{out}/timings/models/{{model}}-conversion.tsv"
    conda:
        "../envs/himap.yaml"
    resources:
        mem_mb=lambda wildcards, attempt: plan.memory(wildcards.model, attempt),
        runtime=lambda wildcards, attempt: 240 * attempt,
    params:
        code=code_version("convert_checkpoint.py"),
        settings=lambda wildcards: plan.conversion_settings(wildcards.model),
        source=lambda wildcards: plan.conversion_arguments(wildcards.model),
    shell:
        "python workflow_scripts/preloaded.py convert_checkpoint.py {params.source:q} --out {output:q} > {log:q} 2>&1"


rule ask_ours:
    input:
        model=f"{out}/models/{{model}}/manifest.json",
        samples=plan.samples(plan.config.verification.benchmark),
    output:
        f"{out}/verification/{{model}}/ours.json",
    log:
        f"{out}/logs/verification/{{model}}-ours.log",
    conda:
        "../envs/himap.yaml"
    threads: plan.config.execution.threads
    resources:
        gpu=lambda wildcards: plan.model(wildcards.model).gpus,
        mem_mb=lambda wildcards, attempt: plan.memory(wildcards.model, attempt),
        runtime=lambda wildcards, attempt: 60 * attempt,
    params:
        code=lambda wildcards: plan.model_code(
            "verify_original.py", wildcards.model, plan.config.verification.benchmark
        ),
        settings=lambda wildcards: plan.verification_settings(wildcards.model),
        model=lambda wildcards: plan.model_arguments(wildcards.model),
        asked=lambda wildcards: plan.verification_arguments(wildcards.model),
    shell:
        "python workflow_scripts/preloaded.py verify_original.py ours {params.model:q} --samples {input.samples:q} {params.asked:q}"
        " --out {output:q} > {log:q} 2>&1"


rule ask_original:
    input:
        f"{out}/verification/{{model}}/ours.json",
    output:
        f"{out}/verification/{{model}}/original.json",
    log:
        f"{out}/logs/verification/{{model}}-original.log",
    conda:
        "../envs/llava.yaml"
    threads: plan.config.execution.threads
    resources:
        gpu=lambda wildcards: plan.model(wildcards.model).gpus,
        mem_mb=lambda wildcards, attempt: plan.memory(wildcards.model, attempt),
        runtime=lambda wildcards, attempt: 60 * attempt,
    params:
        code=code_version("verify_original.py"),
        settings=lambda wildcards: plan.original_settings(wildcards.model),
        checkpoint=lambda wildcards: plan.original_arguments(wildcards.model),
    shell:
        '"${{HIMAP_LLAVA_PYTHON:-python}}" workflow_scripts/verify_original.py original {params.checkpoint:q} --ours {input:q}'
        " --out {output:q} > {log:q} 2>&1"


rule compare_with_original:
    input:
        ours=f"{out}/verification/{{model}}/ours.json",
        original=f"{out}/verification/{{model}}/original.json",
    output:
        table=f"{out}/verification/{{model}}/table.csv",
        page=report(
            f"{out}/verification/{{model}}/table.html",
            category="Original implementation",
            labels={"model": "{model}"},
        ),
    log:
        f"{out}/logs/verification/{{model}}-table.log",
    conda:
        "../envs/himap.yaml"
    resources:
        mem_mb=lambda wildcards, attempt: 1000 * attempt,
        runtime=lambda wildcards, attempt: 10 * attempt,
    params:
        code=code_version("verify_original.py"),
    shell:
        "python workflow_scripts/preloaded.py verify_original.py compare --ours {input.ours:q} --original {input.original:q}"
        " --out {output.table:q} > {log:q} 2>&1"


rule verify_original:
    input:
        lambda wildcards: plan.verifications(),
