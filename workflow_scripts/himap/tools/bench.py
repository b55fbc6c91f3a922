"""Measure speed and memory: python -m himap.tools.bench [--dims mini|7b|13b|L,d,heads,m] [--device cuda] [--out FILE].

A model with random weights and one prompt with one image. The arms of a run take turns, and the median over the rounds is
reported; only ratios within a run are meant to be compared. Each arm has a naive counterpart, written like the paper's
released code. The ideal speed-up is the number of tokens in the prompt divided by their average over the layers.
"""

from __future__ import annotations

import argparse
import platform
import statistics
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from himap.costs.formulas import ideal_speedup, keep_count
from himap.files import write_json
from himap.models.sizes import Dims
from himap.paper.published import decoder
from himap.pruning.stage import Stage
from himap.workflow.jobs.script import run

if TYPE_CHECKING:
    from himap.decoder.tokens import Rows

# Layers, width, heads, key-value heads, head width, feed-forward width, vocabulary, image tokens.
DIMS = {
    "mini": Dims(12, 128, 4, 4, 32, 384, 1024, 144),  # as deep as the embedded model
    "7b": decoder("LLaVA-7B"),
    "13b": decoder("LLaVA-13B"),
}
PARTS = ("prefill", "answer", "sweep", "saliency")
SWEEP_FLOWS = ("img2txt", "img2img", "random")
TARGET = 7  # token whose loss saliency explains; any does for timing


