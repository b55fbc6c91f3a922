"""A question to a model, before a model family adds its template and image marks."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

STYLES = ("chat", "chat_plain", "raw", "fastv")
IMAGE_MODES = ("pad", "crop")  # how a picture becomes a square, where a family does not stretch it


@dataclass(frozen=True)
class Prompt:
    """A user's text without image marks; `style` chooses the template, `choices` replaces generation by the likeliest choice.

    `chat_plain` is the family's chat without a label before the picture, which Qwen-VL-Chat alone has.
    """

    text: str
    style: Literal["chat", "chat_plain", "raw", "fastv"] = "chat"
    choices: tuple[str, ...] = ()
