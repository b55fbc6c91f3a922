"""A schedule's stages as an intervention on the decoder loop.

Before the layer of a stage runs, `Pruning` scores the image tokens that are left and drops all but the highest; tokens
of text always stay. The loop computes the attention of the layer below only where a criterion or a signal asks for it.
Samples of one batch may act at different layers and keep different numbers of tokens (`himap.pruning.adaptive`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from copy import copy
from dataclasses import replace
from typing import TYPE_CHECKING

import torch
from torch import Tensor
from torch.nn.functional import pad

from himap.costs.formulas import keep_count
from himap.decoder.attention import LayerAttention
from himap.decoder.cache import Cache
from himap.decoder.cross import CrossAttention, CrossLayer
from himap.decoder.generation import next_token_logits
from himap.decoder.loop import Intervention, forward, project
from himap.decoder.tokens import IMAGE, INSTRUCTION, Rows
from himap.pruning.adaptive import SIGNALS, holding
from himap.pruning.checks import looks_too_low
from himap.pruning.criteria import View, get
from himap.pruning.stage import Stage, as_acted

if TYPE_CHECKING:
    from himap.models.model import Model


NOWHERE = -1  # where a stage acted that has not acted yet


class Pruning(Intervention):
    """Drops image tokens before the layers of its stages; remembers which were kept at the first prefill.

    With `renumber`, positions are counted again after each stage, as if the dropped tokens had never been there.
    """

    def __init__(
        self, model: Model, stages: Sequence[Stage], prompt: Rows, seeds: Sequence[int], *, renumber: bool = False
    ):
        self.model = model
        self.stages = tuple(stages)
        self.at = layers_of(stages)
        self.criteria = {stage.layer: get(stage.criterion) for stage in stages}
        check_criteria(model, stages)
        if not renumber and (merging := [criterion.name for criterion in self.criteria.values() if criterion.merges]):
            raise ValueError(f"{merging[0]!r} merges tokens, which have no position to keep; prune with renumber=True")
        self.prompt = prompt
        self.seeds = list(seeds)
        # counted here, since shares are of the original tokens and later rows no longer have them all
        self.image_tokens: list[int] = (prompt.joined().groups == IMAGE).sum(dim=1).tolist()
        # both by the layer at which a stage may act first
        self.kept: dict[int, list[list[int]]] = {}  # per sample, indices of its image tokens
        self.acted: dict[int, list[int]] = {}  # per sample, the layer at which the stage acted
        self.renumber = renumber
        self.shifts: dict[int, Tensor] = {}  # by layer: how far each sample's later positions move down [B]
        # of the stage whose layer is being looked for: the signal's peak so far, and who waits for the stage [B]
        self.peak, self.waiting = torch.zeros(0), torch.zeros(0, dtype=torch.bool)

    def of(self, samples: Sequence[int]) -> Pruning:
        """Return the pruning of only some of the batch's samples; what was kept stays noted for the whole batch.

        To later rows of theirs, which have no image token, it does what the prefill did to their positions.
        """
        part = copy(self)
        part.prompt = self.prompt.of(samples)
        part.shifts = {layer: shift[list(samples)] for layer, shift in self.shifts.items()}
        part.seeds, part.image_tokens = ([values[b] for b in samples] for values in (self.seeds, self.image_tokens))
        return part

    def wants_attention(self, layer: int) -> bool:
        """Return whether a stage scores tokens, or looks for its layer, by the attention below this layer."""
        return looks_below(self.at.get(layer))

    def enter(self, layer: int, rows: Rows, below: LayerAttention | None) -> Rows:
        """Return the rows that go on: text, the image tokens with the highest scores, and what the others are merged into."""
        stage = self.at.get(layer)
        if stage is None:
            return rows
        everything = rows.joined()
        is_image = everything.groups == IMAGE  # [B, T]
        if rows.hidden.shape[1] == 1 or not bool(is_image.any()):  # a step of decoding has no image token to drop
            return shifted(rows, self.shifts.get(layer))
        view = self._view(stage, layer, rows, below, is_image)
        due = self._due(stage, layer, view, below)  # [B]
        # Nobody is due yet. A fixed stage goes on, since it acts for all samples or for none.
        if stage.after is not None and not bool(due.any()):
            return rows
        left = self._left(stage, rows, view, due)
        self._note(stage, layer, left, due.tolist())
        if self.renumber:
            # Batches are padded on the left, so the last column tells by how much every later token moves down.
            before, left = left.positions[:, -1], left.renumbered()
            self.shifts[layer] = before - left.positions[:, -1]
        return left

    def scores(self, layer: int, rows: Rows, below: LayerAttention | None) -> Tensor:
        """Return what the stage at this layer makes of the image tokens: scores [B, T]."""
        stage = self.at[layer]
        scores: Tensor = self.criteria[stage.layer].score(
            self._view(stage, layer, rows, below, rows.joined().groups == IMAGE)
        )
        return scores

    def as_acted(self, b: int) -> tuple[Stage, ...]:
        """Return the stages as they acted on a sample at the first prefill."""
        counts = [len(self.kept[stage.layer][b]) for stage in self.stages]
        return as_acted(self.stages, counts, [self.acted[stage.layer][b] for stage in self.stages])

    def _due(self, stage: Stage, layer: int, view: View, below: LayerAttention | None) -> Tensor:
        """Return for which samples [B] the stage acts at this layer."""
        everyone = view.is_image.new_ones(len(view.is_image))
        if stage.after is None:
            return everyone
        if self.at.get(layer - 1) != stage:  # first layer of this stage: forget the previous pass
            self.peak, self.waiting = torch.zeros_like(everyone, dtype=torch.double), everyone
        # every sample was dropped at an earlier layer
        if not bool(self.waiting.any()):
            return self.waiting
        if below is None:  # layers before the first cross-attention give no signal
            return ~everyone
        value = SIGNALS[stage.after.signal](below, view.is_image, view.is_instruction)  # [B]
        self.peak = torch.maximum(self.peak, value)  # from the first layer looked at, also below `from`
        if layer < stage.layer:
            return ~everyone
        has_sunk = (value < stage.after.below * self.peak) | (layer == stage.latest)
        due, self.waiting = self.waiting & has_sunk, self.waiting & ~has_sunk
        return due

    def _left(self, stage: Stage, rows: Rows, view: View, due: Tensor) -> Rows:
        """Return the rows that are left of the samples that are due [B], and all rows of the others."""
        criterion, concerned = self.criteria[stage.layer], view.is_image & due[:, None]
        if stage.keep == 0:
            return _without(rows, concerned)
        scores = criterion.score(view)  # [B, T]
        # the criterion has made the rows itself
        if criterion.merges:  # at the same layer for every sample
            return scores
        counts = torch.tensor(view.counts, device=scores.device)  # [B]
        if stage.mass is not None:
            floors = [keep_count(stage.mass.floor, total) for total in self.image_tokens]
            fewest = holding(scores, view.is_image, stage.mass.share)
            counts = fewest.clamp(min=torch.tensor(floors, device=scores.device)).minimum(counts)
        return _without(rows, concerned & ~highest(scores, view.is_image, counts))

    def _note(self, stage: Stage, layer: int, left: Rows, due: list[bool]) -> None:
        """Remember what is left of the samples that are due, and where."""
        kept = self.kept.setdefault(stage.layer, [[] for _ in due])
        acted = self.acted.setdefault(stage.layer, [NOWHERE] * len(due))
        # `kept` is noted for the whole batch, so a smaller one has been cut out of it by `of`
        if len(kept) != len(due):  # only some of the samples, in a later pass
            return
        for b, index in enumerate(left.joined().image_index):
            # with `rerank`, later passes choose again; what is reported is the prompt's choice
            if due[b] and acted[b] == NOWHERE:
                kept[b], acted[b] = index[index >= 0].tolist(), layer

    def _view(self, stage: Stage, layer: int, rows: Rows, below: LayerAttention | None, is_image: Tensor) -> View:
        """Return what a criterion may look at."""
        everything = rows.joined()
        return View(
            layer=layer,
            rows=everything,
            attention=below,
            is_image=is_image,
            is_instruction=everything.groups == INSTRUCTION,
            seeds=self.seeds,
            grid=self.model.dims.grid,
            image_tokens=self.image_tokens,
            counts=[keep_count(stage.keep, total) for total in self.image_tokens],
            prompt=self.prompt,
            loss_gradient=self._loss_gradient(layer, rows),
            own_attention=lambda: self._own_attention(layer, rows),
            final_norm=self.model.norm,
        )

    def _own_attention(self, layer: int, rows: Rows) -> LayerAttention:
        """Return the attention of the layer that is about to run, from the hidden states that enter it."""
        module = self.model.layers[layer]
        if isinstance(module, CrossLayer):
            assert rows.memory is not None
            queries, (keys, _) = module.queries(module.input_layernorm(rows.hidden)), module.look_at(rows.memory.hidden)
            return CrossAttention(queries, keys, module.scaling, rows, layer=module)
        if rows.memory is not None:
            raise ValueError(
                f"layer {layer} of this model looks at no image token, and the stage scores them by the attention of that layer; "
                f"put it at one of the layers {', '.join(map(str, self.model.dims.cross))}, or choose another criterion"
            )
        # as the loop will compute them; one layer's projections are made twice
        queries, keys, _ = project(module, module.input_layernorm(rows.hidden), self.model.angles(rows, layer))
        return LayerAttention(queries, keys, module.self_attn.scaling, rows, window=self.model.window(layer))

    def _loss_gradient(self, layer: int, rows: Rows) -> Callable[[], Tensor]:
        """Return the gradient criterion's backward pass, from the model's own next token to the states entering `layer`.

        It is a function, so that only the criterion that calls it pays for it.
        """

        def gradient() -> Tensor:
            asked = rows if rows.memory is None else rows.memory  # whose hidden states are asked for
            with torch.enable_grad():
                hidden = asked.hidden.detach().requires_grad_()  # [B, T, D]
                traced = rows.with_hidden(hidden) if asked is rows else replace(rows, memory=asked.with_hidden(hidden))
                out = forward(self.model, traced, Cache(), start=layer)
                logits = next_token_logits(self.model, out)  # [B, vocabulary]
                # a sum: a mean would make a sample's gradient depend on how many others are in its batch
                loss = torch.nn.functional.cross_entropy(logits, logits.argmax(dim=-1), reduction="sum")
                loss.backward(inputs=[hidden])  # not autograd.grad, which an operation counter around it cannot follow
            assert hidden.grad is not None
            if asked is rows:
                return hidden.grad
            everything = rows.joined().hidden
            return pad(
                hidden.grad, (0, everything.shape[2] - hidden.shape[2], 0, everything.shape[1] - hidden.shape[1])
            )

        return gradient


def _without(rows: Rows, dropped: Tensor) -> Rows:
    """Return rows without the image tokens where `dropped` is true, among the rows or in their memory."""
    if rows.memory is None:
        return rows.select(~dropped)
    return replace(rows, memory=rows.memory.select(~dropped[:, : rows.memory.positions.shape[1]]))


def check_criteria(model: Model, stages: Iterable[Stage]) -> None:
    """Raise ValueError for a stage that cannot score image tokens beside the sequence, where the model has them."""
    for stage in stages if model.dims.cross else ():
        criterion = get(stage.criterion)
        if criterion.in_sequence or criterion.merges:
            raise ValueError(
                f"{criterion.name!r} looks at what image tokens attend to, or compares them with text, for which they must be "
                f"tokens of the sequence; in {model.name} text looks at them by cross-attention and they attend to nothing: "
                "choose a criterion by the attention of the text, such as 'instruction_attention'"
            )
        if problem := looks_too_low(stage, model.dims, model.name):
            raise ValueError(problem)


def layers_of(stages: Sequence[Stage]) -> dict[int, Stage]:
    """Return the stage of each layer before which one acts, or looks for its layer.

    A stage that looks for its layer begins where the stage before it is done with every sample: a drop of that stage
    would move the signal.
    """
    at: dict[int, Stage] = {}
    for stage in stages:
        first = stage.layer if stage.after is None else max(at, default=0) + 1
        at |= dict.fromkeys(range(first, stage.latest + 1), stage)
    return at


def looks_below(stage: Stage | None) -> bool:
    """Return whether a stage looks at the attention of the layer below."""
    if stage is None:
        return False
    return stage.after is not None or (stage.keep != 0 and get(stage.criterion).needs_attention)


def shifted(rows: Rows, shift: Tensor | None) -> Rows:
    """Return rows without padding at positions that are lower by `shift` [B]; the same rows without one."""
    return rows if shift is None else replace(rows, positions=rows.positions - shift[:, None])


def highest(scores: Tensor, among: Tensor, counts: Tensor) -> Tensor:
    """Return a mask [B, T] of each sample's `counts` [B] highest scores in `among` [B, T]; the earlier token wins a tie."""
    # stable, so that ties fall alike on every device and in every batch; topk promises no order among equals
    order = scores.masked_fill(~among, float("-inf")).argsort(dim=1, descending=True, stable=True)  # [B, T]
    places = torch.arange(order.shape[1], device=order.device).expand_as(order)
    rank = torch.empty_like(order).scatter_(1, order, places)  # the inverse permutation: each token's place
    return among & (rank < counts[:, None])
