"""Counts and layers that each input finds for itself.

    {"keep": {"mass": 0.9, "floor": 0.05, "ceiling": 0.5}}  # the fewest tokens that hold 90 % of the criterion's score
    {"layer": {"after": "instruction_share", "below": 0.5, "from": 2, "to": 6}}  # once the signal has halved

A stage with `after` acts at the first layer from `from` to `to` at which the signal, read from the attention of the layer
below, has sunk below a share of its peak so far; at `to` at the latest. The peak counts from the layer after the stage
before, whose own drop would move the signal. Both forms read what one input does and nothing of its batch.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from himap.registry import hint

if TYPE_CHECKING:
    from torch import Tensor

    from himap.decoder.attention import LayerAttention

MASS_KEYS = ("mass", "floor", "ceiling")
AFTER_KEYS = ("after", "below", "from", "to")
LEAST = 1  # tokens that stay where no floor is given
Problem = tuple[str, str]  # a path below the value, as in ".floor", and what is wrong there


@dataclass(frozen=True)
class Mass:
    """The fewest tokens that hold `share` of the criterion's score, but at least `floor`; a stage's `keep` is the most."""

    share: float
    floor: int | float = LEAST


@dataclass(frozen=True)
class After:
    """The first layer at which `signal` is below `below` of its peak so far, but no later than `to`; a stage's `layer` is the earliest."""

    signal: str
    below: float
    to: int


def mass_problems(value: Mapping[str, Any], keep_problem: Callable[[object], str | None]) -> Iterator[Problem]:
    """Yield what is wrong with a `keep` that each input finds; `keep_problem` judges its floor and ceiling."""
    yield from _unknown_keys(value, MASS_KEYS)
    if "mass" not in value:
        yield ".mass", "is missing; give the share of the criterion's score that is to stay, as in {mass: 0.9}"
    elif not _is_share(value["mass"]):
        yield ".mass", f"{value['mass']!r} is outside (0, 1]; give the share of the criterion's score that is to stay"
    for key in ("floor", "ceiling"):
        if key in value and (wrong := keep_problem(value[key])):
            yield f".{key}", f"{value[key]!r} {wrong}"
    if value.get("floor") == 0:
        yield ".floor", "0 is no floor; leave it out, and at least one token stays"
    if value.get("ceiling") == 0:
        yield ".ceiling", "0 leaves no token whatever they hold; write `keep: 0` for a stage that drops them all"


def after_problems(value: Mapping[str, Any], layers: int | None, model: str) -> Iterator[Problem]:
    """Yield what is wrong with a `layer` that each input finds; its ends are numbers or shares of the depth."""
    yield from _unknown_keys(value, AFTER_KEYS)
    if missing := [key for key in AFTER_KEYS if key not in value]:
        yield from (
            (f".{key}", f"is missing; a layer that each input finds needs {', '.join(AFTER_KEYS)}") for key in missing
        )
        return
    if value["after"] not in SIGNALS:
        yield ".after", f"unknown signal {value['after']!r}" + hint(value["after"], SIGNALS)
    if not _is_share(value["below"]):
        yield ".below", f"{value['below']!r} is outside (0, 1]; give a share of the signal's peak"
    ends = [(key, value[key]) for key in ("from", "to")]
    if layers is not None:
        ends = [(key, layer_at(end, layers) if _is_depth(end) else end) for key, end in ends]
    allowed = "from 1 on, or a share of the depth between 0 and 1" if layers is None else f"1 to {layers - 2}"
    whole = [end for _, end in ends if isinstance(end, int) and not isinstance(end, bool)]
    for key, end in ends:
        # the signal is read from the layer below, and layer 0 has none
        if not (_is_depth(end) or (end in whole and end >= 1)):
            yield f".{key}", f"{end!r} is no layer at which a signal can be read (allowed: {allowed})"
        elif layers is not None and end > layers - 2:
            yield f".{key}", f"{end} is not below the last layer of {model} (allowed: {allowed})"
    # Compared only if both are layers or both shares: without a depth, 0.25 and 6 have no order.
    (_, first), (_, last) = ends
    if (len(whole) == 2 or (_is_depth(first) and _is_depth(last))) and last < first:
        yield ".to", f"{last} is before {first}, where the layers begin; give `from` and `to` in order"


def layer_at(layer: int | float, layers: int) -> int:
    """Return the number of a layer that may be given as a share of the model's depth."""
    # Halves go up, as in `keep_count`. Layer 0 has no attention below it, so a share never becomes 0.
    return max(1, int(layer * layers + 0.5)) if isinstance(layer, float) else layer


def _unknown_keys(value: Mapping[str, Any], known: tuple[str, ...]) -> Iterator[Problem]:
    yield from ((f".{key}", "unknown key" + hint(key, known)) for key in value if key not in known)


def _is_share(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and 0 < value <= 1


def _is_depth(value: object) -> bool:
    return isinstance(value, float) and 0 < value < 1


# ---- what an input shows on its way through the layers


def instruction_share(below: LayerAttention, is_image: Tensor, is_instruction: Tensor) -> Tensor:
    """Share [B] of the instruction's attention that falls on image tokens: it sinks once they have been read."""
    # fp64, so that a sum does not depend on how many columns of padding stand beside it
    given = below.given(is_instruction, to=is_image).double().sum(dim=1)
    return given / is_instruction.sum(dim=1).clamp(min=1)


def image_entropy(below: LayerAttention, is_image: Tensor, is_instruction: Tensor) -> Tensor:
    """Entropy [B] of the attention that image tokens receive from each other, 1 where they all receive the same."""
    received = below.received(is_image).double().masked_fill(~is_image, 0.0)  # [B, T]
    # a distribution over the image tokens that are left
    shares = received / received.sum(dim=1, keepdim=True).clamp(min=1e-30)
    entropy = -(shares * shares.clamp(min=1e-30).log()).sum(dim=1)
    return entropy / is_image.sum(dim=1).clamp(min=2).log()  # of two, so that a single token has entropy 0 and not 0/0


SIGNALS = {function.__name__: function for function in (instruction_share, image_entropy)}


def holding(scores: Tensor, among: Tensor, share: float) -> Tensor:
    """Return for scores [B, T] the fewest of the tokens in `among` [B, T] whose scores sum to at least a share of all of theirs [B]."""
    # in fp64: the sums of a long row in fp32 would depend on how much padding it has
    amounts = scores.double().clamp(min=0).masked_fill(~among, 0.0).sort(dim=1, descending=True).values.cumsum(dim=1)
    # places before the one where the sum reaches the share, and that one
    return (amounts < share * amounts[:, -1:]).sum(dim=1) + 1
