"""What the scripts that run a model share: their arguments, their settings, the model, the questions, provenance."""

from __future__ import annotations

import argparse
import hashlib
import json
import platform
import sys
import time
from collections.abc import Iterable, Iterator, Mapping
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

from himap.files import sha256, write_json
from himap.registry import unknown

if TYPE_CHECKING:
    from himap.benchmarks import Sample
    from himap.evaluation import Question
    from himap.models import Model

LIBRARIES = ("torch", "transformers", "tokenizers", "pillow")  # their versions can move a result
KINDS = (".json", ".safetensors", ".bin", ".jinja", ".model", ".tiktoken")  # a checkpoint's files that decide results
MODEL_SETTINGS: dict[str, Any] = {
    "dtype": "float32",
    "attention": "sdpa",
    "template": None,
    "image_mode": None,
    "protocol": {},
    "seed": 0,
}


def model_arguments(about: str | None, defaults: Mapping[str, Any], *, samples: bool = True) -> argparse.ArgumentParser:
    """A parser with the arguments of every script that runs a model; its help lists the settings and their defaults."""
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
    parser.add_argument("--settings", default="{}", metavar="JSON", help="see below")
    parser.add_argument("--device", default="auto", help="auto (a GPU if there is one), cpu, cuda, cuda:1 ...")
    parser.add_argument("--out", required=True, metavar="FILE", help="where the result is written")
    return parser


def parse_json(name: str, text: str) -> Any:
    """An argument that holds JSON; what is wrong is named."""
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        raise ValueError(f"--{name}: not valid JSON ({error}): {text[:80]!r}") from error


def read_settings(text: str, defaults: Mapping[str, Any]) -> dict[str, Any]:
    """The settings with defaults filled in; an unknown one is refused with the nearest name."""
    known = {**MODEL_SETTINGS, **defaults}
    given = parse_json("settings", text)
    if not isinstance(given, dict):
        raise ValueError(f"--settings: one JSON object is needed, not {text[:80]!r}")
    for key in given:
        if key not in known:
            raise unknown("setting", key, known)
    return {**known, **given}


def open_model(arguments: argparse.Namespace, settings: Mapping[str, Any]) -> Model:
    """Load the model that the arguments name, onto a GPU of its own if there is one."""
    import torch

    from himap.devices import claim
    from himap.models import load

    device = arguments.device
    if device in ("auto", "cuda"):
        claim()
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
        if device == "cpu":
            print("no GPU is visible to this job: the processor does the work", file=sys.stderr, flush=True)
    options = {key: settings[key] for key in ("template", "image_mode") if settings[key] is not None}
    return load(
        arguments.model, revision=arguments.revision, device=device, dtype=settings["dtype"],
        attention=settings["attention"], **options,
    )  # fmt: skip


def question(sample: Sample, benchmark: Any, family: str, protocol: Mapping[str, Any]) -> Question:
    """A sample as this model family is asked it."""
    from himap.evaluation import Question

    return Question(sample.sample_id, sample.images, benchmark.prompt(sample, family, **protocol), benchmark.name)


def job_key(arguments: argparse.Namespace, *scripts: str, ignore: Iterable[str] = ("device",)) -> str:
    """A hash of all that decides a job's results: arguments, the samples' bytes, the model's files, the code."""
    from himap.code_version import code_version

    stated = {key: value for key, value in vars(arguments).items() if key not in (*ignore, "out")}
    model = Path(arguments.model)
    files = sorted(p for p in model.iterdir() if p.suffix in KINDS) if model.is_dir() else []
    prints = [
        (p.name, sha256(p) if p.stat().st_size < 1 << 24 else [p.stat().st_size, p.stat().st_mtime_ns]) for p in files
    ]
    families = [f"himap.models.{path.stem}" for path in sorted((Path(__file__).parent / "models").glob("[!_]*.py"))]
    whole = [stated, prints, sha256(arguments.samples), code_version(*scripts, *families)]
    return hashlib.sha256(json.dumps(whole, sort_keys=True, default=str).encode()).hexdigest()


def provenance_file(out: str | Path) -> Path:
    """Where a result's provenance stands."""
    return Path(f"{out}.provenance.json")


def write_provenance(out: str | Path, model: Model, arguments: argparse.Namespace, settings: Mapping[str, Any]) -> None:
    """Beside a result: what made it, as <out>.provenance.json."""
    import torch

    cuda = model.device.type == "cuda"
    write_json(
        provenance_file(out),
        {
            "script": Path(sys.argv[0]).name,
            "model": {"name": model.name, "source": str(arguments.model), "revision": model.revision},
            "samples": getattr(arguments, "samples", None),
            "settings": dict(settings),
            "gpus_visible": torch.cuda.device_count(),
            "device": torch.cuda.get_device_name(model.device) if cuda else f"cpu ({platform.machine()})",
            "versions": {"python": platform.python_version(), **library_versions()},
        },
    )


def library_versions() -> dict[str, str]:
    """Return the installed versions of the libraries that results depend on; nothing is imported."""
    return {name: metadata.version(name) for name in LIBRARIES}


def progress(items: Iterable[Any], total: int | None, label: str, every: float = 10.0) -> Iterator[Any]:
    """A bar on a terminal; in a log file a whole line at the start, every ten seconds, and at the end."""
    from tqdm import tqdm

    if sys.stderr.isatty():
        yield from tqdm(items, total=total, desc=label, ncols=88)
        return
    begun = said = time.monotonic()
    print(bar(0, total, 0.0, label), file=sys.stderr, flush=True)
    for done, item in enumerate(items, start=1):
        yield item
        now = time.monotonic()
        if done == total or now - said >= every:
            print(bar(done, total, now - begun, label), file=sys.stderr, flush=True)
            said = now


def bar(done: int, total: int | None, seconds: float, label: str) -> str:
    """[#####-----] 50/100 label, 0:01:40 so far, 0:01:40 to go"""
    if total is None:
        return f"{done} {label}, {span(seconds)} so far"
    filled = 20 * done // max(total, 1)
    text = f"[{'#' * filled}{'-' * (20 - filled)}] {done}/{total} {label}, {span(seconds)} so far"
    return text + (f", {span(seconds * (total - done) / done)} to go" if 0 < done < total else "")


def span(seconds: float) -> str:
    """Seconds as h:mm:ss."""
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes // 60}:{minutes % 60:02d}:{rest:02d}"
