"""Prompts by a checkpoint's own chat template.

A template is a program that comes with the weights. It runs in transformers' sandbox, once for each number of pictures,
with bounds on its length, its time and its output, and a secret text stands for the question. Questions are put in
afterwards: whatever a data set's text contains, it is read as plain text, never as a mark of the template or a picture.
"""

from __future__ import annotations

import copy
import re
import secrets
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from himap.decoder.layout import Layout
from himap.files import read_json
from himap.models.prompts import Prompt

if TYPE_CHECKING:
    from himap.models.model import Model

LONGEST = 100_000  # characters of a template, and of what it writes around a question
SECONDS = 20.0  # for one rendering, which takes milliseconds


@dataclass(frozen=True)
class Frame:
    """What a template writes around a question."""

    before: str
    after: str
    trims: bool  # whether it strips the question's spaces


def read_template(directory: Path, tokenizer: Any) -> str:
    """Return a checkpoint's chat template, from the file of its own or from the tokenizer's settings."""
    template = getattr(tokenizer, "chat_template", None)
    # A file of its own comes before what the tokenizer's settings hold.
    if (directory / "chat_template.jinja").is_file():
        template = (directory / "chat_template.jinja").read_text(encoding="utf-8")
    elif (directory / "chat_template.json").is_file():
        template = read_json(directory / "chat_template.json").get("chat_template")
    # several templates by name, such as {"default": …, "tool_use": …}
    if isinstance(template, dict):
        template = template.get("default")
    if not isinstance(template, str):
        raise ValueError(
            f"{directory}: no chat template beside the tokenizer (chat_template.jinja); download the checkpoint again"
        )
    if len(template) > LONGEST:
        raise ValueError(
            f"{directory}: its chat template has {len(template)} characters, more than the {LONGEST} that are read"
        )
    return template


def render(tokenizer: Any, template: str, pictures: int, text: str) -> str:
    """Return what a template makes of one user's turn. Raise ValueError if it fails, runs too long or writes too much."""
    # pictures first, then the text, as benchmarks ask
    content = [{"type": "image"}] * pictures + [{"type": "text", "text": text}]
    result: list[str | Exception] = []

    def work() -> None:
        try:
            result.append(
                tokenizer.apply_chat_template(
                    [{"role": "user", "content": content}],
                    chat_template=template,
                    tokenize=False,
                    add_generation_prompt=True,
                )
            )
        except Exception as error:  # a template may raise anything
            result.append(error)

    # In a thread: a loop inside a template cannot be interrupted, and a daemon does not keep the process alive.
    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    thread.join(SECONDS)
    if not result:
        raise ValueError(
            f"its chat template ran for more than {SECONDS:.0f} seconds; take another checkpoint or correct the template"
        )
    if isinstance(result[0], Exception):
        raise ValueError(f"its chat template cannot be rendered for {pictures} pictures ({result[0]})") from result[0]
    if len(result[0]) > LONGEST:
        raise ValueError(f"its chat template writes more than {LONGEST} characters around a question")
    return result[0]


