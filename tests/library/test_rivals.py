"""Methods of other papers: each keeps and merges what an independent reference does, in any batch, precision and number of pictures."""

from __future__ import annotations

import shutil
from dataclasses import replace

import numpy as np
import pytest
import rival_references as references
import torch
from himap.decoder.cache import Cache
from himap.decoder.generation import generate, next_token_logits
from himap.decoder.loop import Intervention, forward
from himap.decoder.tokens import IMAGE, INSTRUCTION
from himap.models.images import padded_share
from himap.models.text_tower import read_text_tower
from himap.pruning.criteria import dart, divprune, sparsevlm, visionzip, vispruner
from himap.pruning.intervention import Pruning
from himap.pruning.resolve import resolve
from himap.pruning.stage import Schedule, Stage, stage_problems
from PIL import Image
from tiny import SHAPES, _asked, oracle, prompt, question_of, tiny_model
from tiny_clip import write_clip

ENTRY = ("fastervlm", "vispruner", "visionzip", "divprune", "dpp", "cdpruner")  # before the decoder
INSIDE = ("dart", "pyramiddrop", "sparsevlm", "instruction_attention_reweighted")
MERGING = ("visionzip", "sparsevlm")
TOKENS, KEEP, LAYER = 36, 17, 3


@pytest.fixture(scope="module")
def clip(tmp_path_factory):
    """A CLIP on disk whose vision tower is as wide as the tiny model's."""
    return write_clip(tmp_path_factory.mktemp("clip"), width=64)


@pytest.fixture(scope="module")
def wide(clip):
    """A tiny model with enough image tokens for methods that keep 4 of one sort and 8 of another, and wider than it keeps tokens."""
    model = tiny_model("grouped", tokens_per_image=TOKENS, width=64)
    return replace(model, text_tower=read_text_tower(clip, width=64, device="cpu", dtype=torch.float32))


class Entering(Intervention):
    """Remembers the rows that enter each layer."""

    def __init__(self):
        self.rows = {}

    def choose(self, layer, rows, below):
        self.rows[layer] = rows


def layer_of(name):
    return 0 if name in ENTRY else LAYER


def run(model, rows, name, keep=KEEP):
    """Prefill under one stage; return logits, kept indices per sample, and the rows that entered the stage's layer."""
    renumber = name in ENTRY or name in MERGING
    pruning = Pruning(model, [Stage(layer_of(name), keep, name)], rows, [0] * len(rows.groups), renumber=renumber)
    entering = Entering()
    with torch.no_grad():
        logits = next_token_logits(model, forward(model, rows, Cache(), [pruning, entering]))
    return logits, pruning.kept[layer_of(name)], entering.rows[layer_of(name)]


def expected(model, shape, name, count, clip):
    """Return the indices that the reference keeps, and the hidden states of its new tokens."""
    rows = prompt(model, shape)
    image, text = ((rows.groups[0] == group).nonzero()[:, 0].tolist() for group in (IMAGE, INSTRUCTION))
    _, weights, entering = oracle(model, rows)
    embedded = rows.hidden[0].double().numpy()
    none = np.zeros((0, model.dims.width))
    if name in ("fastervlm", "vispruner", "visionzip", "cdpruner"):
        seen = references.seen_by_tower(model, _asked(model, **shape)[1])
        if name == "fastervlm":
            return sorted(references.best(list(seen.attention), count)), none
        if name == "cdpruner":
            weights = references.relevance(clip, seen.hidden, question_of(shape))
            return references.dpp(weights[:, None] * cosines_of(embedded[image]) * weights, count), none
        if name == "vispruner":
            return references.vispruner(seen.attention, seen.hidden, count), none
        kept, merged = references.visionzip(seen, count)
        made = torch.from_numpy(np.concatenate([seen.class_hidden, merged])).float()
        return kept, model.module.model.multi_modal_projector(made).double().numpy()
    if name == "divprune":
        return references.divprune(embedded[image], count), none
    if name == "dpp":
        return references.dpp(cosines_of(embedded[image]), count), none
    if name == "dart":
        keys = keys_below(model, rows)
        normed = model.norm(entering[LAYER]).double().numpy()
        return [image.index(c) for c in references.dart(keys, normed, image, text, count)], none
    if name == "pyramiddrop":
        return sorted(references.best(weights[LAYER][:, -1].mean(dim=0)[image].tolist(), count)), none
    below = weights[LAYER - 1].mean(dim=0)  # [T, T]
    if name == "instruction_attention_reweighted":
        decay = np.exp(-1.07 * np.arange(len(image)) / (len(image) - 1))
        scores = below[text].sum(dim=0)[image].numpy() * decay
        return sorted(references.best(scores.tolist(), count)), none
    asking = [text[index] for index in references.raters(embedded[image], embedded[text])]
    kept = {17: 16, 34: 32}[count]  # with the 1 or 2 that others are merged into, as many as are to go on
    scores = below[asking].mean(dim=0)[image].tolist()
    return references.sparsevlm(scores, entering[LAYER][image].double().numpy(), kept)


