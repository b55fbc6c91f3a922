"""The tiny checkpoints in their authors' layouts, what their authors' code answered on them, and the same loaded here."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import originals
import pytest

RECORDED = Path(__file__).parents[1] / "fixtures" / "models" / "recorded.json"


@pytest.fixture(scope="session")
def recorded() -> dict[str, Any]:
    """Numbers of the original implementations; how they were made stands in the file."""
    return json.loads(RECORDED.read_text())["checkpoints"]


@pytest.fixture(scope="session")
def published(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with every tiny checkpoint as its authors would publish it."""
    folder = tmp_path_factory.mktemp("published")
    for name, write in originals.CHECKPOINTS.items():
        write(folder / name)
    return folder


@pytest.fixture(scope="session")
def ready(published: Path, tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """The folder that `himap.load` takes: converted for the Vicuna models, as published for Qwen."""
    from himap.models.conversion.convert import convert

    folder = tmp_path_factory.mktemp("converted")

    def make(name: str) -> Path:
        if name.startswith("qwen"):
            return published / name
        if not (folder / name).is_dir():
            convert(published / name / "chat", published / name / originals.TOWERS[name], folder / name)
        return folder / name

    return make


@pytest.fixture(scope="session")
def loaded(ready: Callable[[str], Path]) -> Callable[..., Any]:
    """A tiny model by name, loaded once per set of options."""
    from himap.models.loading import load

    models: dict[Any, Any] = {}

    def get(name: str, **options: Any) -> Any:
        key = (name, *sorted(options.items()))
        if key not in models:
            models[key] = load(ready(name), **options)
        return models[key]

    return get
