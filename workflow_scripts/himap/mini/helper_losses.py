"""Losses that help the mini model to learn beside its answers: what every patch shows, and which words tokens stand for."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F
from transformers import PreTrainedTokenizerFast

from himap.mini.batches import COLOR_CLASSES, GLYPH_CLASSES, BatchMaker, cell_words, color_words, place_words
from himap.mini.glyphs import COLOR_NAMES
from himap.mini.scenes import SIDE


class Heads(torch.nn.Module):
    """Read glyph, color, row and column off a patch, each by a linear layer: the helper loss of the tower."""

    def __init__(self, width: int):
        super().__init__()
        self.glyph = torch.nn.Linear(width, GLYPH_CLASSES)
        self.color = torch.nn.Linear(width, COLOR_CLASSES)
        self.row = torch.nn.Linear(width, SIDE)
        self.column = torch.nn.Linear(width, SIDE)

    def losses(self, features: Tensor, glyphs: Tensor, colors: Tensor) -> tuple[Tensor, Tensor]:
        """Return the summed cross-entropies, and the share of non-empty patches whose glyph and color are both right."""
        # Patches are in reading order, so a patch's row and column follow from its index alone: [B, 144].
        rows = torch.arange(SIDE * SIDE, device=features.device).div(SIDE, rounding_mode="floor").expand_as(glyphs)
        columns = (torch.arange(SIDE * SIDE, device=features.device) % SIDE).expand_as(glyphs)
        glyph, color = self.glyph(features), self.color(features)
        loss = F.cross_entropy(glyph.flatten(0, 1), glyphs.flatten()) + F.cross_entropy(
            color.flatten(0, 1), colors.flatten()
        )
        # What a patch shows counts more than where it is.
        for head, target in ((self.row, rows), (self.column, columns)):
            loss = loss + 0.3 * F.cross_entropy(head(features).flatten(0, 1), target.flatten())
        right = (glyph.argmax(-1) == glyphs) & (color.argmax(-1) == colors)
        # Glyph 0 is the empty cell: most cells are, so counting them would make any tower look good.
        return loss, right[glyphs > 0].float().mean()


class Words:
    """The helper loss of projector and decoder: image tokens and some places of an answer name words through the head.

    An image token, through final norm and head, names its color, its glyph, its row and its column. In the decoder the
    steps of an answer get a place each: after half of the layers an object that a question names says in which row and
    column it is, and other words say what is true of them (a shape its color or number, a bar its value, a name what the
    context says of it); after two thirds the question mark says the answer; and two layers before the end the last token
    of an option names the option's letter and says whether the option is right.
    """

    def __init__(self, batches: BatchMaker, tokenizer: PreTrainedTokenizerFast, device: torch.device):
        # What `loss` adds to logits: 0 at the words a helper loss chooses from, -inf at others.
        self.allowed = {name: torch.from_numpy(mask).to(device) for name, mask in batches.allowed().items()}
        self.glyphs = torch.from_numpy(cell_words(tokenizer)).to(device)
        self.colors = torch.from_numpy(color_words(tokenizer)).to(device)
        places = torch.from_numpy(place_words(tokenizer)).to(device)
        self.places = {"rows": places[0], "columns": places[1]}

    def loss(self, network: Any, data: dict[str, Tensor], image: Tensor, states: Sequence[Tensor], step: int) -> Tensor:
        """Return the weighted sum of cross-entropies of the words that image tokens and states after layers name."""
        # Cells that have a word for what they show, neither empty nor gray clutter: [B, 144].
        cells = (data["glyphs"] > 0) & (data["colors"] < len(COLOR_NAMES))
        generator = torch.Generator().manual_seed(step)  # not the global one: a resumed run draws the same
        # A random 60 % of them: every one costs a row of logits over the vocabulary.
        cells &= (torch.rand(cells.shape, generator=generator) < 0.6).to(image.device)
        words = network.logits(image[cells])  # [chosen cells, vocabulary], as if image tokens were the last layer's
        loss = F.cross_entropy(words, self.colors[data["colors"][cells]])
        # -100 where no single token names a glyph.
        loss = loss + F.cross_entropy(words, self.glyphs[data["glyphs"][cells]], ignore_index=-100)
        cell = cells.nonzero()[:, 1]  # index of each chosen cell within its picture
        for name, place in (("rows", cell // SIDE), ("columns", cell % SIDE)):
            loss = loss + 0.3 * F.cross_entropy(words + self.allowed[name], self.places[name][place])
        # states[i] is what layer i gives: of 12 layers, "half" is after 6, "late" after 8 and "last" after 10.
        layers = len(states)
        half, late, last = states[layers // 2 - 1], states[2 * layers // 3 - 1], states[-3]
        for state, name, weight in (
            (half, "clues", 1.0),
            (half, "rows", 0.5),
            (half, "columns", 0.5),
            (late, "finds", 1.0),
            (last, "letters", 0.2),
            (last, "verdicts", 1.0),
        ):
            # Only a batch's tokens that have this target, [B*R, T]; in the easy phase there are no options at all.
            here = data[name] >= 0
            if here.any():
                words = network.logits(state[here]) + self.allowed[name]
                loss = loss + weight * F.cross_entropy(words, data[name][here])
        return loss
