"""Measure an open question on one model and benchmark, group of samples after group; what a killed job measured stays."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from contextlib import closing
from itertools import islice
from typing import TYPE_CHECKING, Any

from himap.experiments import questions
from himap.files import write_text
from himap.workflow.jobs.journal import Journal
from himap.workflow.jobs.model_script import model_arguments, open_model, question, read_settings
from himap.workflow.jobs.progress import progress
from himap.workflow.jobs.provenance import job_key, write_provenance
from himap.workflow.jobs.script import run
from himap.workflow.jobs.sole_writer import sole_writer

if TYPE_CHECKING:
    from himap.experiments.questions import Asked, OpenQuestion
    from himap.models.model import Model

SETTINGS: dict[str, Any] = {"limit": None, "max_new_tokens": None}


def main(argv: Sequence[str] | None = None) -> None:
    """Ask the question of all groups that the journal does not have yet, and write the rows of all."""
    parser = model_arguments(__doc__, SETTINGS)
    parser.add_argument(
        "--question",
        required=True,
        metavar="NAME",
        help=f"{', '.join(questions.names())}; each has further settings, see its file in himap/experiments/questions",
    )
    arguments = parser.parse_args(argv)
    asked = questions.get(arguments.question)
    settings = read_settings(arguments.settings, {**SETTINGS, **asked.settings})

    # Before anything is loaded, so that a second job waits without holding a GPU.
    with sole_writer(arguments.out):
        model = open_model(arguments, settings)
        groups = samples_in_groups(asked, model, arguments, settings)
        with closing(Journal(arguments.out, key_of(asked, arguments, settings))) as journal:
            # A journal knows rows by sample id; here a row is a whole group, known by its number.
            missing = [str(number) for number in range(len(groups)) if str(number) not in journal.done]
            label = f"{arguments.question} {model.name} {arguments.benchmark}"
            for number in progress(missing, len(missing), label):
                rows = list(asked.measure(model, groups[int(number)], settings))
                journal.add({"sample_id": number, "rows": rows})
            # From the journal and in order, whether measured now or by a job that was killed.
            write_rows(arguments, [journal.done[str(number)]["rows"] for number in range(len(groups))])
        write_provenance(arguments.out, model, arguments, settings)


def samples_in_groups(
    asked: OpenQuestion, model: Model, arguments: argparse.Namespace, settings: dict[str, Any]
) -> list[list[Asked]]:
    """Return the first samples in the question's groups, as the model's family is asked them."""
    from himap.benchmarks import get, read_samples
    from himap.experiments.questions import Asked

    benchmark, protocol = get(arguments.benchmark), settings["protocol"]
    # Only the loaded model tells its family, by which a benchmark's limit may differ.
    if settings["max_new_tokens"] is None:
        settings["max_new_tokens"] = benchmark.max_new_tokens(model.family, **protocol)
    samples = [
        Asked(sample, question(sample, benchmark, model.family, protocol), benchmark)
        for sample in islice(read_samples(arguments.samples), settings["limit"])
    ]
    return asked.groups(samples, settings)


def write_rows(arguments: argparse.Namespace, groups: list[list[dict[str, Any]]]) -> None:
    """Write the rows of all groups as one CSV. Raise ValueError if there are none."""
    import pandas as pd

    frame = pd.DataFrame([row for rows in groups for row in rows])
    if frame.empty:
        raise ValueError(
            f"{arguments.samples}: none of {len(groups)} groups of samples answers the question {arguments.question!r}; "
            "give it more samples (`limit`) or another benchmark"
        )
    write_text(arguments.out, frame.to_csv(index=False, float_format="%.6g"))


def key_of(asked: OpenQuestion, arguments: argparse.Namespace, settings: dict[str, Any]) -> str:
    """Hash all that decides the rows."""
    from himap.pruning.criteria import get

    code = (
        "ask_question.py",
        f"himap.experiments.questions.{arguments.question}",
        f"himap.benchmarks.{arguments.benchmark}",
    )
    return job_key(arguments, *code, *sorted({get(name).score.__module__ for name in asked.criteria(settings)}))


if __name__ == "__main__":
    run(main)
