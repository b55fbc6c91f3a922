"""What the file of an open question declares: words, usual settings, the samples that belong together, the measurement."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from himap.benchmarks._base import Benchmark, Sample
    from himap.decoder.layout import Layout
    from himap.experiments.answers import Question
    from himap.models.model import Model

Settings = Mapping[str, Any]
Row = dict[str, Any]


@dataclass(frozen=True)
class Asked:
    """A sample, and how the model is asked it."""

    sample: Sample
    question: Question
    benchmark: Benchmark

    @property
    def kind(self) -> str:
        """Return the kind of its question (of MME's the subtask), empty where the data do not say."""
        return str(self.sample.metadata.get("kind") or self.sample.metadata.get("category", ""))

    @property
    def evidence(self) -> list[int]:
        """Return the cells that its question is about; none where the data do not say, or the whole picture counts."""
        return list(self.sample.metadata.get("evidence", []))

    def tokens_about(self, layouts: Sequence[Layout]) -> list[int]:
        """Return the image tokens of its picture that show these cells; none where the tokens are not the cells."""
        from himap.metrics.evidence import tokens_about

        return (tokens_about(self.evidence, layouts[0]) or []) if len(layouts) == 1 else []

    def score(self, answer: str) -> float:
        """Return the benchmark's score of an answer."""
        return float(self.benchmark.rows([self.sample], [answer])[0]["score"])


def each_alone(samples: Sequence[Asked], settings: Settings) -> list[list[Asked]]:
    """Return every sample as a group of its own."""
    return [[sample] for sample in samples]


def no_criteria(settings: Settings) -> list[str]:
    """Return nothing: no token is ranked."""
    return []


@dataclass(frozen=True)
class OpenQuestion:
    """One open question. Its name is its file's; `groups` and `measure` run in the job, the rest in the plan.

    A job measures group after group and keeps each one's rows in a journal, so a group is what a killed job may lose.
    """

    title: str
    about: str  # one line for docs/configuration.md
    measure: Callable[[Model, Sequence[Asked], Settings], Iterable[Row]]  # rows of one group
    prefills: Callable[
        [Settings, int], float
    ]  # of whole prompts per sample in a decoder of some layers, for the estimate
    groups: Callable[[Sequence[Asked], Settings], list[list[Asked]]] = each_alone  # samples that are measured together
    criteria: Callable[[Settings], list[str]] = no_criteria  # that rank tokens: their code decides the result too
    benchmarks: tuple[str, ...] = ("kinds",)  # on which it is asked unless the config says otherwise
    limit: int | None = None  # how many samples of each
    settings: Mapping[str, Any] = field(default_factory=dict)  # its own, with their defaults
