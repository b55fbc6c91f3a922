"""HiMAP: how visual information flows through multimodal language models, and which image tokens can be dropped.

model = himap.load("models/mini")
answer = himap.generate(model, image, "What color is the circle?", method="himap")
answer.picture()
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from himap.inference import generate
    from himap.models.loading import load

__all__ = ["generate", "load"]
_HOMES = {"load": "himap.models.loading", "generate": "himap.inference"}


def __getattr__(name: str) -> Any:
    """Load `load` and `generate` on first use, so that `import himap` alone imports neither torch nor transformers."""
    if name in _HOMES:
        import importlib

        return getattr(importlib.import_module(_HOMES[name]), name)
    raise AttributeError(f"module 'himap' has no attribute {name!r}")
