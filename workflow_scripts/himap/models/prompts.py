"""A question to a model, before a model family adds its template and image marks."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class Prompt:
    """A user's text without image marks."""

    text: str
    style: Literal["chat", "raw", "fastv"] = "chat"  # which template the family puts around it; raw: none
    choices: tuple[str, ...] = ()  # if given, the answer is the likeliest of these and nothing is generated
