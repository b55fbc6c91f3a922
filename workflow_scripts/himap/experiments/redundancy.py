"""What is left of dropped image tokens in those that stay, and how few tokens the answer's loss depends on.

    seen = look_at(model, prompt, {"input": 0, "layer 6": 6})  # features of every image token, place by place
    ridge = fit(told_by(kept features ...), features of the dropped ones)

* *Regression*: a dropped token's features from its nearest kept ones and the mean of all kept ones, by ridge regression.
  What is explained of a token's features can be read from the others, so the encoder has said it more than once.
* *Probe*: what a cell of the embedded world's picture shows, as further columns of the same regression.
* *Concentration*: |x · dL/dx| of every image token, where L is the loss of the model's own next token.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from himap.decoder.cache import Cache
from himap.decoder.generation import next_token_logits
from himap.decoder.loop import Intervention, forward
from himap.decoder.tokens import IMAGE

if TYPE_CHECKING:
    from himap.decoder.attention import LayerAttention
    from himap.decoder.layout import Layout
    from himap.decoder.tokens import Rows
    from himap.models.model import Model

TOWER = "tower"  # the place before the projector, where the model has a view of its tower
TINY = 1e-12  # on the diagonal, so that inputs that never vary have weights of zero and no error
Features = dict[str, Tensor]  # by place: of one picture's tokens [n, width]


# ---- features and gradients


class _Trace(Intervention):
    """Keeps the hidden states that enter some layers, and their gradients where they have one."""

    def __init__(self, layers: Mapping[str, int]):
        self.layers = layers
        self.seen: dict[str, Tensor] = {}

    def choose(self, layer: int, rows: Rows, below: LayerAttention | None) -> Tensor | None:
        for place, where in self.layers.items():
            if where == layer:
                self.seen[place] = rows.hidden
                # they are no leaves of the graph, whose gradients are thrown away by default
                if rows.hidden.requires_grad:
                    rows.hidden.retain_grad()
        return None


@torch.no_grad()
def look_at(model: Model, prompt: Rows, layers: Mapping[str, int]) -> list[Features]:
    """Return each sample's features of its image tokens: at the tower's output, and where they enter some layers."""
    trace = _Trace(layers)
    forward(model, prompt, Cache(), [trace], stop=max(layers.values()) + 1)
    samples = [_of_images(prompt, trace.seen, b) for b in range(len(prompt.groups))]
    if model.view_tower is None or prompt.pictures is None:
        return samples
    towers = [prompt.pictures.tower(b).hidden.flatten(0, 1).float().cpu() for b in range(len(samples))]
    return [{TOWER: tower, **features} for tower, features in zip(towers, samples, strict=True)]


def influence(model: Model, prompt: Rows, layers: Mapping[str, int]) -> list[Features]:
    """Return for each sample |x · dL/dx| [n] of its image tokens: at the tower's output, and where they enter some layers."""
    is_image, trace = prompt.groups == IMAGE, _Trace(layers)
    towers = [] if model.view_tower is None or prompt.pictures is None else _towers(prompt)
    with torch.enable_grad():
        if towers:
            hidden = prompt.hidden.detach().clone()
            # The projector runs again inside of the graph, so that the gradient reaches the tower's states.
            hidden[is_image] = torch.cat([tower.project(states).flatten(0, 1) for tower, states in towers]).to(hidden)
        else:
            hidden = prompt.hidden.detach().requires_grad_()
        logits = next_token_logits(model, forward(model, prompt.with_hidden(hidden), Cache(), [trace]))
        # a sum: a mean would make a sample's gradient depend on how many others are in its batch
        torch.nn.functional.cross_entropy(logits, logits.argmax(dim=-1), reduction="sum").backward()
    products = {place: (states * _gradient(states)).sum(dim=-1).abs() for place, states in trace.seen.items()}
    samples = [_of_images(prompt, products, b) for b in range(len(prompt.groups))]
    for features, (_, states) in zip(samples, towers, strict=False):
        features[TOWER] = (states * _gradient(states)).sum(dim=-1).abs().flatten().float().detach().cpu()
    return samples


def _towers(prompt: Rows) -> list[tuple[Any, Tensor]]:
    """Return how the tower sees each sample's pictures, with its output as states whose gradient is asked for."""
    assert prompt.pictures is not None
    towers = [prompt.pictures.tower(b) for b in range(len(prompt.groups))]
    return [(tower, tower.hidden.detach().requires_grad_()) for tower in towers]


def _gradient(states: Tensor) -> Tensor:
    assert states.grad is not None
    return states.grad


