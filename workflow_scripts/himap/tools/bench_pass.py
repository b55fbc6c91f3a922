"""Measure one pass for ten methods against ten passes: python -m himap.tools.bench_pass [--dims 7b] [--device cuda] [--out FILE].

A model with random weights and one prompt with one image. Both arms run vision tower, prefill and a few tokens for every
method, in turns. Seconds are those of the processor, so that other users of the machine count little; on a GPU those of
the clock.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from himap.files import write_json
from himap.pruning.stage import Stage
from himap.tools.arms import compare
from himap.tools.bench import Bench, add_model_options, describe_machine, read_dims
from himap.workflow.jobs.script import run

# HiMAP's two stages at LLaVA-7B.
SHALLOW, DEEP = Stage(2, 0.5, "instruction_attention"), Stage(8, 0.125, "image_attention")
METHODS: dict[str, tuple[Stage, ...]] = {  # the kinds of method that a table of ablations compares
    "vanilla": (),
    "fastv": (Stage(2, 0.5, "last_token_attention"),),
    "himap": (SHALLOW, DEEP),
    "shallow_only": (SHALLOW,),
    "deep_only": (DEEP,),
    "deep_norm": (SHALLOW, Stage(8, 0.125, "embedding_norm")),
    "deep_random": (SHALLOW, Stage(8, 0.125, "random")),
    "deep_later": (SHALLOW, Stage(12, 0.125, "image_attention")),
    "random": (Stage(2, 0.5, "random"), Stage(8, 0.125, "random")),
    "uniform": (Stage(2, 0.5, "spatial_uniform"), Stage(8, 0.125, "spatial_uniform")),
}


def main(argv: Sequence[str] | None = None) -> None:
    """Measure both arms in turns, print their medians, and write the figures as JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_model_options(parser)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--new-tokens", type=int, default=4, help="tokens of an answer")
    parser.add_argument("--out", metavar="FILE", help="write the figures as JSON")
    arguments = parser.parse_args(argv)
    fixed = {"text_tokens": 95, "naive_points": 1}  # LLaVA's system sentences and a question; no naive arm runs
    bench = Bench(read_dims(arguments.dims), argparse.Namespace(**fixed, **vars(arguments)))
    arms = {"one pass": lambda: one_pass(bench, METHODS), "ten passes": lambda: ten_passes(bench)}
    compared = compare(arms, bench.model, arguments.rounds)
    one, ten = compared.medians.values()
    figures = {
        "machine": describe_machine(bench),
        "settings": vars(arguments),
        "methods": list(METHODS),
        **compared.to_json(),
        "share": one / ten,
    }
    print(f"one pass {one:.2f} s, ten passes {ten:.2f} s, share {one / ten:.3f}")
    if arguments.out:
        write_json(Path(arguments.out), figures)


def one_pass(bench: Bench, methods: dict[str, tuple[Stage, ...]]) -> dict[str, list[int]]:
    """Return the ids of each method's answer; the tower runs once, and shared layers do."""
    from himap.decoder.generation import continue_greedily
    from himap.experiments.sharing import Track, prefills

    prompt, tokens = bench.embed(), bench.new_tokens
    # Tracks are compared by value, so a track finds its method.
    names = {Track(stages): name for name, stages in methods.items()}
    answers = {}
    for track, prefill in prefills(bench.model, prompt, list(names), ["sample"], tokens):
        done = continue_greedily(bench.model, prompt, prefill.cache, prefill.logits, tokens, [prefill.pruning])
        answers[names[track]] = done.ids[0]
    return answers


def ten_passes(bench: Bench) -> dict[str, list[int]]:
    """Return the same, each method in a pass of its own."""
    return {name: ids for each, stages in METHODS.items() for name, ids in one_pass(bench, {each: stages}).items()}


if __name__ == "__main__":
    run(main)