class Chat:
    """The text side of a model that is asked by its checkpoint's chat template."""

    def __init__(
        self, directory: Path, tokenizer: Any, image_token_id: int, mark: str, picture_text: Callable[[Layout], str],
        template: str | None = None,
    ) -> None:  # fmt: skip
        """Read the checkpoint's template, or take one for checkpoints that have none.

        It writes `mark` for a picture, in whose place `picture_text` puts the image tokens.
        """
        self.directory, self.tokenizer = directory, tokenizer
        self.template = read_template(directory, tokenizer) if template is None else template
        self.image_token_id, self.mark, self.picture_text = image_token_id, mark, picture_text
        self.frames: dict[int, Frame] = {}
        # Marks of a frame become secret twins, so that the same words in a question can be split as plain text.
        self.plain = copy.deepcopy(tokenizer)
        special = {
            token.content: (number, token) for number, token in tokenizer.added_tokens_decoder.items() if token.special
        }
        self.special = special
        self.twins: dict[str, str] = {}  # by mark
        self.real: dict[int, int] = {}  # by a twin's id
        # Longer marks first, since one may begin another; (?!) matches nothing where there is no mark.
        self.marks = re.compile("|".join(re.escape(name) for name in sorted(special, key=len, reverse=True)) or r"(?!)")

    def frame(self, pictures: int) -> Frame:
        """Return what the template writes around a question with a number of pictures."""
        if pictures not in self.frames:
            # in spaces, which show whether the template strips the question
            secret = secrets.token_hex(16)
            try:
                written = render(self.tokenizer, self.template, pictures, f" {secret} ")
            except ValueError as error:
                raise ValueError(f"{self.directory}: {error}") from error
            trims = f" {secret} " not in written
            # the text that the template writes before and after the question
            parts = written.split(secret if trims else f" {secret} ")
            if len(parts) != 2 or parts[0].count(self.mark) != pictures:
                raise ValueError(
                    f"{self.directory}: its chat template does not write {pictures} picture marks ({self.mark}) and then "
                    "the question once; take the template that was published with these weights"
                )
            self.frames[pictures] = Frame(parts[0], parts[1], trims)
        return self.frames[pictures]

    def tokenize(self, prompt: Prompt, layouts: Sequence[Any]) -> list[int]:
        """Return the ids of a prompt with pictures of these layouts."""
        pictures = [self.picture_text(layout) for layout in layouts]
        if prompt.style == "raw":
            return self._ids("".join(pictures), prompt.text, "")
        frame = self.frame(len(layouts))
        # the frame has one mark per picture, so its pieces lie around the pictures
        pieces = frame.before.split(self.mark)
        before = pieces[0] + "".join(picture + piece for picture, piece in zip(pictures, pieces[1:], strict=True))
        return self._ids(before, prompt.text.strip() if frame.trims else prompt.text, frame.after)

    def answer_ids(self, text: str) -> list[int]:
        """Return the ids of a text as the start of an answer: after the frame, and a space unless that ends in one."""
        after = self.frame(1).after
        # Tokens of the frame's end, alone and with the text: what is new belongs to the text.
        before = self._ids("", "", after, start=False)
        whole = self._ids("", "", after, text if after[-1:].isspace() else f" {text}", start=False)
        if whole[: len(before)] != before:  # the text's first letters merged with the frame's last
            return self._ids("", text, "", start=False)
        return whole[len(before) :]

    def _ids(self, before: str, text: str, after: str, answer: str = "", *, start: bool = True) -> list[int]:
        """Return the ids of a framed text, in which only the frame's marks are marks."""
        bos = self.tokenizer.bos_token
        add = start and not (bos and before.startswith(bos))  # a template may write the start mark itself
        whole = self._hidden(before) + text + self._hidden(after) + answer
        # split_special_tokens: the question's own marks fall into pieces like any other text
        ids = self.plain(whole, split_special_tokens=True, add_special_tokens=add)["input_ids"]
        return [self.real.get(token, token) for token in ids]

    def _hidden(self, frame: str) -> str:
        """Return a piece of a frame with its marks as twins."""
        return self.marks.sub(lambda match: self._twin(match.group()), frame)

    def _twin(self, mark: str) -> str:
        """Return the secret token that stands for a mark and splits the text around it as the mark does."""
        if mark not in self.twins:
            from transformers import AddedToken

            number, known = self.special[mark]
            twin = AddedToken(
                f"<{secrets.token_hex(16)}>", lstrip=known.lstrip, rstrip=known.rstrip, normalized=False, special=False
            )
            self.plain.add_tokens([twin])
            self.twins[mark] = twin.content
            self.real[self.plain.convert_tokens_to_ids(twin.content)] = number
        return self.twins[mark]

    def ids_of(self, *names: str) -> frozenset[int]:
        """Return the ids of the special tokens whose whole name one of the patterns matches."""
        return frozenset(
            number
            for name, (number, _) in self.special.items()
            if any(re.fullmatch(pattern, name) for pattern in names)
        )

    def attach(self, model: Model) -> None:
        """Give a model its text side."""
        model.tokenize, model.answer_ids = self.tokenize, self.answer_ids
        model.detokenize = lambda ids: self.tokenizer.decode(ids, skip_special_tokens=True).strip()
        model.plain_id = self.tokenizer.convert_tokens_to_ids
