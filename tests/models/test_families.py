"""Every method and analysis runs on every family, whatever its number of image tokens, and keeps the loop's promises."""

from __future__ import annotations

import io
import itertools
from typing import Any

import originals
import pytest
import torch
from himap.costs.formulas import flops
from himap.decoder.bitmaps import from_bitmap
from himap.decoder.cache import Cache
from himap.decoder.generation import generate, next_token_logits
from himap.decoder.loop import Intervention, forward
from himap.decoder.tokens import IMAGE, INSTRUCTION, PADDING, SYSTEM
from himap.experiments.answers import Question, answer_batch, encode
from himap.experiments.cut_runs import run_undisturbed, sweep
from himap.experiments.disruption import Disruption, make_cut
from himap.experiments.saliency import DEFINITIONS, saliency
from himap.models.loading import redraw_weights
from himap.models.prompts import Prompt
from himap.pruning.intervention import Pruning
from himap.pruning.resolve import resolve
from himap.pruning.stage import Stage, read_stages

pytestmark = pytest.mark.slow

SCHEDULE = {  # the methods' own layers lie beyond a model of four
    "fastv": {"stages": [{"layer": 2, "keep": 0.5, "criterion": "last_token_attention"}]},
    "himap": {
        "stages": [
            {"layer": 1, "keep": 0.5, "criterion": "instruction_attention"},
            {"layer": 2, "keep": 0.125, "criterion": "image_attention"},
        ]
    },
}
METHODS = ["fastv", "himap", "himap_released", "uniform", "random", "random_per_layer", "encoder_output", "downsample"]
families = pytest.mark.parametrize("name", originals.FAMILIES)


def picture(number: int) -> bytes:
    data = io.BytesIO()
    originals.image(number).save(data, "PNG")
    return data.getvalue()


def questions(*texts: str) -> list[Question]:
    return [Question(str(n), [picture(n)], Prompt(text)) for n, text in enumerate(texts)]


ASKED = questions("What colour is the ball?", "How many dogs are there?\nAnswer with one word.", "Describe the image.")


class Hidden(Intervention):
    """Cuts chosen image tokens off from all others instead of dropping them."""

    def __init__(self, dropped: dict[int, list[int]], prompt: Any) -> None:
        self.dropped, self.index = dropped, prompt.image_index

    def cut(self, layer: int, rows: Any, key_positions: Any, key_groups: Any) -> Any:
        gone = sorted({i for at, indices in self.dropped.items() if at <= layer for i in indices})
        if not gone:
            return None
        places = (self.index[0][:, None] == torch.tensor(gone)[None]).any(dim=1).nonzero()[:, 0]
        hidden = (key_positions[:, :, None] == places[None, None]).any(dim=2)  # [B, Tk]
        own = rows.positions[:, :, None] == key_positions[:, None, :]
        return hidden[:, None, :] & ~own


@families
@pytest.mark.parametrize("method", METHODS)
def test_every_method_runs_and_keeps_what_it_says(name: str, method: str, loaded: Any) -> None:
    model = loaded(name)
    resolved = resolve(method, model.dims, methods=SCHEDULE)
    rows = answer_batch(model, ASKED, resolved, max_new_tokens=3)
    for row in rows:
        grid = resolved.image_grid
        assert row["image_tokens"] == (grid[0] * grid[1] if grid else model.dims.tokens_per_image)
        assert 1 <= row["generated_tokens"] <= 3
        kept = [from_bitmap(bitmap) for bitmap in row["kept"]]
        assert [len(k) for k in kept] == [
            stage.keep if stage.keep >= 1 else round(stage.keep * row["image_tokens"]) for stage in resolved.stages
        ]
        assert all(k == sorted(k) for k in kept)
        assert all(set(later) <= set(earlier) for earlier, later in itertools.pairwise(kept))


@families
def test_matched_methods_cost_what_himap_costs(name: str, loaded: Any) -> None:
    model = loaded(name)
    budget = flops(model.dims, resolve("himap", model.dims, methods=SCHEDULE).stages)
    for method in ("uniform", "encoder_output"):
        stages = resolve(method, model.dims, methods=SCHEDULE).stages
        assert flops(model.dims, stages) == pytest.approx(budget, rel=1 / model.dims.tokens_per_image**0.5)


