"""Write one offline page about one prompt: where the instruction looks, what matters, what each method keeps and answers,
and what cutting each layer does.

    ./reproduce inspect picture.png "How many circles are there?"
    ./reproduce inspect picture.png "What does the sign say?" --model llava-1.5-7b --methods himap fastv random
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from himap.registry import unknown
from himap.workflow.command_line import DEFAULT_CONFIG, plan_of, typed_path
from himap.workflow.jobs.script import run

if TYPE_CHECKING:
    from PIL.Image import Image

    from himap.experiments.inspection import Inspection
    from himap.models.model import Model
    from himap.pruning.stage import Schedule
    from himap.workflow.plan.plan import Plan
METHODS = ("himap", "fastv", "random")


def main(argv: Sequence[str] | None = None) -> None:
    """Read picture and methods first, since a model takes longer; write the page, say what it shows."""
    parser = argparse.ArgumentParser(
        prog="./reproduce inspect", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("picture", metavar="PICTURE", help="a file: PNG, JPEG, WebP, …")
    parser.add_argument("question", metavar="QUESTION", help="the text after the picture")
    parser.add_argument(
        "--model", help="a name in the config, a folder, or a hub id (default: the config's first model)"
    )
    parser.add_argument("--revision", help="of a hub id")
    parser.add_argument("--methods", nargs="+", default=list(METHODS), metavar="M", help="beside the unpruned model")
    parser.add_argument("--device", help="default: cuda where there is one, else cpu")
    parser.add_argument("--dtype", help="default: the config's, else float32")
    parser.add_argument("--max-new-tokens", type=int, default=64, metavar="N")
    parser.add_argument("--configfile", nargs="+", default=[DEFAULT_CONFIG], metavar="FILE")
    parser.add_argument("--out", default="inspection.html", metavar="FILE", help="the page (%(default)s)")
    arguments = parser.parse_args(argv)
    if not arguments.question.strip():
        raise ValueError('QUESTION is empty; give the text to ask, e.g. "How many circles are there?"')
    picture, plan = open_file(typed_path(arguments.picture)), plan_of(arguments.configfile)
    # Before the model is loaded, so that a typing error costs no minute.
    for method in arguments.methods:
        if method not in plan.config.methods:
            raise unknown("method", method, plan.config.methods)

    from himap.inference import inspect_prompt, page_of

    model, schedules = load_named(plan, arguments)
    look = inspect_prompt(model, picture, arguments.question, schedules, max_new_tokens=arguments.max_new_tokens)
    titles = {name: plan.title(name) for name in plan.config.methods}
    path = page_of(look, model, picture, titles).save(typed_path(arguments.out))
    print(f"{described(look, titles)}\n{path} written")


def described(look: Inspection, titles: dict[str, str]) -> str:
    """Return the answers with their probabilities, a line a method."""
    width = max(len(titles.get(answer.method, answer.method)) for answer in look.answers)
    return "\n".join(
        f"{titles.get(answer.method, answer.method):<{width}}  {100 * answer.probability:5.1f} %  {answer.text.strip()}"
        for answer in look.answers
    )


def open_file(path: Path) -> Image:
    """Return a picture; raise ValueError for a file that is missing or no whole picture."""
    from PIL import Image

    from himap.benchmarks.samples.images import check_image

    if not path.is_file():
        raise ValueError(f"{path}: no such picture; give the path of a PNG, JPEG or WebP file")
    try:
        check_image(path.read_bytes())
    except ValueError as error:
        raise ValueError(f"{path} cannot be read as a picture ({error}); give a PNG, JPEG or WebP file") from None
    return Image.open(path)


def load_named(plan: Plan, arguments: argparse.Namespace) -> tuple[Model, list[Schedule]]:
    """Load the model that is named, and return it with the schedules that the methods come down to on it."""
    import torch

    from himap.inference import schedule_of
    from himap.models.loading import load
    from himap.pruning.resolve import resolve

    # Models with `only` are left out: they are for single open questions.
    name = arguments.model or plan.models_for()[0]
    options: dict[str, Any] = {"device": arguments.device or ("cuda" if torch.cuda.is_available() else "cpu")}
    # A model outside the config has no stages of its own there: the built-in methods are resolved for its depth.
    if name not in plan.config.models:
        folder = typed_path(name)
        options |= {"dtype": arguments.dtype or "float32", "revision": arguments.revision}
        # owner/name is a hub id; everything else should have been a folder.
        if not folder.is_dir() and name.count("/") != 1:
            raise ValueError(
                f"--model: {name!r} is neither a model of the config ({', '.join(plan.config.models)}), nor a folder, "
                "nor a hub id such as llava-hf/llava-1.5-7b-hf"
            )
        model = load(folder if folder.is_dir() else name, **options)
        return model, [schedule_of(model, method) for method in arguments.methods]
    entry = plan.model(name)
    options |= {
        key: value for key in ("template", "image_mode", "text_tower") if (value := getattr(entry, key)) is not None
    }
    options |= {"dtype": arguments.dtype or entry.dtype, "attention": entry.attention}
    model = load(plan.checkpoint(name) or str(entry.id), revision=entry.revision, **options)
    # A model of the config runs the config's methods, with its own stages where it has some.
    methods = {key: method.model_dump(exclude_none=True) for key, method in plan.config.methods.items()}
    return model, [resolve(method, model.dims, methods=methods, model=name) for method in arguments.methods]


if __name__ == "__main__":
    run(main)
