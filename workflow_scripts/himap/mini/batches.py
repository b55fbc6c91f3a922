"""Training batches: several pictures, and for each as many prompts and answers as fit into a few rows of tokens.

Beside the answers a batch holds the targets of the helper losses: what a word of a question should know on the way to the
answer (see `Trainer.loss`). -100 marks a token without a target, as in PyTorch's cross-entropy.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from himap.mini import checkpoint, conversations
from himap.mini.glyphs import COLOR_NAMES, FIRST_CLUTTER, INDEX, SHAPE_NAMES
from himap.mini.questions.marks import unique_marks
from himap.mini.questions.question import OPTION_LETTERS
from himap.mini.scenes import PIXELS, SIDE, Mark, generator, make_scene, render
from himap.mini.tokenizer import SYSTEM

PREFIX = f"{SYSTEM} USER: "
# About a dozen turns fit into the four rows of a picture.
ROWS, LENGTH = 4, 96  # rows of tokens per picture, tokens per row
CELLS = SIDE * SIDE
GLYPH_CLASSES = FIRST_CLUTTER + 1  # all clutter is one class
ASKED_AS = {"+": "sum", "=": "result"}  # the word by which questions ask for a sign
COLOR_CLASSES = len(COLOR_NAMES) + 2  # the inks, gray, and nothing


@dataclass
class Batch:
    """Hold the arrays of a batch of B pictures with R rows of T tokens each (row = picture * R + index)."""

    pixels: np.ndarray  # uint8 [B, 96, 96, 3]
    glyphs: np.ndarray  # int64 [B, 144], clutter merged
    colors: np.ndarray  # int64 [B, 144], last class: nothing
    ids: np.ndarray  # int64 [B*R, T]
    positions: np.ndarray  # int64 [B*R, T], every turn counts on from the prefix, as if it stood alone
    turn: np.ndarray  # int64 [B*R, T], which turn of the row a token belongs to, -1: none
    labels: np.ndarray  # int64 [B*R, T], the next token where it is part of an answer, else -100
    weights: np.ndarray  # float32 [B*R, T]
    letters: np.ndarray  # int64 [B*R, T], at the last token of an option its letter, else -100
    verdicts: np.ndarray  # int64 [B*R, T], there: the token of yes for the right option, of no for the others
    # int64 [B*R, T], where a question names an object that is there once, the token of its row, else -100
    rows: np.ndarray
    columns: np.ndarray  # int64 [B*R, T], there: the token of its column
    clues: np.ndarray  # int64 [B*R, T], at a word of a question the token of what is true of it, else -100
    finds: np.ndarray  # int64 [B*R, T], at a question mark the token of the answer, else -100
    groups: list[tuple[int, int, str]] = field(default_factory=list)  # row, turn, group


class BatchMaker:
    """Make batch number `step` from split, seed and number alone, so that a resumed run sees the same pictures."""

    def __init__(
        self, tokenizer: Any, split: str, seed: int, size: int, phases: Sequence[tuple[int, int, str]] = (),
        framed: Callable[[Any, list[int]], list[int]] = checkpoint.prefix_ids,
    ) -> None:  # fmt: skip
        """Take which questions come when, and what makes the tokens before every question of those of the system sentences."""
        self.tokenizer, self.split, self.seed, self.size, self.phases = tokenizer, split, seed, size, phases
        prefix = tokenizer.encode(PREFIX)
        # The first token of each, as the head names it: " yes" with its space, since an answer follows "ASSISTANT:".
        token = {
            text: tokenizer.encode(text, add_special_tokens=False)[0]
            for text in ("\n", ".", "?", " yes", " no", *OPTION_LETTERS)
        }
        self.line, self.dot, self.yes, self.no = (token[text] for text in ("\n", ".", " yes", " no"))
        self.question_mark = token["?"]
        self.option_letters = {token[letter]: letter for letter in OPTION_LETTERS}
        self.color_tokens = {tokenizer.encode(f" {name}", add_special_tokens=False)[0]: name for name in COLOR_NAMES}
        self.shape_tokens = {tokenizer.encode(f" {name}", add_special_tokens=False)[0]: name for name in SHAPE_NAMES}
        self.places = place_words(tokenizer)
        self.token_of: dict[str, int | None] = {}  # remembered by `_token`
        self.prefix_ids = framed(tokenizer, prefix)

    def allowed(self) -> dict[str, np.ndarray]:
        """Return for each helper loss what is added to its logits: 0 at the words it chooses from, -inf at all others.

        Several losses have a target at the same token; without this each would push the other's words down.
        """
        choices = {
            "rows": self.places[0],
            "columns": self.places[1],
            "letters": [*self.option_letters],
            "verdicts": [self.yes, self.no],
        }
        # Clues and finds choose from all words: anything may be true.
        masks = {name: np.zeros(len(self.tokenizer), np.float32) for name in ("clues", "finds", *choices)}
        for name, tokens in choices.items():
            masks[name][:] = -np.inf
            masks[name][tokens] = 0
        return masks

    def __getitem__(self, step: int) -> Batch:
        """Make batch number `step`."""
        rows = self.size * ROWS  # row = picture * ROWS + index
        batch = Batch(
            pixels=np.zeros((self.size, PIXELS, PIXELS, 3), np.uint8),
            glyphs=np.zeros((self.size, CELLS), np.int64),
            colors=np.zeros((self.size, CELLS), np.int64),
            ids=np.zeros((rows, LENGTH), np.int64),
            positions=np.zeros((rows, LENGTH), np.int64),
            turn=np.full((rows, LENGTH), -1, np.int64),
            labels=np.full((rows, LENGTH), -100, np.int64),
            weights=np.zeros((rows, LENGTH), np.float32),
            letters=np.full((rows, LENGTH), -100, np.int64),
            verdicts=np.full((rows, LENGTH), -100, np.int64),
            rows=np.full((rows, LENGTH), -100, np.int64),
            columns=np.full((rows, LENGTH), -100, np.int64),
            clues=np.full((rows, LENGTH), -100, np.int64),
            finds=np.full((rows, LENGTH), -100, np.int64),
        )
        # The first phase that holds the step; validation has no phases and is asked everything.
        phase = next((name for first, last, name in self.phases if first <= step < last), "all")
        for picture in range(self.size):
            # One generator for scene and turns: the order of the calls below is part of the result.
            rng = generator(self.split, self.seed, step, picture)
            scene = make_scene(conversations.random_kind(rng, phase), rng)
            batch.pixels[picture] = render(scene)
            # Row by row, the order of image tokens.
            batch.glyphs[picture] = np.minimum(scene.glyphs.ravel(), FIRST_CLUTTER)
            batch.colors[picture] = np.where(scene.glyphs.ravel() == 0, COLOR_CLASSES - 1, scene.colors.ravel())
            # More turns than usually fit (10 to 14 do), so that rows are full.
            turns = conversations.turns(scene, rng, 5 * ROWS, phase)
            self._pack(batch, picture, turns, {mark.name: mark for mark in unique_marks(scene)})
        return batch

    def _pack(self, batch: Batch, picture: int, turns: list[conversations.Turn], marks: dict[str, Mark]) -> None:
        """Put each turn into the first row of the picture that has room for it; leave out those that fit nowhere."""
        if not turns:
            return
        used = [0] * ROWS  # tokens in each row
        count = [0] * ROWS  # turns in each row
        prompts = self.tokenizer([f"\n{turn.prompt} ASSISTANT:" for turn in turns], add_special_tokens=False)[
            "input_ids"
        ]
        answers = self.tokenizer([f" {turn.answer}" for turn in turns], add_special_tokens=False)["input_ids"]
        for turn, prompt, answer in zip(turns, prompts, answers, strict=True):
            answer = [*answer, self.tokenizer.eos_token_id]  # a model must learn to stop, too
            tokens = [*prompt, *answer][:-1]  # the end mark is only predicted
            index = next((r for r in range(ROWS) if used[r] + len(tokens) <= LENGTH), None)
            if index is None:
                continue
            row, start = picture * ROWS + index, used[index]
            end = start + len(tokens)
            batch.ids[row, start:end] = tokens
            # Counted on from the prefix, as if the turn followed it directly.
            batch.positions[row, start:end] = len(self.prefix_ids) + np.arange(len(tokens))
            batch.turn[row, start:end] = count[index]
            # Shifted by one: the last prompt token predicts the first answer token, since `tokens` lacks the end mark.
            batch.labels[row, end - len(answer) : end] = answer
            # Between one weight per answer and one per token: a caption should not outweigh twenty short answers.
            batch.weights[row, end - len(answer) : end] = len(answer) ** -0.5
            # FastV's form has its options on one line, so `option_ends` would not find them there.
            if turn.group.startswith("choice"):
                for place, letter in self.option_ends(prompt):
                    right = self.option_letters[letter] == turn.answer
                    batch.letters[row, start + place] = letter
                    batch.verdicts[row, start + place] = self.yes if right else self.no
            # Every mention of an object, as " red" and " circle" side by side; the shape's token gets the target.
            for place in range(1, len(prompt)):
                name = f"{self.color_tokens.get(prompt[place - 1])} {self.shape_tokens.get(prompt[place])}"
                if name in marks:
                    batch.rows[row, start + place] = self.places[0][marks[name].row]
                    batch.columns[row, start + place] = self.places[1][marks[name].column]
            self._put_clues(batch, row, start, prompt, turn)
            batch.groups.append((row, count[index], turn.group))
            used[index], count[index] = end, count[index] + 1

    def _put_clues(self, batch: Batch, row: int, start: int, prompt: list[int], turn: conversations.Turn) -> None:
        """Set what is true of the question's words, and its answer at the question mark, where these are single tokens."""
        if not turn.clues or self.question_mark not in prompt:
            return
        end = prompt.index(self.question_mark)
        # For example ("circle", "red"), and ("?", answer) for the whole question.
        for word, truth in turn.clues:
            value = self._token(truth)
            if value is None:
                continue
            if word == "?":
                batch.finds[row, start + end] = value
                continue
            token = self._token(word)
            # Searched backward from the question mark, because the context may use the same word earlier.
            place = next((i for i in range(end - 1, 0, -1) if prompt[i] == token), None)
            if place is not None:
                batch.clues[row, start + place] = value

    def _token(self, word: str) -> int | None:
        """Return the token of a word as the head names it (a single letter or digit without a space); None if it takes several."""
        if word not in self.token_of:
            ids = self.tokenizer.encode(word if len(word) == 1 else f" {word}", add_special_tokens=False)
            self.token_of[word] = ids[0] if len(ids) == 1 else None
        return self.token_of[word]

    def option_ends(self, prompt: list[int]) -> list[tuple[int, int]]:
        """Return where the lettered options of a multiple-choice prompt end, with their letters' tokens."""
        # A line such as "\nB. green" is line break, letter, full stop, words; the last token carries the target.
        breaks = [i for i, token in enumerate(prompt) if token == self.line]
        lines = zip(breaks, [*breaks[1:], len(prompt)], strict=True)
        starts = [(first, last) for first, last in lines if last - first > 3 and prompt[first + 2] == self.dot]
        return [(last - 1, prompt[first + 1]) for first, last in starts if prompt[first + 1] in self.option_letters]


