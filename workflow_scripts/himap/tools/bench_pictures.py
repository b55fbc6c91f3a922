"""Measure questions about one picture asked together against each asked alone: python -m himap.tools.bench_pictures [--out FILE].

A model with random weights, one picture and several questions of unequal length (POPE asks 18 about each). Both arms run
vision tower, prefill and a few tokens, in turns. Seconds are those of the processor, so that other users of the machine
count little; on a GPU those of the clock. `apart` is a batch of the same questions in which nothing is shared.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any
from unittest.mock import patch

from himap.files import write_json
from himap.tools.arms import compare
from himap.tools.bench import Bench, add_model_options, describe_machine, read_dims
from himap.workflow.jobs.script import run

if TYPE_CHECKING:
    from himap.decoder.tokens import Rows


def main(argv: Sequence[str] | None = None) -> None:
    """Measure both arms in turns for the unpruned model and HiMAP, print the medians, and write the figures as JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_model_options(parser)
    parser.add_argument("--questions", type=int, default=18, help="about the picture")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--new-tokens", type=int, default=2, help="tokens of an answer")
    parser.add_argument("--out", metavar="FILE", help="write the figures as JSON")
    arguments = parser.parse_args(argv)
    fixed = {"text_tokens": 60, "naive_points": 1}  # system sentences and a short question; no naive arm runs
    bench = Bench(read_dims(arguments.dims), argparse.Namespace(**fixed, **vars(arguments)))
    figures: dict[str, Any] = {"machine": describe_machine(bench), "settings": vars(arguments)}
    for method in ("vanilla", "himap"):
        arms = {
            "together": partial(answer, bench, method, arguments.questions, together=True),
            "apart": partial(answer, bench, method, arguments.questions, together=False),
        }
        compared = compare(arms, bench.model, arguments.rounds)
        together, apart = compared.medians.values()
        figures[method] = {**compared.to_json(), "times_faster": apart / together}
        print(f"{method}: together {together:.2f} s, apart {apart:.2f} s, {apart / together:.2f} times faster")
    if arguments.out:
        write_json(Path(arguments.out), figures)


def answer(bench: Bench, method: str, questions: int, *, together: bool) -> list[list[int]]:
    """Return the ids of each question's answer."""
    from himap.decoder.generation import continue_greedily
    from himap.experiments import beginnings
    from himap.experiments.sharing import Track, prefills

    names = [str(number) for number in range(questions)]
    prompt = ask(bench, questions, looks=1 if together else questions)
    # Apart: as if no prompts began alike. A run has no switch for it.
    with patch.object(beginnings, "find", beginnings.find if together else lambda prompt: None):
        track = Track(tuple(bench.methods[method]))
        ((_, prefill),) = prefills(bench.model, prompt, [track], names, bench.new_tokens)
    done = continue_greedily(bench.model, prompt, prefill.cache, prefill.logits, bench.new_tokens, [prefill.pruning])
    return done.ids


def ask(bench: Bench, questions: int, looks: int) -> Rows:
    """Return a batch of questions about the picture, which the tower sees so many times."""
    import torch

    from himap.experiments.random_weights import SYSTEM_TOKENS

    # Apart, the tower sees the picture once for each question, as separate samples would make it.
    (features,) = bench.model.encode_images(bench.pixels.repeat(looks, 1, 1, 1))[:1]
    generator = torch.Generator().manual_seed(1)
    asked = [
        # 15 to 20 tokens; ids from 3 on are no special ones.
        torch.randint(3, bench.sizes.vocab - 1, (15 + number % 6,), generator=generator).tolist()
        for number in range(questions)
    ]
    begin = bench.ids[: SYSTEM_TOKENS + 1]  # up to the picture
    return bench.model.embed([[*begin, *question] for question in asked], [[features]] * questions)


if __name__ == "__main__":
    run(main)
