"""What the judge tests share; they use the benchmark tests' fixtures."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from loopback_judge import KEY, Judge


@pytest.fixture(name="judge")
def start_judge(monkeypatch: pytest.MonkeyPatch) -> Iterator[Judge]:
    """A judge that gives every answer 0.5 until told otherwise; its key is in the environment."""
    monkeypatch.setenv("HIMAP_JUDGE_API_KEY", KEY)
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    judge = Judge()
    yield judge
    judge.server.shutdown()
    judge.server.server_close()
