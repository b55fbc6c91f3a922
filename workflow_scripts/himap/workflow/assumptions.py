"""What the estimate of a run assumes of devices, prompts, answers and published data."""

from __future__ import annotations

# Peak dense rate in bfloat16 (float16 on V100) and memory bandwidth, by the makers' data sheets.
GPUS = {
    "v100": (125e12, 0.9e12),
    "a100": (312e12, 2.0e12),
    "h100": (989e12, 3.35e12),
    "h200": (989e12, 4.8e12),
    "l40s": (362e12, 0.86e12),
    "rtx4090": (165e12, 1.0e12),
    "a6000": (155e12, 0.77e12),
}
# Peak rate in float32 without tensor cores, by the same sheets: saliency multiplies in float32.
FLOAT32 = {
    "v100": 15.7e12,
    "a100": 19.5e12,
    "h100": 67e12,
    "h200": 67e12,
    "l40s": 91.6e12,
    "rtx4090": 82.6e12,
    "a6000": 38.7e12,
}
# Checked on an H100 with random weights of 7 and 13 billion parameters (docs/benchmarks/README.md#gpu).
REACHED = (
    0.4  # share of the peak rate that a prefill in batches reaches; measured 0.45 to 0.50, under HiMAP 0.37 to 0.45
)
REACHED_FLOAT32 = 0.5  # measured 0.50 and 0.52
LAYER = 0.8e-3  # seconds in which Python starts a layer's kernels for one token or prompt, whatever the GPU; measured 0.74e-3 to 0.86e-3
LOADING = 25.0  # seconds to start and load a model of 7 billion parameters; loading alone measured 4 from a file cache
VISION = 0.4e12  # operations of the vision tower and projector on one image
BATCH = 8
CUTS = 16  # runs of a sweep that generate their tokens together at most, as `cut_runs` bounds them
TEXT_TOKENS = {"qa": 110, "caption": 60, "open": 70}  # system and instruction tokens of a prompt, typically
NEW_TOKENS = {"qa": 4, "caption": 20, "open": 180}  # length of an answer, typically
# Size of the published data in GB where it is known, and of one sample in MB for the rest.
DOWNLOADS = {
    "vqav2": 44.8,
    "textvqa": 8.1,
    "mme": 0.86,
    "mmvet": 0.067,
    "chartqa": 0.073,
    "llavabench": 0.01,
    "flickr30k": 4.4,
    "gqa": 0.07,
    "vizwiz_val": 2.1,
    "seedbench_image": 27.0,  # with the frames of its videos; estimated
    "mmbench": 0.1,
    "mmbench_cn": 0.1,
    "ocrbench": 0.07,
    "refcoco": 2.3,
    "refcoco_plus": 0.53,
    "refcocog": 2.1,
    "countbench": 0.02,
}
SAMPLE_MB = 0.3
# Questions about one picture in the published splits, where they are several; 1 elsewhere.
QUESTIONS = {
    "pope": 18.0,
    "mme": 2.0,
    "vqav2": 5.3,
    "textvqa": 1.6,
    "docvqa": 4.2,
    "chartqa": 1.7,
    "gqa": 31.6,
}
SYSTEM_TOKENS = 35  # before the picture
# Untimed runs of each method and batch size: a warm-up, and the count of operations, which takes about as long.
WARM_UPS = 2
EAGER = 1.5  # times of a prefill with the eager kernel
