"""Measure a checkpoint here: loading, memory, one prefill unpruned and under HiMAP, and operations against the formula.

Seconds of the processor are all threads' together; other programs slow them down less than those of the clock.
"""

from __future__ import annotations

import io
import statistics
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from himap.pruning.adaptive import layer_at

if TYPE_CHECKING:
    from himap.decoder.tokens import Rows
    from himap.experiments.answers import Question
    from himap.models.model import Model
    from himap.models.sizes import Dims
    from himap.pruning.stage import Schedule

ROUNDS = 3  # of each prefill, of which the median counts
DEPTH = 0.0625  # that of LLaVA's layer 2 of 32; its layer 8 is at 0.25
FIRST: dict[str, object] = {"layer": DEPTH, "keep": 0.5, "criterion": "instruction_attention"}
SECOND: dict[str, object] = {"layer": 0.25, "keep": 0.125, "criterion": "image_attention"}


def measure(folder: Path, device: str, dtype: str) -> dict[str, Any]:
    """Return what loading a checkpoint, a picture and a prefill under no method and under HiMAP take here."""
    import torch

    from himap.experiments.answers import encode
    from himap.models.loading import load
    from himap.pruning.resolve import resolve
    from himap.pruning.stage import Schedule

    target = torch.device(device)
    loading, model = timed(lambda: load(folder, device=device, dtype=dtype), target)
    if target.type == "cuda":
        encode(model, [question()])  # untimed: the first run compiles kernels and asks the driver for memory
    picture, prompt = timed(lambda: encode(model, [question()]), target)
    image, text, _ = prompt.counts()  # without padding: there is one prompt
    schedules = {
        "vanilla": Schedule(),
        "himap": resolve("himap", model.dims, methods={"himap": {"stages": stages_of(model.dims)}}),
    }
    return {
        "machine": {
            "device": torch.cuda.get_device_name(target) if target.type == "cuda" else "cpu",
            "threads": torch.get_num_threads(),
            "dtype": dtype,
            "torch": torch.__version__,
        },
        "parameters": sum(parameter.numel() for parameter in model.module.parameters()),
        "image_tokens": image,
        "text_tokens": text,
        "loading": loading,
        "picture": picture,
        "prefill": {name: prefill(model, prompt, schedule) for name, schedule in schedules.items()},
    }


def stages_of(dims: Dims) -> list[dict[str, object]]:
    """Return HiMAP's stages at the depths of LLaVA's, as far as a decoder has something for them to look at."""
    if not dims.cross:
        return [FIRST, SECOND]
    # Beside the sequence image tokens attend to nothing, so that HiMAP's second stage has no counterpart.
    return [FIRST | {"layer": max(layer_at(DEPTH, dims.layers), dims.cross[0] + 1)}]


def timed(call: Callable[[], Any], device: Any) -> tuple[dict[str, float | None], Any]:
    """Return the seconds of a call, those of the processor, the memory that it takes at its peak, and its result."""
    from himap.experiments.machine import peak_memory

    results = []  # `peak_memory` runs a function for its memory alone, so its result goes this way

    def watched() -> None:
        begin = time.perf_counter(), time.process_time()
        result = call()
        if device.type == "cuda":
            import torch

            torch.cuda.synchronize(device)  # calls of a GPU return before their work is done
        results.append((time.perf_counter() - begin[0], time.process_time() - begin[1], result))

    memory = peak_memory(watched, device)
    (seconds, busy, result), megabytes = results[0], memory if memory is None else round(memory)
    return {"seconds": round(seconds, 4), "processor_seconds": round(busy, 4), "memory_mb": megabytes}, result


def prefill(model: Model, prompt: Rows, schedule: Schedule) -> dict[str, float | bool | None]:
    """Return what a prefill takes at the median, whether its logits are finite, and its operations counted and by the formula."""
    from himap.costs.formulas import flops
    from himap.decoder.generation import generate
    from himap.experiments.counted_flops import prefill_flops
    from himap.pruning.intervention import Pruning

    def run() -> Any:
        return generate(model, prompt, 1, [Pruning(model, schedule.stages, prompt, [0])])

    if model.device.type == "cuda":
        run()  # untimed, as above
    runs = []
    for _ in range(ROUNDS):
        measured, answer = timed(run, model.device)
        runs.append(measured)
    image, text, padding = prompt.counts()
    formula = flops(model.dims, schedule.stages, "prompt", n_image=image, n_text=text, n_padding=padding)
    # The formula counts decoder layers alone; the counted run ends with the head, at one position, and scores tokens.
    head = 2 * model.dims.width * model.dims.vocab  # a multiplication and an addition for each weight
    # Drops as many tokens without ranking.
    unscored = prefill_flops(model, prompt, [replace(stage, criterion="random") for stage in schedule.stages])
    scored = prefill_flops(model, prompt, schedule.stages) if schedule.stages else unscored
    return {
        **{key: statistics.median(float(taken[key] or 0) for taken in runs) for key in runs[0]},
        "finite": bool(answer.first_logits.isfinite().all()),
        "tflops_counted": unscored / 1e12,
        "tflops_formula": (formula + head) / 1e12,
        "tflops_scoring": (scored - unscored) / 1e12,
    }


def question() -> Question:
    """Return a question about a picture of noise of 640 x 480 pixels."""
    import numpy as np
    from PIL import Image

    from himap.experiments.answers import Question
    from himap.models.prompts import Prompt

    pixels = np.random.default_rng(0).integers(0, 256, (480, 640, 3), dtype=np.uint8)
    data = io.BytesIO()
    Image.fromarray(pixels).save(data, "PNG")
    return Question("rehearsal", [data.getvalue()], Prompt("What is in the picture?"))
