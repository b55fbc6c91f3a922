"""Swapped rows, late pictures and early ones: each equals what hooks on transformers' own decoder give, and the controls do nothing."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from himap.decoder.cache import Cache
from himap.decoder.generation import next_token_logits
from himap.decoder.loop import forward
from himap.decoder.tokens import IMAGE, INSTRUCTION, Rows
from himap.experiments.cut_runs import run_undisturbed
from himap.experiments.patching import Departure, Patch, arrive_late, leave_early, resume, text_alone
from himap.models.model import Model
from tiny import SHAPES, prompt
from torch import Tensor

LAYERS = range(6)
GROUPS = pytest.mark.parametrize("group", [INSTRUCTION, IMAGE], ids=["instruction", "image"])


def other_picture(rows: Rows) -> Rows:
    """The same question about another picture."""
    drawn = torch.randn(rows.hidden.shape, generator=torch.Generator().manual_seed(9)) * rows.hidden.std()
    return rows.with_hidden(torch.where((rows.groups == IMAGE)[..., None], drawn, rows.hidden))


@torch.no_grad()
def native(
    model: Model, hidden: Tensor, positions: Tensor, change: Callable[[int, Tensor], Tensor] = lambda _, states: states
) -> tuple[Tensor, list[Tensor]]:
    """Logits of the next token by transformers' own decoder, and what enters each layer after `change`, a hook before it."""
    decoder = model.module.model.language_model
    entering: list[Tensor] = []

    def hook_of(layer: int) -> Callable[..., object]:
        def hook(_: object, given: tuple[Tensor, ...], named: dict[str, Tensor]) -> object:
            states = change(layer, given[0])
            entering.append(states)
            return (states, *given[1:]), named

        return hook

    hooks = [layer.register_forward_pre_hook(hook_of(n), with_kwargs=True) for n, layer in enumerate(decoder.layers)]
    try:
        # without a mask, transformers takes a gap in the positions for the border between two packed sequences
        seen = torch.ones_like(positions)
        states = decoder(inputs_embeds=hidden, attention_mask=seen, position_ids=positions, use_cache=False)[0]
    finally:
        for hook in hooks:
            hook.remove()
    return model.module.lm_head(states[:, -1])[0], entering


@GROUPS
@pytest.mark.parametrize("layer", [0, 2, 5])
def test_a_swap_is_what_hooks_on_the_native_decoder_give(model: Model, layer: int, group: int) -> None:
    rows = prompt(model, SHAPES[0])
    donor = other_picture(rows)
    places = (rows.groups == group)[..., None]
    _, taken = native(model, donor.hidden, rows.positions)
    expected, _ = native(
        model,
        rows.hidden,
        rows.positions,
        lambda n, states: torch.where(places, taken[n], states) if n == layer else states,
    )
    clean, other = (run_undisturbed(model, run, 3) for run in (rows, donor))
    found = resume(model, clean, Patch(layer, other.entering[layer], group), 3)
    torch.testing.assert_close(found.logits, expected, rtol=1e-4, atol=1e-5)
    with torch.no_grad():  # the whole prompt through the one loop, instead of what the change can reach
        whole = forward(model, rows, Cache(), [Patch(layer, other.entering[layer], group)])
    torch.testing.assert_close(found.logits, next_token_logits(model, whole)[0], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("layer", LAYERS)
def test_a_late_picture_is_two_plain_runs_joined_and_an_early_one_a_run_that_goes_on_without_it(
    model: Model, layer: int
) -> None:
    rows = prompt(model, SHAPES[0])
    clean = run_undisturbed(model, rows, 3)
    text = text_alone(model, rows, 3)
    is_text = rows.groups[0] != IMAGE
    _, blind = native(model, rows.hidden[:, is_text], rows.positions[:, is_text])  # a plain run of the text alone
    _, seeing = native(model, rows.hidden, rows.positions)
    places = (rows.groups == INSTRUCTION)[..., None]

    def late(n: int, states: Tensor) -> Tensor:
        joined = seeing[n].clone()
        joined[:, is_text] = blind[n]
        return torch.where(places, joined, states) if n == layer else states

    expected, _ = native(model, rows.hidden, rows.positions, late)
    torch.testing.assert_close(arrive_late(model, clean, text, layer, 3).logits, expected, rtol=1e-4, atol=1e-5)
    with torch.no_grad():
        left = forward(model, rows.with_hidden(seeing[layer]).select(is_text[None]), Cache(), start=layer)
    early = leave_early(model, clean, layer, 3)
    torch.testing.assert_close(early.logits, next_token_logits(model, left)[0], rtol=1e-4, atol=1e-5)
    if layer == 0:  # a picture that leaves at once was never there; one that arrives at once is not late
        torch.testing.assert_close(early.logits, text.logits[0], rtol=1e-4, atol=1e-5)
        assert arrive_late(model, clean, text, 0, 3).ids == clean.ids


@GROUPS
def test_rows_of_the_same_run_and_a_donor_with_the_same_picture_change_nothing(model: Model, group: int) -> None:
    rows = prompt(model, SHAPES[1])
    clean = run_undisturbed(model, rows, 3)
    for layer in LAYERS:
        found = resume(model, clean, Patch(layer, clean.entering[layer], group), 3)
        assert found.ids == clean.ids
        torch.testing.assert_close(found.logits, clean.logits[0], rtol=1e-4, atol=1e-5)


def test_decoding_after_a_change_goes_on_from_the_changed_rows(plain_model: Model) -> None:
    from himap.decoder.generation import generate

    rows = prompt(plain_model, SHAPES[0])
    donor = run_undisturbed(plain_model, other_picture(rows), 4)
    clean = run_undisturbed(plain_model, rows, 4)
    for change in (Patch(2, donor.entering[2], INSTRUCTION), Departure(3)):
        assert resume(plain_model, clean, change, 4).ids == generate(plain_model, rows, 4, [Once(change)]).ids[0]


class Once(Departure):
    """A change at the prefill alone: generated tokens are rows of their own."""

    def __init__(self, change: Patch | Departure) -> None:
        self.change = change

    def enter(self, layer: int, rows: Rows, below: object) -> Rows:
        return rows if rows.hidden.shape[1] == 1 else self.change.enter(layer, rows, None)


def test_prompts_of_different_length_are_refused_by_name(plain_model: Model) -> None:
    clean, donor = (run_undisturbed(plain_model, prompt(plain_model, SHAPES[n]), 1) for n in (0, 2))
    with pytest.raises(ValueError, match="layer 1: 7 rows cannot take the hidden states of 4"):
        resume(plain_model, clean, Patch(1, donor.entering[1], INSTRUCTION), 1)