@families
def test_keeping_everything_is_vanilla(name: str, loaded: Any) -> None:
    model = loaded(name)
    prompt = encode(model, ASKED)
    plain = generate(model, prompt, 4)
    for criterion in ("instruction_attention", "image_attention", "last_token_attention", "random", "gradient"):
        all_kept = Pruning(model, [Stage(1, 1.0, criterion)], prompt, [0, 1, 2])
        same = generate(model, prompt, 4, [all_kept])
        assert torch.allclose(same.first_logits, plain.first_logits, atol=1e-5)
        assert same.ids == plain.ids


@families
def test_dropping_tokens_is_hiding_them(name: str, loaded: Any) -> None:
    model = loaded(name)
    prompt = encode(model, ASKED[:1])
    stages = read_stages(SCHEDULE["himap"]["stages"])
    pruning = Pruning(model, stages, prompt, [0])
    dropped = generate(model, prompt, 1, [pruning]).first_logits
    everything = set(range(model.dims.tokens_per_image))
    gone = {layer: sorted(everything - set(kept[0])) for layer, kept in pruning.kept.items()}
    hidden = generate(model, prompt, 1, [Hidden(gone, prompt)]).first_logits
    assert torch.allclose(dropped, hidden, atol=1e-4)
    assert not torch.allclose(dropped, generate(model, prompt, 1).first_logits, atol=1e-2)


@families
@pytest.mark.parametrize("method", ["vanilla", "himap"])
def test_a_batch_is_its_samples_one_by_one(name: str, method: str, loaded: Any) -> None:
    model = loaded(name)
    resolved = resolve(method, model.dims, methods=SCHEDULE)
    together = answer_batch(model, ASKED, resolved, max_new_tokens=4)
    assert together == [answer_batch(model, [asked], resolved, max_new_tokens=4)[0] for asked in ASKED]


@families
def test_with_a_cache_is_without(name: str, loaded: Any) -> None:
    model = loaded(name)
    prompt = encode(model, ASKED)
    assert generate(model, prompt, 5).ids == generate(model, prompt, 5, rerank=True).ids


@families
def test_kernels_agree(name: str, loaded: Any) -> None:
    model, eager = loaded(name), loaded(name, attention="eager")
    stages = read_stages(SCHEDULE["himap"]["stages"])
    one, other = (
        generate(m, p, 3, [Pruning(m, stages, p, [0, 1, 2])]) for m in (model, eager) for p in [encode(m, ASKED)]
    )
    assert torch.allclose(one.first_logits, other.first_logits, atol=1e-4)


@families
def test_spans_come_from_the_ids(name: str, loaded: Any) -> None:
    model = loaded(name)
    prompt = encode(model, ASKED)
    for b, asked in enumerate(ASKED):
        groups = prompt.groups[b][prompt.groups[b] != PADDING].tolist()
        ids = model.tokenize(asked.prompt, [model.dims.tokens_per_image])
        first = ids.index(model.image_token_id)
        assert groups == (
            [SYSTEM] * first
            + [IMAGE] * model.dims.tokens_per_image
            + [INSTRUCTION] * (len(ids) - first - model.dims.tokens_per_image)
        )


