"""Samples that ask the same about different pictures belong together: they are kept or taken apart as one."""

from __future__ import annotations

from collections.abc import Sequence

from himap.experiments.questions._base import Asked, Row, Settings

BATCH = 16  # prompts that are prefilled together


def group_of(asked: Asked) -> str:
    """Return what samples share that ask the same about different pictures."""
    return str(asked.sample.metadata.get("group", asked.sample.sample_id))


def one_of_each(samples: Sequence[Asked], settings: Settings) -> list[list[Asked]]:
    """Return the samples one by one, of those that ask the same about different pictures only the first."""
    first: dict[str, Asked] = {}
    for asked in samples:
        first.setdefault(group_of(asked), asked)
    return [[asked] for asked in first.values()]


def all_together(samples: Sequence[Asked], settings: Settings) -> list[list[Asked]]:
    """Return one group: what is fitted on some samples is used on the others."""
    return [list(samples)] if samples else []


def divided(samples: Sequence[Asked], every: int) -> tuple[list[Asked], list[Asked]]:
    """Return validation and test samples: of each kind every so many-th question, with all that ask the same."""
    questions: dict[str, list[str]] = {}
    for asked in samples:
        known = questions.setdefault(asked.kind, [])
        known += [] if group_of(asked) in known else [group_of(asked)]
    # kind by kind, so that a rare kind is in both parts
    chosen = {(kind, group) for kind, groups in questions.items() for group in groups[::every]}
    parts: tuple[list[Asked], list[Asked]] = ([], [])
    for asked in samples:
        # index 0, validation, where it is chosen
        parts[(asked.kind, group_of(asked)) not in chosen].append(asked)
    return parts


def batches(samples: Sequence[Asked], size: int) -> list[list[Asked]]:
    """Return the samples so many at a time."""
    return [list(samples[begin : begin + size]) for begin in range(0, len(samples), size)]


def named(asked: Asked) -> Row:
    """Return what tells a sample's rows from those of others."""
    return {"sample_id": asked.sample.sample_id, "group": group_of(asked), "kind": asked.kind}
