"""The built-in methods and tables, as data: what every config starts from and can replace by name."""

from __future__ import annotations

from typing import Any

METHODS: dict[str, dict[str, Any]] = {  # beside those of himap/pruning/methods
    # Criteria of the two modules (Table 4), each module alone
    "shallow_only": {"title": "Shallow: instruction, deep: none", "like": "himap", "only": [0]},
    "shallow_image": {"title": "Shallow: image, deep: none", "like": "shallow_only", "criterion": "image_attention"},
    # "R2 = 75 %" alone may leave as many tokens as HiMAP does in the end, or 25 % of all: the paper does not say
    "deep_only": {"title": "Shallow: none, deep: image, as many left as by HiMAP", "like": "himap", "only": [1]},
    "deep_only_relative": {
        "title": "Shallow: none, deep: image, R2 of all tokens dropped",
        "like": "himap",
        "only": [1],
        "relative": True,
    },
    "instruction_twice": {
        "title": "Shallow and deep: instruction",
        "like": "himap",
        "criterion": "instruction_attention",
    },
    "swapped": {
        "title": "Shallow: image, deep: instruction",
        "like": "himap",
        "criteria": ["image_attention", "instruction_attention"],
    },
    # Criteria replaced
    "all_tokens": {"title": "Attention from all tokens", "like": "himap", "criterion": "all_attention"},
    "norm": {"title": "Embedding norm", "like": "himap", "criterion": "embedding_norm"},
    "gradient": {"title": "Gradient", "like": "himap", "criterion": "gradient"},
    # Where paper and released code differ
    "himap_printed": {
        "title": "HiMAP, equation 9 as printed",
        "like": "himap",
        "criteria": ["instruction_attention", "image_attention_rows"],
    },
    "himap_debiased": {
        "title": "HiMAP, received attention per query that can see the token",
        "like": "himap",
        "criteria": ["instruction_attention", "image_attention_debiased"],
    },
    "asked_otherwise": {"title": "Baseline, asked the other way", "like": "vanilla", "protocol": "other"},
    "in_float16": {"title": "Baseline in float16", "like": "vanilla", "dtype": "float16"},
    "in_bfloat16": {"title": "Baseline in bfloat16", "like": "vanilla", "dtype": "bfloat16"},
    # The supplement's aggressive captioning: K2 = 8, R2 = 87.5 %
    "himap_aggressive": {
        "title": "HiMAP, aggressive",
        "stages": [
            {"layer": 2, "keep": 0.5, "criterion": "instruction_attention"},
            {"layer": 8, "keep": 0.0625, "criterion": "image_attention"},
        ],
    },
}

MAIN = ["vanilla", "fastv", "himap", "random", "downsample"]
ABLATED_ON = ["scienceqa", "aokvqa", "pope", "nocaps", "flickr30k", "llavabench", "mmvet"]

TABLES: dict[str, dict[str, Any]] = {
    "table1": {
        "title": "Table 1: short answers and multiple choice",
        "benchmarks": ["vqav2", "textvqa", "pope", "mme", "scienceqa", "aokvqa"],
        "methods": MAIN,
    },
    "table2": {"title": "Table 2: captions (CIDEr)", "benchmarks": ["nocaps", "flickr30k"], "methods": MAIN},
    "table3": {"title": "Table 3: open questions (judged)", "benchmarks": ["llavabench", "mmvet"], "methods": MAIN},
    "table4": {
        "title": "Table 4: criteria of the shallow and the deep module",
        "benchmarks": ["scienceqa", "aokvqa"],
        "methods": ["vanilla", "shallow_only", "shallow_image", "instruction_twice", "swapped", "himap"],
    },
    "table5": {
        "title": "Table 5 (supplement): charts and documents",
        "benchmarks": ["chartqa", "docvqa"],
        "methods": MAIN,
    },
    "table8": {
        "title": "Table 8 (supplement): aggressive captioning",
        "benchmarks": ["nocaps"],
        "methods": ["vanilla", "himap", "himap_aggressive"],
    },
    "table9": {
        "title": "Table 9 (supplement): each module alone",
        "benchmarks": ["scienceqa", "aokvqa"],
        "methods": ["vanilla", "shallow_only", "deep_only", "deep_only_relative", "himap"],
    },
    "ablation_stages": {
        "title": "Ablation: contribution of the stages",
        "benchmarks": ABLATED_ON,
        "methods": ["vanilla", "himap", "shallow_only", "deep_only", "deep_only_relative"],
        "judged": False,
    },
    "ablation_criteria": {
        "title": "Ablation: criteria replaced",
        "benchmarks": ABLATED_ON,
        "methods": ["vanilla", "himap", "swapped", "all_tokens", "norm", "gradient", "random"],
        "judged": False,
    },
    "ablation_hierarchy": {
        "title": "Ablation: hierarchy replaced, at equal FLOPs",
        "benchmarks": ABLATED_ON,
        "methods": ["vanilla", "himap", "uniform", "random_per_layer", "encoder_output"],
        "judged": False,
    },
    "divergence": {
        "title": "Where paper and released code differ",
        "benchmarks": ["scienceqa", "aokvqa"],
        "methods": [
            "vanilla",
            "himap",
            "himap_released",
            "himap_printed",
            "himap_debiased",
            "fastv",
            "fastv_as_written",
        ],
    },
    "protocols": {
        "title": "Where protocols differ",
        "benchmarks": ["scienceqa", "aokvqa", "pope", "llavabench", "mmvet"],
        "methods": ["vanilla", "asked_otherwise", "in_float16", "in_bfloat16"],
        "judged": False,
    },
}