@families
def test_each_layer_caches_what_it_kept(name: str, loaded: Any) -> None:
    model = loaded(name)
    prompt = encode(model, ASKED[:1])
    pruning = Pruning(model, read_stages(SCHEDULE["himap"]["stages"]), prompt, [0])
    cache = Cache()
    forward(model, prompt, cache, [pruning])
    text = prompt.positions.shape[1] - model.dims.tokens_per_image
    n = model.dims.tokens_per_image
    assert [cache.layers[layer].length - text for layer in range(4)] == [n, n // 2, n // 8, n // 8]


@families
def test_two_images_are_two_spans_of_one_group(name: str, loaded: Any) -> None:
    model = loaded(name)
    asked = Question("two", [picture(0), picture(1)], Prompt("What changed?"))
    prompt = encode(model, [asked])
    assert int((prompt.groups == IMAGE).sum()) == 2 * model.dims.tokens_per_image
    row = answer_batch(model, [asked], resolve("himap", model.dims, methods=SCHEDULE), max_new_tokens=2)[0]
    assert row["image_tokens"] == 2 * model.dims.tokens_per_image


@families
@pytest.mark.parametrize("block", ["pre", "post"])
def test_disruptions_run_and_equal_a_run_from_the_start(name: str, block: str, loaded: Any) -> None:
    model = loaded(name)
    prompt = encode(model, ASKED[:1])
    clean = run_undisturbed(model, prompt, 2)
    found = list(
        sweep(model, clean, [0, 2], ["img2txt", "img2img", "random"], ["single", "suffix"], block=block, seed=5)
    )
    assert len(found) == 2 * 3 * 2
    for outcome in found:
        cut = make_cut(outcome.flow, outcome.layer, outcome.extent, 4)
        whole = generate(model, prompt, 2, [Disruption([cut], prompt, [5], block)])
        assert torch.allclose(outcome.logits, whole.first_logits[0], atol=1e-4)
        assert outcome.ids == whole.ids[0]
    changed = [o for o in found if not torch.allclose(o.logits, clean.logits[0], atol=1e-3)]
    assert len(changed) >= len(found) - 2


@families
def test_saliency_is_that_of_autograd_through_the_whole_model(name: str, loaded: Any) -> None:
    """The layer-by-layer backward pass against one pass through all layers with every map at once."""
    model = loaded(name)
    prompt = encode(model, ASKED[:1])
    target = int(next_token_logits(model, forward(model, prompt, Cache())).argmax())
    found = saliency(model, prompt, target)
    maps, gradients = all_maps(model, prompt, target)
    groups = torch.stack([prompt.groups[0] == kind for kind in (SYSTEM, IMAGE, INSTRUCTION)]).float()
    for layer, (weights, gradient) in enumerate(zip(maps, gradients, strict=True)):
        product = weights[0] * gradient[0]  # [H, T, T]
        paper = groups @ product.sum(dim=0).abs() @ groups.T
        released = groups @ (weights[0] * product).abs().mean(dim=0) @ groups.T
        for definition, known in zip(DEFINITIONS, (paper, released), strict=True):
            assert torch.allclose(found.blocks[definition][layer], known, rtol=1e-3, atol=1e-7)
    assert float(found.block("paper", "instruction", "image").sum()) > 0


def all_maps(model: Any, prompt: Any, target: int) -> tuple[list[Any], Any]:
    """Post-softmax attention of every layer and the loss's gradient with respect to it, the plain way."""
    from himap.decoder.attention import attention_weights, visible
    from himap.decoder.loop import finish, project

    rotary, hidden, maps = model.rotary(prompt.hidden, prompt.positions), prompt.hidden, []
    with torch.enable_grad():
        for layer in model.layers:
            queries, keys, values = project(layer, layer.input_layernorm(hidden), rotary)
            seen = visible(prompt, prompt.positions, prompt.groups)
            weights = attention_weights(queries, keys, layer.self_attn.scaling, seen)
            if not weights.requires_grad:
                weights.requires_grad_()
            maps.append(weights)
            hidden = finish(layer, prompt.with_hidden(hidden), weights @ values)
        logits = next_token_logits(model, prompt.with_hidden(hidden))
        loss = torch.nn.functional.cross_entropy(logits, torch.tensor([target]))
        gradients = torch.autograd.grad(loss, maps)
    return [weights.detach() for weights in maps], gradients


@pytest.mark.parametrize("name", ["llava", "internvl", "qwen"])
def test_random_weights_are_another_model_of_the_same_shape(name: str, ready: Any) -> None:
    from himap.models.loading import load

    model = load(ready(name))
    prompt = encode(model, ASKED[:1])
    before = generate(model, prompt, 1).first_logits
    redraw_weights(model, seed=1)
    after = generate(model, encode(model, ASKED[:1]), 1).first_logits
    assert after.shape == before.shape
    assert torch.isfinite(after).all()
    assert not torch.allclose(after, before, atol=1e-2)


@families
@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_half_precision_runs(name: str, dtype: str, loaded: Any) -> None:
    model = loaded(name, dtype=dtype)
    rows = answer_batch(model, ASKED, resolve("himap", model.dims, methods=SCHEDULE), max_new_tokens=2)
    assert [row["image_tokens"] for row in rows] == [model.dims.tokens_per_image] * 3
    full = generate(loaded(name), encode(loaded(name), ASKED[:1]), 1).first_logits
    half = generate(model, encode(model, ASKED[:1]), 1).first_logits
    assert torch.nn.functional.cosine_similarity(full, half).item() > 0.98
