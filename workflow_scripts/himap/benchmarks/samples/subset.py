"""Which samples a limited run takes: the same for a seed, a smaller limit's among a larger one's."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

from himap.benchmarks._base import Benchmark, Sample


@dataclass(frozen=True)
class Key:
    """What choosing needs to know of a sample: its id, what it is scored together with, its stratum, its image."""

    sample_id: str
    group: str
    stratum: str
    unit: str


def key_of(benchmark: Benchmark, sample: Sample) -> Key:
    """Return the key of a sample, by the benchmark's own rules."""
    group = benchmark.group(sample) if benchmark.group else sample.sample_id
    stratum = benchmark.stratum(sample) if benchmark.stratum else ""
    return Key(sample.sample_id, group, stratum, benchmark.unit(sample) if benchmark.unit else group)


def choose(keys: Sequence[Key], limit: int, seed: int) -> list[int]:
    """Return the positions of the chosen samples in their order: `limit` groups, as evenly over the strata as they allow."""
    if limit < 1:
        raise ValueError(f"limit {limit} leaves nothing; give a positive number or leave it out")
    blocks = shuffled_blocks(keys, seed)
    # Which strata give one more where the limit does not divide evenly: by hash too, not always the first by name.
    order = sorted(blocks, key=lambda name: rank(name, seed))
    quotas = even_quotas({name: len(groups) for name, groups in blocks.items()}, limit, order)
    # The first of each block, so that a smaller limit takes a part of a larger one's; then back in the set's own order.
    return sorted(place for name, groups in blocks.items() for group in groups[: quotas[name]] for place in group)


def shuffled_blocks(keys: Sequence[Key], seed: int) -> dict[str, list[list[int]]]:
    """Return for each stratum its groups of positions, ordered by seed and unit, so that all strata take the same images."""
    groups: dict[str, list[int]] = {}
    for position, key in enumerate(keys):
        groups.setdefault(key.group, []).append(position)
    strata: dict[str, list[tuple[str, list[int]]]] = {}
    for positions in groups.values():
        first = keys[positions[0]]  # a group lies in one stratum and is about one unit
        strata.setdefault(first.stratum, []).append((rank(first.unit, seed), positions))
    return {name: [positions for _, positions in sorted(strata[name])] for name in sorted(strata)}


def even_quotas(sizes: dict[str, int], limit: int, order: Sequence[str]) -> dict[str, int]:
    """Return how many groups each stratum gives: the same number, but no more than it has; what is over goes to the others."""
    quotas = dict.fromkeys(sizes, 0)
    left = min(limit, sum(sizes.values()))
    while left:
        open_strata = [name for name in order if quotas[name] < sizes[name]]
        # A round gives all strata the same; what small strata could not take is given out in the next one.
        step = max(1, left // len(open_strata))
        for name in open_strata:
            taken = min(step, sizes[name] - quotas[name], left)
            quotas[name] += taken
            left -= taken
    return quotas


def rank(name: str, seed: int) -> str:
    """Return a text that decides a name's place in the shuffled order, the same on every machine."""
    # A hash and no generator: a name keeps its place however many others there are, so a smaller limit takes a part of a larger's.
    return hashlib.sha256(f"{seed}:{name}".encode()).hexdigest()
