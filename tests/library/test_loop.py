"""The loop: equal to transformers' own forward, in batches, with a cache, under every kernel and number format."""

from __future__ import annotations

import pytest
import torch
from himap.decoder import half
from himap.decoder.cache import Cache
from himap.decoder.generation import continue_greedily, generate, next_token_logits
from himap.decoder.loop import Intervention, forward
from himap.decoder.tokens import INSTRUCTION, join_rows, new_rows
from himap.pruning.intervention import Pruning
from tiny import SHAPES, STAGES, oracle, prompt, sequence, tiny_model


def pruning(model, rows, stages=STAGES, seeds=None):
    return Pruning(model, stages, rows, seeds or [0] * rows.positions.shape[0])


def logits_of(model, rows, *interventions):
    with torch.no_grad():
        return next_token_logits(model, forward(model, rows, Cache(), interventions))


@pytest.mark.parametrize("images", [1, 2, 3])
def test_equals_transformers(model, images):
    shape = {"images": images, "seed": images}
    ids, _ = sequence(model, **shape)
    full = [t for i in ids for t in ([i] * 16 if i == model.image_token_id else [i])]
    pixels_of = torch.Generator().manual_seed(images)
    torch.randint(3, model.dims.vocab - 2, (5 + images + 7,), generator=pixels_of)
    pixels = torch.randn(images, 3, 56, 56, generator=pixels_of)
    tokens = torch.tensor([full])
    with torch.no_grad():
        expected = model.module(input_ids=tokens, pixel_values=pixels).logits[0, -1]
    rows = prompt(model, shape)
    torch.testing.assert_close(logits_of(model, rows)[0], expected, rtol=1e-4, atol=1e-5)
    answer = model.module.generate(
        input_ids=tokens, attention_mask=torch.ones_like(tokens), pixel_values=pixels, max_new_tokens=9, do_sample=False
    )
    assert generate(model, rows, 9).ids[0] == answer[0, len(full) :].tolist()


def test_the_oracle_of_these_tests_equals_the_loop(model):
    for shape in SHAPES:
        rows = prompt(model, shape)
        torch.testing.assert_close(logits_of(model, rows)[0], oracle(model, rows)[0][-1], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("stages", [[], STAGES], ids=["vanilla", "himap"])
@pytest.mark.parametrize("rerank", [False, True], ids=["cached", "rerank"])
def test_a_batch_of_unequal_prompts_answers_as_one_by_one(model, stages, rerank):
    rows = prompt(model, *SHAPES)
    assert not rows.dense
    together = generate(model, rows, 6, [pruning(model, rows, stages)], rerank=rerank)
    for b, shape in enumerate(SHAPES):
        alone = prompt(model, shape)
        single = generate(model, alone, 6, [pruning(model, alone, stages)], rerank=rerank)
        torch.testing.assert_close(together.first_logits[b], single.first_logits[0], rtol=1e-4, atol=1e-5)
        assert together.ids[b] == single.ids[0]


@pytest.mark.parametrize("kind", ["eager", "flash"])
@pytest.mark.parametrize("shapes", [SHAPES[:1], SHAPES], ids=["one", "padded"])
@pytest.mark.parametrize("stages", [[], STAGES], ids=["vanilla", "himap"])
def test_kernels_agree(kind, shapes, stages):
    model = tiny_model("grouped")
    rows = prompt(model, *shapes)
    usual = generate(model, rows, 5, [pruning(model, rows, stages)])
    model.attention = kind
    other = generate(model, rows, 5, [pruning(model, rows, stages)])
    torch.testing.assert_close(usual.first_logits, other.first_logits, rtol=1e-4, atol=1e-5)
    assert usual.ids == other.ids


def test_float16_on_a_processor_is_float32_rounded_block_by_block(monkeypatch):
    monkeypatch.setattr(half, "BLOCK", 5 * 64)  # the last block of most layers is smaller
    model = tiny_model("grouped", torch.float16)
    half.widen(model.module)
    layers = [part for part in model.module.modules() if isinstance(part, torch.nn.Linear)]
    assert any(layer.bias is not None for layer in layers)
    for layer in layers:
        assert isinstance(layer, half.WideLinear)
        assert layer.weight.dtype == torch.float16
        bias = None if layer.bias is None else layer.bias.normal_().float()
        for shape in ((1, 1), (2, 3)):
            states = torch.randn(*shape, layer.in_features, generator=torch.Generator().manual_seed(0)).half()
            exact = torch.nn.functional.linear(states.float(), layer.weight.float(), bias)
            # half a step of float16's eleven bits, and what another order of float32 sums may add
            torch.testing.assert_close(layer(states).float(), exact, rtol=2**-11 + 1e-5, atol=1e-6)


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.bfloat16, 0.3), (torch.float16, 0.05)])
def test_half_precision_stays_near_full_precision(dtype, tolerance):
    full, half = tiny_model("grouped"), tiny_model("grouped", dtype)
    expected = logits_of(full, prompt(full, *SHAPES))
    rows = prompt(half, *SHAPES)
    assert rows.hidden.dtype == dtype
    found = logits_of(half, rows)
    assert found.dtype == torch.float32
    assert float((found - expected).abs().max()) < tolerance * float(expected.abs().max())
    answers = generate(half, rows, 4, [pruning(half, rows)]).ids
    assert all(answers)


