"""What the benchmark tests share."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from benchmark_runs import prepare_in_process
from hub_fixtures import Fixture


@pytest.fixture(name="prepared")
def make_prepared(tmp_path: Path) -> Callable[..., Path]:
    """A function that turns a fixture into samples.parquet in the test's folder."""

    def make(fixture: Fixture, **options: Any) -> Path:
        return prepare_in_process(fixture, tmp_path, **options)

    return make
