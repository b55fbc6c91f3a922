"""What pruning criteria may ask about a prompt's pictures before the decoder: the vision tower's view of them, and their padding."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import accumulate

import torch
from torch import Tensor


@dataclass
class Tower:
    """Pictures at the tower layer whose output the projector reads: N pictures of n tokens, H heads of width d, width C."""

    class_attention: Tensor  # [N, H, n] from the class token, of a softmax that includes the class token itself
    keys: Tensor  # [N, n, d] mean over the heads
    hidden: Tensor  # [N, n, C] the layer's output
    class_hidden: Tensor  # [N, C] the class token's
    project: Callable[[Tensor], Tensor]  # [..., C] -> decoder inputs [..., D]

    @property
    def tokens_per_picture(self) -> int:
        """Return how many tokens a picture has, n."""
        return self.hidden.shape[1]

    def of(self, pictures: slice | list[int]) -> Tower:
        """Return some of the pictures."""
        parts = (self.class_attention, self.keys, self.hidden, self.class_hidden)
        attention, keys, hidden, class_hidden = (part[pictures] for part in parts)
        return Tower(attention, keys, hidden, class_hidden, self.project)


class Pictures:
    """The pictures of a batch of prompts. Nothing is computed before a criterion asks for it, and then once."""

    def __init__(
        self,
        counts: Sequence[int],
        look: Callable[[], Tower] | None,
        padding: Callable[[], list[Tensor]],
        questions: Sequence[str] = (),
        compare: Callable[[Tensor, str], Tensor] | None = None,
    ) -> None:
        """Take how many pictures each prompt has, how the tower sees all of them, and each prompt's `padding` [tokens].

        `questions` are the prompts' words, and `compare` says how much tower states [N, n, C] are like a text.
        """
        self.counts = list(counts)
        self._look, self._padding = look, padding
        self.questions, self._compare = list(questions), compare

    @cached_property
    def _tower(self) -> Tower:
        if self._look is None:
            raise ValueError(
                "this model has no view of its vision tower (a class token and one token per patch are needed); "
                "choose a method that scores tokens in the decoder, or a LLaVA"
            )
        with torch.no_grad():
            return self._look()

    def of(self, samples: Sequence[int]) -> Pictures:
        """Return the pictures of only some of the prompts; what is computed for them is computed for all, once."""
        ends = list(accumulate(self.counts))
        # of their pictures among all pictures, prompt after prompt
        places = [place for b in samples for place in range(ends[b] - self.counts[b], ends[b])]
        return Pictures(
            [self.counts[b] for b in samples],
            # looked up later and in the whole batch's view, so that the tower still runs once
            lambda: self._tower.of(places),
            lambda: [self.padding[b] for b in samples],
            [self.questions[b] for b in samples] if self.questions else (),
            self._compare,
        )

    def look(self) -> None:
        """Compute how the tower sees the pictures, for those who count or time what comes after."""
        _ = self._tower

    def tower(self, sample: int) -> Tower:
        """Return how the tower sees the pictures of one prompt."""
        first = sum(self.counts[:sample])
        return self._tower.of(slice(first, first + self.counts[sample]))

    def likeness(self, sample: int) -> Tensor:
        """Return how much each image token [tokens] of one prompt is like its question. Raise ValueError without a text tower."""
        if self._compare is None or not self.questions:
            raise ValueError(
                "this model has no text tower that could compare its image tokens with the question; load it with "
                "`text_tower`, the CLIP of its vision tower, or choose `dpp`, which is CDPruner without the question"
            )
        return self._compare(self.tower(sample).hidden, self.questions[sample]).flatten()

    @cached_property
    def padding(self) -> list[Tensor]:
        """Return per prompt the share of each image token's area that is padding and no picture."""
        return self._padding()
