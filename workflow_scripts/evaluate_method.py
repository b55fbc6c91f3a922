"""Answer a benchmark's questions with one model under one pruning method, or under several in one pass.

Give `--method`, `--settings` and `--out` once for each method; settings given once are those of all methods. Each method
has an output and a journal of its own, so that answers that are there already are not computed again.
"""

from __future__ import annotations

import argparse
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import partial
from itertools import compress
from typing import TYPE_CHECKING, Any

from himap.files import write_jsonl
from himap.pruning.stage import Schedule
from himap.workflow.jobs.journal import Journal
from himap.workflow.jobs.model_script import (
    MODEL_SETTINGS,
    add_batch_size,
    each_method,
    model_arguments,
    open_model,
    question,
)
from himap.workflow.jobs.progress import progress
from himap.workflow.jobs.provenance import job_key, provenance_file, write_provenance
from himap.workflow.jobs.script import run
from himap.workflow.jobs.sole_writer import sole_writer

if TYPE_CHECKING:
    from himap.benchmarks._base import Benchmark, Sample
    from himap.experiments.answers import Asking
    from himap.models.model import Model

SETTINGS = {"max_new_tokens": None}
# `protocol` and `seed` decide how a question is asked, not how the model is loaded.
LOADED_WITH = [key for key in MODEL_SETTINGS if key not in ("protocol", "seed")]


@dataclass
class Method:
    """A method, what decides its answers, where they are written, and those that are there already."""

    schedule: Schedule
    settings: dict[str, Any]
    arguments: argparse.Namespace
    journal: Journal = field(init=False)

    def lacks(self, sample_id: str) -> bool:
        """Return whether a sample has no answer yet."""
        return sample_id not in self.journal.done

    def is_unfinished(self, ids: Iterable[str]) -> bool:
        """Return whether an answer or the provenance is missing."""
        return any(map(self.lacks, ids)) or not provenance_file(self.arguments.out).is_file()


def main(argv: Sequence[str] | None = None) -> None:
    """Answer the samples of one shard that the journals do not have yet, and write all answers of the shard."""
    parser = model_arguments(__doc__, SETTINGS, several=True)
    parser.add_argument(
        "--method", required=True, action="append", metavar="JSON", help='{"name", "stages", "rerank", "image_grid"}'
    )
    add_batch_size(parser)
    parser.add_argument("--shard", type=int, default=0, help="which part of the samples, from 0")
    parser.add_argument("--shards", type=int, default=1, help="into how many parts they are cut")
    arguments = parser.parse_args(argv)
    methods = [Method(*told) for told in each_method(arguments, SETTINGS)]
    if not 0 <= arguments.shard < arguments.shards:
        raise ValueError(
            f"--shard: {arguments.shard} is not one of {arguments.shards} shards; allowed: 0 to {arguments.shards - 1}"
        )
    from himap.benchmarks import get

    benchmark = get(arguments.benchmark)
    with ExitStack() as stack:
        stack.enter_context(sole_writer(*(method.arguments.out for method in methods)))
        for method in methods:
            method.journal = Journal(method.arguments.out, key_of(method))
            # Closed in reverse order, all of them before the outputs are given free.
            stack.callback(method.journal.close)
        mine = shard_of(arguments, benchmark)
        ids = [sample.sample_id for sample in samples_of(arguments, mine, ["sample_id"])]
        # No model is loaded if all answers are there: a job killed after its last answer only writes its files.
        for alike in by_model(method for method in methods if method.is_unfinished(ids)):
            answer(alike, benchmark, arguments, mine, ids)
        for method in methods:
            write_jsonl(method.arguments.out, (method.journal.done[name] for name in ids))


def key_of(method: Method) -> str:
    """Hash all that decides a method's answers; which methods run beside it does not."""
    from himap.pruning.criteria import get as criterion_named

    # Criteria are found by name, which a walk along the imports does not see.
    criteria = {criterion_named(stage.criterion).score.__module__ for stage in method.schedule.stages}
    code = ("evaluate_method.py", f"himap.benchmarks.{method.arguments.benchmark}", *sorted(criteria))
    # Device and batch size say how a job runs: answers that a killed job gave with others are kept.
    return job_key(method.arguments, *code, ignore=("device", "batch_size"))


