"""Criteria: functions that give every image token a score; tokens with the highest scores stay.

A new criterion is a new file here with a function decorated by `@criterion(...)`; it is then known by its name in
every config. docs/templates/criterion.py is one to copy. Scores of tokens that are no image tokens are ignored. Modules
import torch inside the function if they need it, so that names can be checked without torch.

A criterion that chooses a set instead of a ranking reads `View.counts` and gives the chosen tokens one score and the
others a lower one. One that merges what it drops (`merges=True`) returns the rows that go on. One whose scores are amounts
of something (`amounts=True`), zero or more, lets a stage keep a share of their sum. A prompt's pictures are one set of
tokens: a score compares them across pictures, and a set is chosen from all of them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any

from himap.registry import import_all, unknown

if TYPE_CHECKING:
    from torch import Tensor

    from himap.decoder.attention import LayerAttention
    from himap.decoder.tokens import Rows
    from himap.models.tower import Pictures, Tower


@dataclass
class View:
    """What a criterion may look at when image tokens are dropped before `layer`; B samples, T tokens that are left.

    Where text looks at image tokens by cross-attention, these come first and the rows of text after them.
    """

    layer: int
    rows: Rows  # the tokens that are left, with their hidden states entering `layer`
    attention: LayerAttention | None  # of layer `layer` - 1, or the cross-attention below it; None if there is none
    is_image: Tensor  # [B, T]
    is_instruction: Tensor  # [B, T]
    seeds: list[int]  # one per sample
    grid: tuple[int, int]  # rows and columns of one image's tokens
    image_tokens: list[int]  # per sample, at the start
    counts: list[int]  # per sample, how many are to stay
    prompt: Rows  # all tokens as they were embedded; its image tokens are the projected features
    loss_gradient: Callable[[], Tensor]  # gradient [B, T, D] of the model's own next-token loss at the hidden states
    own_attention: Callable[[], LayerAttention]  # of `layer` itself, which has not run yet
    final_norm: Callable[[Tensor], Tensor]  # the model's norm after its last layer

    @property
    def below(self) -> LayerAttention:
        """Return the attention of the layer below. Raise ValueError before the first layer."""
        if self.attention is None:
            raise ValueError(
                f"a stage at layer {self.layer} has no layer below it whose attention to image tokens could be looked at; "
                "put it at a higher layer, or choose a criterion without attention"
            )
        return self.attention

    @property
    def pictures(self) -> Pictures:
        """Return the prompts' pictures. Raise ValueError if the prompt was embedded without them."""
        if self.prompt.pictures is None:
            raise ValueError(
                "the prompt was embedded without its pictures; embed questions with `himap.experiments.answers.encode`"
            )
        return self.prompt.pictures

    def samples(self) -> Iterator[tuple[int, Tensor, Tensor]]:
        """Yield per sample its number, the columns of its image tokens, and which of the original ones they are."""
        # one by one and not as a padded batch: a choice in many steps must not depend on how a batch rounds its products
        for b, is_image in enumerate(self.is_image):
            columns = is_image.nonzero()[:, 0]  # [n]
            yield b, columns, self.rows.image_index[b, columns]

    def chosen(self, columns: list[Tensor]) -> Tensor:
        """Return scores [B, T] that are 1 at the columns chosen for each sample, and 0 elsewhere."""
        import torch

        scores = torch.zeros(self.is_image.shape, device=self.is_image.device)
        for b, places in enumerate(columns):
            scores[b, places] = 1.0
        return scores

    def tower(self, sample: int) -> Tower:
        """Return how the vision tower sees a sample's pictures."""
        return self.pictures.tower(sample)


@dataclass(frozen=True)
class Criterion:
    """A scoring function, and what it needs: attention and the tower's view cost time, and not every model has them."""

    name: str
    score: Callable[[View], Any]  # scores [B, T]; or for one that merges: the rows that go on
    needs_attention: bool  # of the layer below
    needs_tower: bool
    needs_text: bool  # of CLIP's text tower, which compares the pictures with the question
    merges: bool
    in_sequence: bool  # asks what image tokens attend to, or compares them with text
    at_input: bool  # makes tokens for the decoder's input, so that its stage is at layer 0
    amounts: bool  # scores are zero or more and add up, so that some tokens hold a share of them
    about: str


_KNOWN: dict[str, Criterion] = {}


def criterion(
    *,
    needs_attention: bool,
    needs_tower: bool = False,
    needs_text: bool = False,
    merges: bool = False,
    in_sequence: bool = False,
    at_input: bool = False,
    amounts: bool = False,
) -> Callable[[Callable[[View], Any]], Callable[[View], Any]]:
    """Register a function of a View under its name, with its docstring as explanation.

    It returns scores [B, T]; with `merges`, the rows that go on instead, in which merged tokens count as image tokens.
    """

    def register(function: Callable[[View], Any]) -> Callable[[View], Any]:
        _KNOWN[function.__name__] = Criterion(
            name=function.__name__,
            score=function,
            needs_attention=needs_attention,
            needs_tower=needs_tower,
            needs_text=needs_text,
            merges=merges,
            in_sequence=in_sequence,
            at_input=at_input,
            amounts=amounts,
            about=(function.__doc__ or "").strip(),
        )
        return function

    return register


def names() -> list[str]:
    """Return the names of all known criteria."""
    _import_files()
    return sorted(_KNOWN)


@cache  # checking a config asks for criteria a thousand times, and each look into the folder takes milliseconds
def _import_files() -> None:
    """Import this folder's files, which register their criteria."""
    import_all(__name__)


def get(name: str) -> Criterion:
    """Return a criterion by name; raise ValueError with the nearest name for an unknown one."""
    # `names` first: it imports the files that fill _KNOWN
    if name not in names():
        raise unknown("criterion", name, _KNOWN)
    return _KNOWN[name]
