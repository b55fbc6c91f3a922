"""The encoder that reads InstructBLIP's pictures runs through the same loop: its maps, cuts and dropping are transformers' own."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import torch
from chat_families import encoded, picture
from cross_families import FAMILIES
from himap.decoder.generation import generate
from himap.experiments.answers import Question, encode
from himap.experiments.reading import read, reader_rows, reading_saliency, reading_sweep
from himap.models.loading import load
from himap.models.prompts import Prompt
from himap.pruning.intervention import Pruning
from himap.pruning.stage import Stage

pytestmark = pytest.mark.slow

TEXT = "What is the water made of?"
QUESTION = Question("q", [encoded(picture(0))], Prompt(TEXT))


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> tuple[Any, Any, dict[str, Any]]:
    """The tiny model, transformers' own class, and what it is fed."""
    folder = tmp_path_factory.mktemp("query_former") / "tiny"
    family = FAMILIES["instructblip"]
    family.write(folder)
    return load(folder), family.native(folder), family.inputs(folder, TEXT, [picture(0)])


def attentions(native: Any) -> list[Any]:
    """The attentions of the encoder in the order in which they run."""
    layers = native.qformer.encoder.layer
    return [
        part.attention for layer in layers for part in (layer.attention, getattr(layer, "crossattention", None)) if part
    ]


@contextmanager
def changed(handles: list[Any]) -> Iterator[None]:
    """Remove hooks afterwards."""
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def test_saliency_is_that_of_the_encoders_own_maps(pair: tuple[Any, Any, dict[str, Any]]) -> None:
    model, native, inputs = pair
    maps: list[torch.Tensor] = []

    def keep(module: Any, arguments: Any, output: Any) -> None:
        output[1].retain_grad()
        maps.append(output[1])

    with changed([attention.register_forward_hook(keep) for attention in attentions(native)]):
        logits = native(**inputs).logits[:, -1]
        target = int(logits.argmax())
        torch.nn.functional.cross_entropy(logits, torch.tensor([target])).backward()
    native.zero_grad()
    computed = reading_saliency(model, QUESTION, target)
    assert len(maps) == len(model.reader.model.layers) == 5
    text = maps[0].shape[-1] - 16
    for layer, weights in enumerate(maps):
        assert weights.grad is not None
        product = (weights * weights.grad)[0].detach()
        paper, released = product.sum(dim=0).abs(), (weights[0].detach() * product).abs().mean(dim=0)
        looks = layer in model.reader.model.dims.cross
        assert weights.shape[2:] == ((16, 17) if looks else (16 + text, 16 + text))
        for name, map_ in (("paper", paper), ("released", released)):
            pairs = {"image": map_[:16]} if looks else {"instruction": map_[:16, :16], "system": map_[:16, 16:]}
            for group, expected in pairs.items():
                found = computed.block(name, "instruction", group)[layer]
                assert torch.allclose(found, expected.sum(), rtol=1e-3, atol=1e-7)
    assert computed.sizes.tolist() == [text, 17, 16]
    assert float(computed.block("paper", "instruction", "image").sum()) > 0


def test_a_cut_is_transformers_cross_attention_without_its_output(pair: tuple[Any, Any, dict[str, Any]]) -> None:
    model, native, inputs = pair
    clean = generate(model, encode(model, [QUESTION]), 1).first_logits[0]
    seen = list(reading_sweep(model, QUESTION, ["single", "suffix"], new_tokens=1))
    assert [outcome.layer for outcome in seen] == [1, 1, 4, 4]
    after = list(reading_sweep(model, QUESTION, ["single", "suffix"], block="post", new_tokens=1))
    for outcome, post in zip(seen, after, strict=True):
        numbers = range(outcome.layer, 5 if outcome.extent == "suffix" else outcome.layer + 1)
        silenced = [attentions(native)[number] for number in numbers if number in model.reader.model.dims.cross]
        hooks = [
            part.register_forward_hook(lambda m, a, out: (torch.zeros_like(out[0]), *out[1:])) for part in silenced
        ]
        with changed(hooks), torch.no_grad():
            expected = native(**inputs).logits[0, -1]
        assert torch.allclose(outcome.logits, expected, atol=1e-4)
        assert torch.allclose(post.logits, expected, atol=1e-4)
        assert (outcome.logits - clean).abs().max() > 1e-3


def test_dropped_patches_are_absent_from_later_cross_attention(pair: tuple[Any, Any, dict[str, Any]]) -> None:
    model, native, inputs = pair
    rows, reader = reader_rows(model, QUESTION), model.reader.model
    clean = generate(model, encode(model, [QUESTION]), 1).first_logits[0]
    pruning = Pruning(reader, [Stage(2, 0.5, "instruction_attention")], rows, [0])
    ours = generate(model, read(model, QUESTION, rows, [pruning]), 1).first_logits[0]
    kept = pruning.kept[2][0]
    assert len(kept) == 9

    def narrow(module: Any, arguments: Any, kwargs: dict[str, Any]) -> Any:
        kwargs = {
            **kwargs,
            "encoder_hidden_states": kwargs["encoder_hidden_states"][:, kept],
            "encoder_attention_mask": None,
        }
        return arguments, kwargs

    with changed([attentions(native)[4].register_forward_pre_hook(narrow, with_kwargs=True)]), torch.no_grad():
        expected = native(**inputs).logits[0, -1]
    assert torch.allclose(ours, expected, atol=1e-4)
    assert (ours - clean).abs().max() > 1e-3


def test_a_model_without_such_an_encoder_says_so(pair: tuple[Any, Any, dict[str, Any]]) -> None:
    from dataclasses import replace

    model, _, _ = pair
    with pytest.raises(ValueError, match="an InstructBLIP has one"):
        reading_saliency(replace(model, reader=None), QUESTION, 3)
    two = Question("q", [*QUESTION.images, *QUESTION.images], Prompt(TEXT))
    with pytest.raises(ValueError, match="looked at for one"):
        reader_rows(model, two)