def cell_words(tokenizer: Any) -> np.ndarray:
    """Return for every glyph the token that names it (a word, a letter, a digit), -100 where there is none: int64 [glyphs]."""
    result = np.full(GLYPH_CLASSES, -100, np.int64)
    for name, index in INDEX.items():
        if index == 0 or index >= FIRST_CLUTTER:
            continue
        name = ASKED_AS.get(name, name)  # "+" is asked for as "sum"
        ids = tokenizer.encode(name if len(name) == 1 else f" {name}", add_special_tokens=False)
        if len(ids) == 1:
            result[index] = ids[0]
    return result


def place_words(tokenizer: Any) -> np.ndarray:
    """Return twelve tokens for rows and twelve for columns (the letters A to X): int64 [2, 12]."""
    # Letters stand for numbers here: "12" would be two tokens, and digits already mean values.
    letters = [tokenizer.encode(chr(ord("A") + i), add_special_tokens=False)[0] for i in range(2 * SIDE)]
    return np.array(letters, np.int64).reshape(2, SIDE)


def color_words(tokenizer: Any) -> np.ndarray:
    """Return for every ink the token that names it, -100 for gray and for nothing: int64 [colors]."""
    result = np.full(COLOR_CLASSES, -100, np.int64)
    for index, name in enumerate(COLOR_NAMES):
        # A color is a single token, like every word of the questions.
        result[index] = tokenizer.encode(f" {name}", add_special_tokens=False)[0]
    return result
