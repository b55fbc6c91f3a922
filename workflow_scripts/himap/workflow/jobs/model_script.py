"""What the scripts that run a model share: their arguments, their settings, the model, the questions, provenance."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Mapping
from importlib import metadata
from typing import TYPE_CHECKING, Any

from himap.pruning.stage import Schedule
from himap.registry import unknown

if TYPE_CHECKING:
    from himap.benchmarks._base import Sample
    from himap.experiments.answers import Question
    from himap.models.model import Model

LIBRARIES = ("torch", "transformers", "tokenizers", "pillow")  # their versions can move a result
KINDS = (".json", ".safetensors", ".bin", ".jinja", ".model", ".tiktoken")  # a checkpoint's files that decide results
MODEL_SETTINGS: dict[str, Any] = {
    "dtype": "float32",
    "attention": "sdpa",
    "template": None,
    "image_mode": None,
    "text_tower": None,
    "protocol": {},
    "seed": 0,
}


def model_arguments(
    about: str | None, defaults: Mapping[str, Any], *, samples: bool = True, several: bool = False
) -> argparse.ArgumentParser:
    """Return a parser with the arguments of every script that runs a model; its help lists the settings and their defaults.

    Where a script makes `several` results, settings and outputs may be given several times.
    """
    settings = "\n".join(f"  {key}: {json.dumps(value)}" for key, value in {**MODEL_SETTINGS, **defaults}.items())
    parser = argparse.ArgumentParser(
        description=about,
        epilog=f"settings (one JSON object) and their defaults:\n{settings}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--model", required=True, metavar="DIR", help="folder of a checkpoint, or a hub id")
    parser.add_argument("--revision", help="revision of a hub id")
    if samples:
        parser.add_argument("--benchmark", required=True, help="name of the benchmark")
        parser.add_argument("--samples", required=True, metavar="FILE", help="its samples.parquet")
    # With `append` a default list would be kept beside the given values, so there is none.
    repeated: Any = {"action": "append"} if several else {}
    parser.add_argument("--settings", default=None if several else "{}", metavar="JSON", help="see below", **repeated)
    parser.add_argument("--device", default="auto", help="auto (a GPU if there is one), cpu, cuda, cuda:1 ...")
    parser.add_argument("--out", required=True, metavar="FILE", help="where the result is written", **repeated)
    return parser


def each_method(
    arguments: argparse.Namespace, defaults: Mapping[str, Any]
) -> list[tuple[Schedule, dict[str, Any], argparse.Namespace]]:
    """Return the methods of a command line: schedule, settings, and the arguments as if each were there alone.

    Raise ValueError if methods, settings and outputs do not pair up.
    """
    count = len(arguments.method)
    given = arguments.settings or ["{}"]
    if len(arguments.out) != count or len(given) not in (1, count):
        raise ValueError(
            f"--method is given {count} times, --out {len(arguments.out)} and --settings {len(given)} times; "
            "give each method an output, and settings once or for each method"
        )
    # Settings given once are those of all methods.
    settings = given * count if len(given) == 1 else given
    methods = []
    for text, own, out in zip(arguments.method, settings, arguments.out, strict=True):
        alone = argparse.Namespace(**{**vars(arguments), "method": text, "settings": own, "out": out})
        schedule = Schedule.from_json(parse_json("method", text))
        methods.append((schedule, read_settings(own, defaults), alone))
    # Rows, journals and progress know a method by its name.
    names = [schedule.name for schedule, _, _ in methods]
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise ValueError(f"--method: {', '.join(twice)} is given twice; give each method a `name` of its own")
    return methods


def add_batch_size(parser: argparse.ArgumentParser) -> None:
    """Add the option for samples per forward pass. It says how a job runs and is no setting: it makes no result stale."""
    parser.add_argument(
        "--batch-size",
        type=batch_size,
        default="auto",
        metavar="N",
        help="samples per forward pass, or auto: what fits",
    )


def batch_size(text: str) -> int | str:
    """Return a batch size from the command line. Raise ArgumentTypeError if it is neither `auto` nor at least 1."""
    if text == "auto":
        return text
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text}: write `auto` or a number of at least 1")
    return int(text)


def parse_json(name: str, text: str) -> Any:
    """Parse an argument that holds JSON. Raise ValueError with its name if it is not."""
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        raise ValueError(f"--{name}: not valid JSON ({error}): {text[:80]!r}") from error


def parse_schedules(text: str) -> dict[str, Schedule]:
    """Read resolved methods by name from `--methods`; raise ValueError that names the method and what is wrong."""

    values = parse_json("methods", text)
    if not isinstance(values, dict):
        raise ValueError(f"--methods: one JSON object is needed, not {text[:80]!r}")
    schedules = {}
    for name, value in values.items():
        try:
            schedules[name] = Schedule.from_json(value)
        except ValueError as error:
            raise ValueError(f"--methods: {name}: {error}") from error
    return schedules


def read_settings(text: str, defaults: Mapping[str, Any]) -> dict[str, Any]:
    """Return the settings with defaults filled in. Raise ValueError with the nearest name for an unknown one."""
    known = {**MODEL_SETTINGS, **defaults}
    given = parse_json("settings", text)
    if not isinstance(given, dict):
        raise ValueError(f"--settings: expected one JSON object, not {text[:80]!r}")
    for key in given:
        if key not in known:
            raise unknown("setting", key, known)
    return {**known, **given}


def open_model(arguments: argparse.Namespace, settings: Mapping[str, Any]) -> Model:
    """Load the model that the arguments name, onto a GPU of its own if there is one."""
    from himap.models.loading import load

    device = choose_device(arguments.device)
    # None means the family's own choice, which the loader makes only where the key is absent.
    options = {key: settings[key] for key in ("template", "image_mode", "text_tower") if settings[key] is not None}
    return load(
        arguments.model, revision=arguments.revision, device=device, dtype=settings["dtype"],
        attention=settings["attention"], **options,
    )  # fmt: skip


def choose_device(device: str) -> str:
    """Return the device that `--device` means; a GPU that is not named is claimed for this job alone."""
    import torch

    from himap.workflow.jobs.gpus import claim

    # "cuda:1" is a choice of the user's and needs no lock of ours.
    if device in ("auto", "cuda"):
        claim()
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
        if device == "cpu":
            print("no GPU is visible to this job: running on the processor", file=sys.stderr, flush=True)
    return device


def question(sample: Sample, benchmark: Any, family: str, protocol: Mapping[str, Any]) -> Question:
    """Return a sample as this model family is asked it."""
    from himap.experiments.answers import Question

    return Question(
        sample.sample_id,
        sample.images,
        benchmark.prompt(sample, family, **protocol),
        benchmark.name,
        benchmark.image_mode(family, **protocol),
    )


def library_versions() -> dict[str, str]:
    """Return the installed versions of the libraries that results depend on; nothing is imported."""
    return {name: metadata.version(name) for name in LIBRARIES}