def cosines_of(states):
    """Return the cosine of every two vectors, exactly 1 on the diagonal."""
    unit = states / np.linalg.norm(states, axis=1, keepdims=True)
    likeness = unit @ unit.T
    np.fill_diagonal(likeness, 1.0)
    return likeness


def keys_below(model, rows):
    """Return the keys [H, T, d] of the layer below, with rotary positions, by transformers' own layer."""
    from transformers.models.llama.modeling_llama import apply_rotary_pos_emb

    layer, entering = model.layers[LAYER - 1], oracle(model, rows)[2][LAYER - 1]
    keys = layer.self_attn.k_proj(layer.input_layernorm(entering[None])).unflatten(-1, (model.dims.kv_heads, -1))
    cos, sin = model.rotary(rows.hidden, rows.positions)
    return apply_rotary_pos_emb(keys.transpose(1, 2), keys.transpose(1, 2), cos, sin)[1][0].double().numpy()


@pytest.mark.parametrize("images", [1, 2])
@pytest.mark.parametrize("name", ENTRY + INSIDE)
def test_a_rival_keeps_and_merges_what_its_reference_does_alone_and_in_a_padded_batch(wide, clip, name, images):
    shape = {"system": 5, "images": images, "instruction": 9, "seed": 11}
    kept, new = expected(wide, shape, name, KEEP * images, clip)
    alone = run(wide, prompt(wide, shape), name, KEEP * images)
    other = {"system": 2, "images": 2, "instruction": 14, "seed": 12}  # longer: the first one is padded
    together = run(wide, prompt(wide, shape, other), name, KEEP * images)
    for logits, chosen, rows in (alone, together):
        assert chosen[0] == kept
        made = rows.hidden[0][(rows.groups[0] == IMAGE) & (rows.image_index[0] < 0)]
        assert int((rows.groups[0] == IMAGE).sum()) == KEEP * images
        torch.testing.assert_close(made.double().numpy(), new, rtol=1e-4, atol=1e-4)
        torch.testing.assert_close(logits[0], alone[0][0], rtol=1e-4, atol=1e-4)


def test_new_tokens_of_visionzip_are_in_their_places(wide):
    """Each picture's class token comes before its patches, merged tokens after the last patch, text where it was."""
    _, _, rows = run(wide, prompt(wide, {"images": 2, "system": 3, "instruction": 4}), "visionzip", 34)
    groups = "".join(" sit"[group] for group in rows.groups[0].tolist())
    old = [int(index) for index in rows.image_index[0][rows.groups[0] == IMAGE]]
    first = groups.index("i")
    assert groups == "sss" + groups[first : first + groups.count("i") + 1] + "tttt"
    assert sum(index < 0 for index in old) == 2 + 5  # 2 class tokens; 5 merged are a sixth of 34
    assert old[0] == -1
    assert old[-5:] == 5 * [-1]
    between = groups[first:].index("t")
    assert old[between] == -1  # the second picture begins with its class token
    assert all(index < TOKENS for index in old[1:between])
    assert rows.positions[0].tolist() == list(range(len(groups)))


def test_stages_of_sparsevlm_keep_what_its_release_keeps_at_192_128_and_64_tokens():
    for kept, goes_on in [
        ((300, 200, 110), (309, 204, 113)),
        ((303, 110, 36), (312, 117, 39)),
        ((66, 30, 17), (82, 32, 18)),
    ]:
        before = (576, *goes_on[:2])
        shares = [sparsevlm.shares(left, count) for left, count in zip(before, goes_on, strict=True)]
        assert [keep for keep, _ in shares] == list(kept)
        assert [keep + merged for keep, merged in shares] == list(goes_on)
    assert [round(stage.keep * 576) for stage in resolve("sparsevlm", sizes_7b()).stages] == [309, 204, 113]


