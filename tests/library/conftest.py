"""What the library's tests share: tiny random models, each made once."""

from __future__ import annotations

import pytest


@pytest.fixture(scope="session", params=["heads", "grouped"])
def model(request):
    """A tiny random LLaVA, with as many key-value heads as heads or with half as many; not to be changed."""
    from tiny import tiny_model

    return tiny_model(request.param)


@pytest.fixture(scope="session")
def plain_model():
    """The tiny random LLaVA with as many key-value heads as heads; not to be changed."""
    from tiny import tiny_model

    return tiny_model()
