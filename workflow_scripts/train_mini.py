"""Train the mini model from scratch: tower, then decoder. After a kill, run it again: it continues from its last save."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from himap.workflow.jobs import script


def parse(argv: Sequence[str] | None) -> argparse.Namespace:
    """Return the parsed command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, required=True, help="folder of the finished checkpoint")
    parser.add_argument("--state", type=Path, help="folder for the training state and the log (default: OUT.training)")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument(
        "--architecture", choices=("llava", "mllama"), default="llava", help="mllama reads pictures by cross-attention"
    )
    parser.add_argument("--start", default="", help="start from this finished checkpoint instead of from scratch")
    parser.add_argument("--rate", type=float, default=1.0, help="factor on the learning rates of the decoder")
    parser.add_argument("--alignment", type=float, help="weight of the helper losses; 0 trains on answers alone")
    length = parser.add_mutually_exclusive_group()
    length.add_argument("--minutes", type=float, help="train the decoder this long instead of a fixed number of steps")
    length.add_argument("--steps", type=int, help="steps of the decoder's training")
    parser.add_argument("--pictures", type=int, help="pictures per step (about twelve questions each)")
    parser.add_argument("--device", default="cpu", help="cpu or cuda")
    parser.add_argument("--threads", type=int, default=2, help="CPU threads")
    parser.add_argument("--workers", type=int, default=1, help="processes that make batches (a GPU waits for one)")
    parser.add_argument("--no-compile", action="store_true", help="do not use torch.compile")
    parser.add_argument("--quick", action="store_true", help="only a few steps, to see that everything works")
    return parser.parse_args(argv)


def main(argv: Sequence[str] | None = None) -> int:
    """Read the settings and train."""
    args = parse(argv)
    import torch
    from himap.mini import training
    from himap.mini.recipe import QUICK, Recipe

    torch.set_num_threads(args.threads)
    # Options that are not given leave the recipe's own values.
    recipe = QUICK if args.quick else Recipe()
    recipe = replace(recipe, seed=args.seed, architecture=args.architecture, start=args.start, rate=args.rate)
    if args.minutes is not None:
        recipe = replace(recipe, minutes=args.minutes)
    if args.steps is not None:
        recipe = replace(recipe, steps=args.steps)
    if args.alignment is not None:
        recipe = replace(recipe, alignment=args.alignment)
    if args.pictures is not None:
        recipe = replace(recipe, pictures=args.pictures)
    state = args.state or args.out.with_name(args.out.name + ".training")
    compiled = False if args.no_compile else None
    training.train(recipe, args.out, state, args.device, compiled, args.workers)
    return 0


if __name__ == "__main__":
    script.run(main)