def sizes_7b():
    from himap.models.sizes import Dims

    return Dims(32, 4096, 32, 32, 128, 11008, 32064, 576)


def test_equal_scores_go_to_the_earlier_token_and_duplicates_are_never_taken_twice():
    alike = torch.ones(6, 4)
    assert divprune.farthest(1 - divprune.cosines(alike), 4).tolist() == [0, 1, 2, 3]
    assert vispruner.choose(torch.ones(6), alike, 4).tolist()[:2] == [0, 1]
    assert visionzip.split(torch.tensor([1.0, 2.0, 2.0, 2.0]), 2)[0].tolist() == [1, 2]
    targets, values = visionzip.merge(torch.eye(6, 4), alike, torch.arange(6), 2)
    assert targets.tolist() == [0, 3]
    assert values[1].tolist() == torch.eye(6, 4)[3].tolist()  # all others went to the first target
    columns, positions = torch.arange(3, 13), torch.arange(20)
    chosen = dart.choose(torch.ones(20, 4), columns, columns[:4], torch.tensor([14]), positions, 9)
    assert sorted(chosen.tolist()) == list(range(3, 12))


def test_an_odd_number_of_residual_tokens_is_no_error_in_vispruner():
    generator = torch.Generator().manual_seed(0)
    attention, features = torch.rand(35, generator=generator), torch.randn(35, 8, generator=generator)
    for count in range(1, 36):
        chosen = vispruner.choose(attention, features, count)
        assert sorted(set(chosen.tolist())) == sorted(chosen.tolist())
        assert len(chosen) == count
        if count > 1:
            assert sorted(chosen.tolist()) == references.vispruner(
                attention.double().numpy(), features.double().numpy(), count
            )


def test_beyond_the_rank_of_the_features_the_dpp_still_chooses_as_many_different_tokens():
    from himap.pruning.criteria.cdpruner import most_likely

    features = torch.randn(40, 3, generator=torch.Generator().manual_seed(0))
    chosen = most_likely(divprune.cosines(features), 20).tolist()
    assert len(set(chosen)) == 20


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_stays_finite(clip, dtype):
    model = tiny_model("grouped", dtype=dtype, tokens_per_image=TOKENS)
    model = replace(model, text_tower=read_text_tower(clip, width=64, device="cpu", dtype=dtype))
    rows = prompt(model, *SHAPES)
    for name in ENTRY + INSIDE:
        logits, kept, left = run(model, rows, name)
        assert bool(torch.isfinite(logits).all()), name
        assert [int((groups == IMAGE).sum()) for groups in left.groups] == [KEEP] * 3, name
        assert all(len(set(indices)) == len(indices) for indices in kept), name


# ---- positions


def test_what_is_left_before_the_decoder_is_answered_as_a_prompt_of_that_length(wide):
    """A schedule that renumbers gives exactly the answers of a prompt that never had the dropped tokens; one that keeps does not."""
    rows = prompt(wide, SHAPES[1])
    pruning = Pruning(wide, [Stage(0, 20, "divprune")], rows, [0], renumber=True)
    shorter = generate(wide, rows, 5, [pruning])
    stays = rows.groups[0] != IMAGE
    stays[torch.isin(rows.image_index[0], torch.tensor(pruning.kept[0][0]))] = True
    fresh = generate(wide, rows.select(stays[None]).renumbered(), 5)
    torch.testing.assert_close(shorter.first_logits, fresh.first_logits)
    assert shorter.ids == fresh.ids
    kept = generate(wide, rows, 5, [Pruning(wide, [Stage(0, 20, "divprune")], rows, [0])])
    assert float((kept.first_logits - fresh.first_logits).abs().max()) > 1e-2


def test_renumbering_in_the_middle_with_a_cache_is_renumbering_without_one(wide):
    rows = prompt(wide, *SHAPES)
    stages = [Stage(1, 0.5, "random"), Stage(3, 0.25, "random"), Stage(4, 0, "random")]
    with_cache, without = (
        generate(wide, rows, 5, [Pruning(wide, stages, rows, [1, 2, 3], renumber=True)], rerank=rerank)
        for rerank in (False, True)
    )
    assert with_cache.ids == without.ids
    kept = generate(wide, rows, 5, [Pruning(wide, stages, rows, [1, 2, 3])])
    assert float((kept.first_logits - with_cache.first_logits).abs().max()) > 1e-2