@pytest.mark.parametrize("shapes", [SHAPES[:1], SHAPES[1:2]], ids=["one image", "two images"])
def test_each_layers_cache_is_as_long_as_its_sequence(model, shapes):
    rows = prompt(model, *shapes)
    length, image = rows.positions.shape[1], int((rows.image_index >= 0).sum())
    done = generate(model, rows, 4, [pruning(model, rows)], min_new_tokens=4)
    assert len(done.ids[0]) == 4
    text = length - image + 3  # the fourth token is never fed back
    expected = [text + image] * 2 + [text + image // 2] * 2 + [text + image // 4] * 2
    assert [done.cache.layers[n].length for n in range(6)] == expected


class Frozen(Intervention):
    """Drops the image tokens that an earlier run dropped, whatever the scores say now."""

    def __init__(self, kept):
        self.kept = kept

    def choose(self, layer, rows, below):
        if layer not in self.kept:
            return None
        index = rows.image_index
        return torch.stack(
            [(row < 0) | torch.isin(row, torch.tensor(k)) for row, k in zip(index, self.kept[layer], strict=True)]
        )


def test_a_cache_changes_nothing_for_frozen_indices(model):
    rows = prompt(model, *SHAPES)
    first = pruning(model, rows)
    cache = Cache()
    logits = logits_of_into(model, rows, cache, first)
    answer = torch.randint(3, 90, (len(SHAPES), 4), generator=torch.Generator().manual_seed(0))
    text = rows
    for step in range(4):
        token = answer[:, step : step + 1]
        newest = new_rows(model.embed_tokens(token), rows.positions[:, -1:] + 1 + step)
        text = join_rows(text, newest)
        logits = logits_of_into(model, newest, cache, first)
        torch.testing.assert_close(logits, logits_of(model, text, Frozen(first.kept)), rtol=1e-4, atol=1e-5)


def logits_of_into(model, rows, cache, *interventions):
    with torch.no_grad():
        return next_token_logits(model, forward(model, rows, cache, interventions))


def test_an_answer_longer_than_the_reserved_cache_goes_on(plain_model):
    rows = prompt(plain_model)
    short = generate(plain_model, rows, 70, min_new_tokens=70)
    tight = Cache(reserve=0)
    logits = logits_of_into(plain_model, rows, tight)
    assert continue_greedily(plain_model, rows, tight, logits, 70, min_new_tokens=70).ids == short.ids
    assert len(short.ids[0]) == 70


def test_stops_at_an_end_token_and_at_the_limit():
    model = tiny_model()
    rows = prompt(model, *SHAPES)
    free = generate(model, rows, 8).ids
    assert [len(ids) for ids in free] == [8, 8, 8]
    model.end_ids = frozenset({free[1][2]})
    stopped = generate(model, rows, 8).ids
    for ids, whole in zip(stopped, free, strict=True):
        end = whole.index(free[1][2]) if free[1][2] in whole else 7
        assert ids == whole[: end + 1]
    longer = generate(model, rows, 8, min_new_tokens=5).ids
    assert not any(token in model.end_ids for ids in longer for token in ids[:5])


def test_generated_tokens_count_as_instruction(plain_model):
    asked = []

    class Look(Intervention):
        def choose(self, layer, rows, below):
            asked.append(int((rows.groups == INSTRUCTION).sum()))

    generate(plain_model, prompt(plain_model), 3, [Look()], rerank=True, min_new_tokens=3)
    assert asked[::6] == [7, 8, 9]


def test_intermediate_rows_can_be_resumed(model):
    rows = prompt(model, *SHAPES)
    with torch.no_grad():
        cache = Cache()
        half = forward(model, rows, cache, stop=3)
        whole = forward(model, half, cache, start=3)
    torch.testing.assert_close(next_token_logits(model, whole), logits_of(model, rows))
    assert sorted(cache.layers) == list(range(6))