def _of_images(prompt: Rows, seen: Mapping[str, Tensor], b: int) -> Features:
    """Return what belongs to the image tokens of one sample, on the processor: answers, places and random draws are there."""
    is_image = prompt.groups[b] == IMAGE
    return {place: values[b, is_image].detach().float().cpu() for place, values in seen.items()}


# ---- regression


@dataclass(frozen=True)
class Ridge:
    """A linear map with an intercept, fitted with a penalty on its weights."""

    weights: Tensor  # [inputs, outputs]
    inputs_mean: Tensor
    outputs_mean: Tensor

    def __call__(self, inputs: Tensor) -> Tensor:
        """Return the outputs [n, outputs] that inputs [n, inputs] lead to."""
        return (inputs - self.inputs_mean) @ self.weights + self.outputs_mean


def fit(inputs: Tensor, outputs: Tensor, penalty: float) -> Ridge:
    """Return the map that minimizes the squared error plus the penalty times the inputs' mean variance times the squared weights."""
    inputs_mean, outputs_mean = inputs.mean(dim=0), outputs.mean(dim=0)
    centered = inputs - inputs_mean
    gram = centered.T @ centered
    # in units of the inputs, so that one penalty serves the large states of late layers and the small ones of early layers
    gram.diagonal().add_(penalty * float(gram.diagonal().mean()) + TINY)
    # in fp64: neighbors have nearly the same features, and fp32 solves a nearly singular matrix badly
    weights = torch.linalg.solve(gram.double(), (centered.T @ (outputs - outputs_mean)).double())
    return Ridge(weights.to(inputs), inputs_mean, outputs_mean)


def told_by(features: Tensor, near: Tensor, kept: Tensor) -> Tensor:
    """Return what kept tokens say of dropped ones: features [n, d] of the nearest [m, k] and the mean of all kept [n]."""
    nearest = features[near].flatten(1)  # [m, k * d]
    return torch.cat([nearest, features[kept].mean(dim=0).expand(len(near), -1)], dim=1)


def nearest(places: Tensor, wanted: Tensor, kept: Tensor, count: int) -> Tensor:
    """Return for each of some places [m, 2] the `count` nearest kept tokens [m, count], the nearest again where fewer are kept.

    `places` [n, 2] are those of the tokens among which `kept` [n] says which are there.
    """
    candidates = kept.nonzero()[:, 0]
    order = torch.cdist(wanted, places[candidates]).argsort(dim=1, stable=True)[:, :count]
    missing = max(0, count - order.shape[1])
    return candidates[torch.cat([order, order[:, :1].expand(-1, missing)], dim=1)]


def places_of(layouts: Iterable[Layout]) -> Tensor:
    """Return where each image token lies [n, 2]: row and column as shares of its picture; pictures lie far from each other."""
    places: list[tuple[float, float]] = []
    for number, layout in enumerate(layouts):
        for part in layout.parts:
            left, top, right, bottom = part.box
            for cell in part.cells():
                row, column = (0.0, 0.0) if cell is None else cell
                down, across = (row + 0.5) / part.rows, (column + 0.5) / max(1, part.columns)
                # 9: farther than any two places of one picture, whose sides are 1
                places.append((top + down * (bottom - top) + 9.0 * number, left + across * (right - left)))
    return torch.tensor(places)


class Narrowing:
    """Features by their first principal components at each place, where they are wider than so many; of the first pictures seen."""

    def __init__(self, first: Sequence[Features], components: int):
        self.bases: dict[str, tuple[Tensor, Tensor]] = {}
        for place in first[0]:
            states = torch.cat([features[place] for features in first])
            if states.shape[1] > components:
                mean = states.mean(dim=0)
                # [width, components]
                _, _, basis = torch.pca_lowrank(states - mean, q=components, center=False)
                self.bases[place] = (mean, basis)

    def __call__(self, features: Features) -> Features:
        """Return the features of one picture, narrowed."""
        return {
            place: (states - self.bases[place][0]) @ self.bases[place][1] if place in self.bases else states
            for place, states in features.items()
        }


# ---- concentration


def effective_number(values: Tensor) -> float:
    """Return how many equal parts are as even as some parts [n] of a whole: exp of their entropy."""
    parts = values.double() / values.double().sum()
    return float(torch.special.entr(parts).sum().exp())


def top_share(values: Tensor, share: float = 0.1) -> float:
    """Return what share of a whole the largest tenth of its parts [n] hold."""
    count = max(1, round(share * len(values)))
    return float(values.topk(count).values.sum() / values.sum())