def test_dropping_all_image_tokens_leaves_text_at_its_positions(wide):
    rows = prompt(wide, *SHAPES)
    pruning = Pruning(wide, [Stage(2, 0, "spatial_uniform")], rows, [0, 0, 0])
    with torch.no_grad():
        left = forward(wide, rows, Cache(), [pruning])
    assert pruning.kept[2] == [[], [], []]
    for b in range(3):
        text = (rows.groups[b] > 0) & (rows.groups[b] != IMAGE)
        assert left.positions[b][left.groups[b] > 0].tolist() == rows.positions[b][text].tolist()


def test_a_merging_method_must_renumber_and_visionzips_stage_is_at_the_input(wide):
    with pytest.raises(ValueError, match="renumber=True"):
        Pruning(wide, [Stage(2, 0.5, "sparsevlm")], prompt(wide), [0])
    with pytest.raises(ValueError, match="positions: renumber"):
        Schedule((Stage(2, 0.5, "sparsevlm"),)).check(sizes_7b())
    problems = dict(stage_problems([{"layer": 2, "keep": 0.5, "criterion": "visionzip"}]))
    assert "layer 0" in problems["[0].criterion"]


# ---- padding


def test_padding_has_no_score_and_later_tokens_have_less(wide):
    rows = prompt(wide, SHAPES[0])
    rows.pictures.padding = [torch.tensor([0.4, *(TOKENS - 6) * [0.0], *5 * [0.6]])]
    _, kept, _ = run(wide, rows, "instruction_attention_reweighted", TOKENS - 5)
    assert kept[0] == list(range(TOKENS - 5))


def test_the_padded_share_of_a_cell_is_its_area_outside_of_the_picture():
    from himap.models.images import pad_to_square

    for size in ((96, 60), (60, 96), (96, 96), (97, 31)):
        side = max(size)
        square = pad_to_square(Image.new("RGB", size, (255, 255, 255)), (0, 0, 0)).getchannel(0)
        cells = np.asarray(square.resize((side * 4, side * 4), Image.Resampling.NEAREST), dtype=float) / 255
        rows = cells.reshape(4, side, 4, side).mean(axis=(1, 3))
        np.testing.assert_allclose(padded_share(size, (4, 4)), 1 - rows, atol=1e-6)


def test_a_model_without_a_view_of_its_tower_says_so(wide):
    blind = replace(wide, view_tower=None)
    rows = prompt(wide, SHAPES[0])
    from himap.models.tower import Pictures

    rows.pictures = Pictures([1], blind.view_tower, lambda: [])
    with pytest.raises(ValueError, match="no view of its vision tower"):
        run(blind, rows, "fastervlm")


# ---- the text tower


def test_another_question_keeps_other_tokens_and_equal_likeness_falls_back_to_the_unconditioned_choice(wide):
    from himap.pruning.criteria.cdpruner import relevance

    first, second = (prompt(wide, {"images": 1, "seed": 1}) for _ in range(2))
    second.pictures.questions = ["how many dogs?"]
    assert run(wide, first, "cdpruner")[1] != run(wide, second, "cdpruner")[1]
    assert relevance(torch.full((9,), 0.3)).tolist() == [1.0] * 9


def test_a_model_without_a_text_tower_says_what_to_load_or_choose(wide):
    rows = prompt(replace(wide, text_tower=None), SHAPES[0])
    with pytest.raises(ValueError, match=r"load it with `text_tower`.*choose `dpp`"):
        run(wide, rows, "cdpruner")


def test_a_clip_of_another_width_or_with_a_tensor_missing_is_refused(clip, tmp_path):
    from safetensors.torch import load_file, save_file

    with pytest.raises(ValueError, match="width 64, the model's has 32"):
        read_text_tower(clip, width=32, device="cpu", dtype=torch.float32)
    shutil.copytree(clip, tmp_path / "clip")
    weights = load_file(clip / "model.safetensors")
    weights.pop("text_projection.weight")
    save_file(weights, tmp_path / "clip" / "model.safetensors")
    with pytest.raises(ValueError, match=r"lacks 1 tensor: text_projection\.weight"):
        read_text_tower(tmp_path / "clip", width=64, device="cpu", dtype=torch.float32)