def main(argv: Sequence[str] | None = None) -> None:
    """Measure the parts that are asked for, print their tables, and write the figures as JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_model_options(parser)
    parser.add_argument("--text-tokens", type=int, default=95, help="system and instruction tokens (default: 95)")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--parts", default=",".join(PARTS), help="which of %(default)s")
    parser.add_argument("--new-tokens", type=int, default=8, help="tokens of a full answer")
    parser.add_argument(
        "--naive-points", type=int, default=3, help="how many naive sweep runs to measure; their median represents all"
    )
    parser.add_argument("--out", metavar="FILE", help="write the figures as JSON")
    arguments = parser.parse_args(argv)
    sizes = read_dims(arguments.dims)
    parts = arguments.parts.split(",")
    if not set(parts) <= set(PARTS):
        raise ValueError(f"--parts: {arguments.parts!r} has an unknown part; allowed: {', '.join(PARTS)}")
    bench = Bench(sizes, arguments)
    if bench.model.device.type == "cpu" and sys.platform != "linux":
        print("Peak memory on a CPU can be read on Linux only; peak_mb stays empty.", file=sys.stderr)
    figures = {"machine": describe_machine(bench), "settings": vars(arguments) | {"layers": sizes.layers}}
    for part in parts:
        figures[part] = getattr(bench, part)()
        print_table(part, figures[part])
        if arguments.out:  # after each part, so that one that runs out of memory loses none before it
            write_json(Path(arguments.out), figures)


def add_model_options(parser: argparse.ArgumentParser) -> None:
    """Add the options that say which model is made, and where."""
    parser.add_argument("--dims", default="16,768,12,2048", help="mini, 7b, 13b, or L,d,heads,m (default: %(default)s)")
    parser.add_argument("--device", default="cpu", help="cpu, cuda, cuda:1 ... (default: %(default)s)")
    parser.add_argument("--dtype", default="float32", choices=("float32", "bfloat16", "float16"))


def read_dims(text: str) -> Dims:
    """Return sizes by name, or from layers, width, heads and feed-forward width, with LLaVA's 576 image tokens."""
    if text in DIMS:
        return DIMS[text]
    try:
        layers, width, heads, ffn = (int(part) for part in text.split(","))
    except ValueError:
        raise ValueError(f"--dims: {text!r} is neither {', '.join(DIMS)} nor four numbers L,d,heads,m") from None
    return Dims(layers, width, heads, heads, width // heads, ffn, 32064, 576)  # 32064: LLaVA-1.5's vocabulary


class Bench:
    """One random model and one prompt, and the measurements on them."""

    def __init__(self, sizes: Dims, arguments: argparse.Namespace):
        from himap.experiments.random_weights import random_questions, random_weights  # inside: --help without torch
        from himap.models.loading import DTYPES

        self.rounds, self.new_tokens, self.points = arguments.rounds, arguments.new_tokens, arguments.naive_points
        self.sizes = sizes
        self.model = random_weights(
            sizes, text_tokens=arguments.text_tokens, dtype=DTYPES[arguments.dtype], device=arguments.device
        )
        (question,) = random_questions(1)
        self.pixels = self.model.preprocess(question.images)
        self.ids = self.model.tokenize(question.prompt, [sizes.tokens_per_image])
        self.prompt = self.embed()
        # Layer 8 as in the paper, or as deep as a smaller model allows.
        deep = max(3, min(8, sizes.layers * 2 // 3))
        self.methods: dict[str, list[Stage]] = {
            "vanilla": [],
            "fastv": [Stage(2, 0.5, "last_token_attention")],  # FastV's published place and share
            "himap": [Stage(2, 0.5, "instruction_attention"), Stage(deep, 0.125, "image_attention")],
        }
        self.n_image, self.n_text = sizes.tokens_per_image, arguments.text_tokens

    def embed(self) -> Rows:
        """Run vision tower, projector and embedding, and return the prompt."""
        return self.model.embed([self.ids], [self.model.encode_images(self.pixels)])

    def ideal(self, name: str) -> float:
        """Return the speed-up that the average number of tokens promises."""
        return ideal_speedup(self.sizes, self.methods[name], n_image=self.n_image, n_text=self.n_text)

    def prefill(self) -> dict[str, Any]:
        """Measure decoder and head over the prompt, without the vision tower."""
        import torch

        from himap.decoder.cache import Cache
        from himap.decoder.generation import next_token_logits
        from himap.decoder.loop import forward
        from himap.pruning.intervention import Pruning

        def arm(stages: list[Stage]) -> Callable[[], Any]:
            def call() -> Any:
                with torch.no_grad():
                    pruning = Pruning(
                        self.model, stages, self.prompt, [0]
                    )  # one per call: it remembers what it dropped
                    return next_token_logits(self.model, forward(self.model, self.prompt, Cache(), [pruning]))

            return call

        results = self.in_turns({name: arm(stages) for name, stages in self.methods.items()})
        base = results["vanilla"]["seconds"]
        for name in ("fastv", "himap"):
            speedup = base / results[name]["seconds"]
            results[name] |= {
                "speedup": speedup,
                "ideal": self.ideal(name),
                "share_of_ideal": speedup / self.ideal(name),
            }
        return results

    def answer(self) -> dict[str, Any]:
        """Measure vision tower, prefill and all tokens of an answer: ours with a cache, the naive arms without."""
        from himap.decoder.generation import generate
        from himap.pruning.intervention import Pruning
        from himap.tools import release_baseline

        def ours(stages: list[Stage]) -> Callable[[], Any]:
            def call() -> Any:
                prompt = self.embed()  # the tower is part of an answer
                return generate(self.model, prompt, self.new_tokens, [Pruning(self.model, stages, prompt, [0])])

            return call

        # The release takes counts of tokens, not shares.
        ranks = [(stage.layer, keep_count(stage.keep, self.n_image)) for stage in self.methods["himap"]]
        arms = {name: ours(stages) for name, stages in self.methods.items()}
        for name, naive_ranks in (("naive vanilla", []), ("naive himap", ranks)):
            # A default argument, since a lambda would otherwise see the loop's last value.
            arms[name] = lambda ranks=naive_ranks: release_baseline.answer(  # type: ignore[misc]
                self.model, self.ids, self.pixels, self.new_tokens, ranks=ranks
            )
        results = self.in_turns(arms)
        results["himap"]["times_faster_than_naive_himap"] = (
            results["naive himap"]["seconds"] / results["himap"]["seconds"]
        )
        results["himap"]["speedup_over_vanilla"] = results["vanilla"]["seconds"] / results["himap"]["seconds"]
        return results

    def sweep(self) -> dict[str, Any]:
        """Measure a disruption sweep: all layers and flows, cut from the layer on as the released code does, two tokens each.

        Vision tower included. Only some of the naive runs are measured, since all of them take minutes.
        """
        from himap.experiments.cut_runs import run_undisturbed, sweep
        from himap.experiments.disruption import make_cut
        from himap.tools import release_baseline

        layers = range(self.sizes.layers)

        def ours() -> Any:
            clean = run_undisturbed(self.model, self.embed(), 2)
            # `list`, because `sweep` is a generator.
            return list(sweep(self.model, clean, list(layers), SWEEP_FLOWS, ["suffix"], new_tokens=2))

        def naive_run(number: int) -> Callable[[], Any]:
            # Spread over flows and layers; 7 shares no factor with usual depths, so that no layer comes twice soon.
            flow, layer = SWEEP_FLOWS[number % 3], (number * 7 + 3) % self.sizes.layers
            cut = make_cut(flow, layer, "suffix", self.sizes.layers)
            return lambda: release_baseline.disrupted_answer(self.model, self.ids, self.pixels, self.prompt, cut, 2)

        arms: dict[str, Callable[[], Any]] = {"ours": ours}
        arms |= {f"naive run {number}": naive_run(number) for number in range(self.points)}
        measured = self.in_turns(arms)
        runs = len(layers) * len(SWEEP_FLOWS)
        naive = [measured[f"naive run {number}"] for number in range(self.points)]
        # Every naive run costs the same: one whole forward pass for each token, whatever is cut.
        estimate = runs * statistics.median(result["seconds"] for result in naive)
        return {
            "ours": measured["ours"] | {"times_faster_than_naive": estimate / measured["ours"]["seconds"]},
            "naive": {
                "seconds": estimate,
                # None on a machine without a reading.
                "peak_mb": max((result["peak_mb"] for result in naive if result["peak_mb"] is not None), default=None),
                "runs": runs,
                "runs_measured": self.points,
            },
        }

    def saliency(self) -> dict[str, Any]:
        """Measure saliency: ours gives the block sums of both definitions, the naive arm only the released code's maps."""
        from himap.experiments.saliency import saliency
        from himap.tools import release_baseline

        results = self.in_turns(
            {
                "ours": lambda: saliency(self.model, self.prompt, TARGET),
                "naive": lambda: release_baseline.saliency(self.model, self.prompt, TARGET),
            }
        )
        results["ours"] |= {
            "times_faster_than_naive": results["naive"]["seconds"] / results["ours"]["seconds"],
            "share_of_naive_peak": share(results["ours"]["peak_mb"], results["naive"]["peak_mb"]),
        }
        return results

    def in_turns(self, arms: dict[str, Callable[[], Any]]) -> dict[str, Any]:
        """Return the median seconds of each arm over the rounds, and its peak memory beyond the loaded model."""
        from himap.experiments.latency import now
        from himap.experiments.machine import peak_memory

        device = self.model.device
        peaks = {name: peak_memory(call, device) for name, call in arms.items()}  # also a warm-up
        seconds: dict[str, list[float]] = {name: [] for name in arms}
        # In turns: whatever slows the machine down for a while slows all arms alike.
        for _ in range(self.rounds):
            for name, call in arms.items():
                begin = now(device)  # waits for a GPU's work to be done
                call()
                seconds[name].append(now(device) - begin)
        return {
            name: {
                "seconds": statistics.median(times),
                "fastest": min(times),
                "slowest": max(times),
                "peak_mb": peaks[name],
            }
            for name, times in seconds.items()
        }


def share(part: float | None, whole: float | None) -> float | None:
    """Return the quotient of two readings, None if either is missing."""
    return part / whole if part is not None and whole else None


def describe_machine(bench: Bench) -> dict[str, Any]:
    """Return the device, versions and model size behind the figures."""
    import torch
    import transformers

    cuda = bench.model.device.type == "cuda"
    return {
        "device": torch.cuda.get_device_name(bench.model.device) if cuda else "cpu",
        "threads": torch.get_num_threads(),
        "platform": platform.platform(),
        "torch": torch.__version__,
        "transformers": transformers.__version__,
        "parameters": sum(parameter.numel() for parameter in bench.model.module.parameters()),
    }


def print_table(title: str, rows: dict[str, dict[str, Any]]) -> None:
    """Print a part's figures, one line per arm."""
    # Arms have unequal figures: only himap has a speed-up.
    columns = list(dict.fromkeys(key for row in rows.values() for key in row))
    print(f"\n{title}")
    print(" ".join([f"{'arm':<16}", *(f"{column:>{max(10, len(column))}}" for column in columns)]))
    for name, row in rows.items():
        cells = (f"{_cell(row.get(column)):>{max(10, len(column))}}" for column in columns)
        print(" ".join([f"{name:<16}", *cells]))


def _cell(value: Any) -> str:
    """Return a figure as text."""
    return "" if value is None else f"{value:.3f}" if isinstance(value, float) else str(value)


if __name__ == "__main__":
    run(main)
