"""What is asked of a model, before any model family has put its template and image marks around it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class Prompt:
    """A user's text without image marks; `style` chooses the template, `choices` replaces generation by the likeliest choice."""

    text: str
    style: Literal["chat", "raw", "fastv"] = "chat"
    choices: tuple[str, ...] = ()
