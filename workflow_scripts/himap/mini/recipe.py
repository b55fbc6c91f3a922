"""What decides how the mini model is trained; models/mini/README.md says why."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Recipe:
    """Hold everything that decides how training goes; a resumed run must have the same, but for FREE."""

    seed: int = 0  # of weights and of pictures
    architecture: str = "llava"  # or mllama, whose decoder reads the picture by cross-attention
    start: str = ""  # a finished checkpoint whose weights and vocabulary the decoder's training begins with
    tower_steps: int = 700  # after these every patch that shows something is read right (models/mini/README.md)
    steps: int = 6000
    minutes: float = 0.0  # if set, the decoder trains this long instead of `steps` steps
    pictures: int = 16  # per step
    easy_steps: int = 600  # colors, shapes and existence alone
    choice_from: int = 600  # then mostly multiple choice, for `choice_steps` steps
    choice_steps: int = 600
    hard_from: int = 2500  # from here mostly the questions that take longest to learn
    muon_rate: float = 0.01  # of the decoder's matrices
    adam_rate: float = 0.002  # of embeddings, projector, norms
    tower_rate: float = 0.001  # Adam's, for the tower and its helper heads
    rate: float = 1.0  # times the decoder's two rates
    flat: float = 0.6  # share of the training after which the rate falls
    alignment: float = 0.3  # weight of the helper losses; 0 trains on answers alone
    # Share of the training after which answers alone count, so that no helper loss shapes the end.
    helpers_until: float = 0.75
    corpus_pictures: int = 3000  # whose texts the vocabulary is trained on
    held_out_batches: int = 6  # of validation pictures, for the scores in log and training.json
    report_every: int = 250
    save_every: int = 500


# May change when a run is resumed: what is still to come, and how it is reported.
FREE = (
    "flat",
    "choice_from",
    "choice_steps",
    "hard_from",
    "steps",
    "minutes",
    "report_every",
    "save_every",
    "held_out_batches",
)
QUICK = Recipe(  # only to see that everything works
    tower_steps=3,
    steps=4,
    pictures=2,
    easy_steps=2,
    corpus_pictures=300,
    held_out_batches=1,
    report_every=2,
    save_every=2,
)