def shard_of(arguments: argparse.Namespace, benchmark: Benchmark) -> bytes:
    """Return for each sample of the file whether it is in this job's shard; samples about one picture are in one shard."""
    from himap.benchmarks import read_samples

    first = next(read_samples(arguments.samples, ["metadata"]), None)
    picture_is_known = first is not None and benchmark.picture is not None and benchmark.knows_picture(first)
    # The metadata names the picture. Without several shards the order of ids is enough.
    columns = ["metadata"] if picture_is_known and arguments.shards > 1 else ["sample_id"]
    samples = read_samples(arguments.samples, columns)
    # Every n-th picture and not blocks: sets are sorted by kind, and shards should take about the same time.
    numbers: dict[str, int] = {}
    pictures = (benchmark.picture_of(sample) if "metadata" in columns else sample.sample_id for sample in samples)
    # The n-th new picture gets the number n; a byte per sample instead of an object keeps large sets small.
    return bytes(numbers.setdefault(name, len(numbers)) % arguments.shards == arguments.shard for name in pictures)


def samples_of(arguments: argparse.Namespace, mine: bytes, columns: Sequence[str] | None = None) -> Iterator[Sample]:
    """Yield the shard's samples, or some of their fields, a few in memory at a time."""
    from himap.benchmarks import read_samples

    return compress(read_samples(arguments.samples, columns), mine)


def waiting(
    arguments: argparse.Namespace, benchmark: Benchmark, mine: bytes, wanted: Collection[str]
) -> Iterator[Sample]:
    """Yield the samples that wait for an answer, those about one picture together where the data say which it is."""
    from himap.benchmarks.samples.files import by_picture

    def chosen(columns: Sequence[str] | None = None) -> Iterator[Sample]:
        return (sample for sample in samples_of(arguments, mine, columns) if sample.sample_id in wanted)

    first = next(chosen(["metadata"]), None)
    if first is None or benchmark.picture is None or not benchmark.knows_picture(first):
        return chosen()
    # The counts tell when a picture's last question has come, after which its group is complete.
    return by_picture(chosen(), benchmark.picture_of, Counter(map(benchmark.picture_of, chosen(["metadata"]))))


def by_model(methods: Iterable[Method]) -> list[list[Method]]:
    """Return the methods by how their model is loaded, so that each precision is loaded once."""
    groups: dict[str, list[Method]] = {}
    for method in methods:
        groups.setdefault(repr([method.settings[key] for key in LOADED_WITH]), []).append(method)
    return list(groups.values())


def answer(
    methods: Sequence[Method], benchmark: Benchmark, arguments: argparse.Namespace, mine: bytes, ids: Sequence[str]
) -> None:
    """Answer what is missing under methods of one model; the journals keep each answer at once, as a job may be killed at any time."""
    from himap.experiments.batches import answer_each

    model = open_model(arguments, methods[0].settings)
    for method in methods:
        told = {"batch_size": arguments.batch_size, "method": method.schedule.to_json()}
        write_provenance(method.arguments.out, model, method.arguments, {**method.settings, **told})
    by_name = {method.schedule.name: method for method in methods}
    # A sample is read if one of the methods lacks it; `is_done` then leaves the others out.
    wanted = {name for name in ids if any(method.lacks(name) for method in methods)}
    rows = answer_each(
        model,
        waiting(arguments, benchmark, mine, wanted),
        askings(methods, model, benchmark),
        batch_size=arguments.batch_size,
        is_done=lambda schedule, sample_id: not by_name[schedule.name].lacks(sample_id),
    )
    missing = sum(method.lacks(name) for method in methods for name in wanted)
    what = methods[0].schedule.name if len(methods) == 1 else f"{len(methods)} methods"
    for schedule, row in progress(rows, missing, f"{model.name} {benchmark.name} {what}"):
        by_name[schedule.name].journal.add(row)


def askings(methods: Sequence[Method], model: Model, benchmark: Benchmark) -> list[Asking]:
    """Return the methods by how they put the questions."""
    from himap.experiments.answers import Asking

    groups: dict[str, list[Method]] = {}
    for method in methods:
        groups.setdefault(repr([method.settings["protocol"], method.settings["max_new_tokens"]]), []).append(method)
    return [
        Asking(
            [method.schedule for method in alike],
            max_new_tokens=alike[0].settings["max_new_tokens"] or benchmark.max_new_tokens(model.family, **protocol),
            min_new_tokens=benchmark.min_new_tokens(model.family, **protocol),
            seeds={method.schedule.name: method.settings["seed"] for method in alike},
            question=partial(question, benchmark=benchmark, family=model.family, protocol=protocol),
        )
        for alike in groups.values()
        # A loop of one gives the protocol a name within the comprehension.
        for protocol in [alike[0].settings["protocol"]]
    ]


if __name__ == "__main__":
    run(main)
