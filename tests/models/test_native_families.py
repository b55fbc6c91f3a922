"""Families of transformers' own classes equal these classes, in all that the methods and analyses do with them."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import chat_families
import cross_families
import pytest
import torch
from chat_families import encoded, picture
from himap.costs.formulas import flops
from himap.decoder.bitmaps import from_bitmap
from himap.decoder.cache import Cache
from himap.decoder.generation import generate, run_again
from himap.decoder.layout import Layout
from himap.decoder.loop import Intervention, forward
from himap.decoder.tokens import FRAME, IMAGE, INSTRUCTION, PADDING, join_rows, new_rows
from himap.experiments import beginnings
from himap.experiments.answers import Asking, Question, answer_batch, answer_under_all, encode
from himap.experiments.counted_flops import prefill_flops
from himap.experiments.cut_runs import run_undisturbed, sweep
from himap.experiments.disruption import Cut, Disruption
from himap.experiments.patching import Patch, arrive_late, leave_early, resume, text_alone
from himap.experiments.reranking import Reranking
from himap.experiments.saliency import group_masks, saliency
from himap.models import families as family_names
from himap.models.loading import load
from himap.models.prompts import Prompt
from himap.models.sizes import checkpoint_dims, read_config
from himap.pruning import criteria
from himap.pruning.intervention import Pruning
from himap.pruning.resolve import resolve
from himap.pruning.stage import Schedule, Stage

FAMILIES = {**chat_families.FAMILIES, **cross_families.FAMILIES}
TEXT = "What is the water made of?\nAnswer with a word."
MASKS = {  # what transformers' layers call their masks, by whether they are layers of cross-attention
    True: ("image_attention_mask", "cross_attention_mask"),
    False: ("attention_mask",),
}
ASKED = {  # one picture, two pictures of other shapes, a short question
    "one": (TEXT, [picture(0)]),
    "two": ("Which is larger?", [picture(1), picture(2)]),
    "short": ("Why?", [picture(3)]),
}
each = pytest.mark.parametrize("name", FAMILIES)


@pytest.fixture(scope="session")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A folder with each family's tiny checkpoint, written at its first use."""
    base = tmp_path_factory.mktemp("chat")

    class Folders(dict[str, Path]):
        def __missing__(self, name: str) -> Path:
            FAMILIES[name].write(base / name)
            self[name] = base / name
            return self[name]

    return Folders()


@pytest.fixture(scope="session")
def pairs(folders: dict[str, Path]) -> dict[str, tuple[Any, Any]]:
    """By family: the model as this project loads it, and transformers' own class."""

    class Pairs(dict[str, tuple[Any, Any]]):
        def __missing__(self, name: str) -> tuple[Any, Any]:
            self[name] = load(folders[name]), FAMILIES[name].native(folders[name])
            return self[name]

    return Pairs()


def question(key: str) -> Question:
    text, images = ASKED[key]
    return Question(key, [encoded(image) for image in images], Prompt(text))


def native_inputs(name: str, folders: dict[str, Path], key: str) -> dict[str, Any]:
    return FAMILIES[name].inputs(folders[name], *ASKED[key])


@contextmanager
def hidden_pairs(native: Any, model: Any, pairs_of: dict[int, torch.Tensor]) -> Iterator[None]:
    """Take pairs [T, K] from the mask of chosen layers of transformers' class, for prompts of full length."""

    def hook(number: int) -> Any:
        def change(module: Any, arguments: Any, kwargs: dict[str, Any]) -> Any:
            name = next(name for name in MASKS[number in model.dims.cross] if name in kwargs)
            mask = kwargs[name].clone()
            mask[0, 0][pairs_of[number]] = torch.finfo(mask.dtype).min
            if module in silent:  # a cut row takes nothing, where transformers' softmax over nothing is even
                silent[module] = (mask[:, 0] < 0).all(dim=-1)
            if "cross_attention_gate" in kwargs:  # closed for a row that sees no picture
                kwargs = {**kwargs, "cross_attention_gate": (mask[:, 0] == 0).any(dim=-1).float()}
            return arguments, {**kwargs, name: mask}

        return change

    def silence(layer: Any) -> Any:
        def change(module: Any, arguments: Any, output: Any) -> Any:
            return output[0].masked_fill(silent[layer][..., None], 0.0), *output[1:]

        return change

    layers = native_layers(native)
    silent: dict[Any, Any] = {layers[number]: None for number in pairs_of if hasattr(layers[number], "cross_attn")}
    handles = [layers[number].register_forward_pre_hook(hook(number), with_kwargs=True) for number in pairs_of]
    handles += [layer.cross_attn.register_forward_hook(silence(layer)) for layer in silent]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def text_decoder(native: Any) -> Any:
    if hasattr(native, "language_model"):
        return native.language_model.model
    if hasattr(native.model, "gated_cross_attn_layers"):
        return native.model
    return native.model.text_model if hasattr(native.model, "text_model") else native.model.language_model


def native_layers(native: Any) -> list[Any]:
    """All layers of transformers' class in the order in which they run."""
    decoder = text_decoder(native)
    gated = iter(getattr(decoder, "gated_cross_attn_layers", ()))
    every = getattr(decoder, "cross_layer_interval", len(decoder.layers) + 1)
    before = [
        [next(gated)] if every <= len(decoder.layers) and n % every == 0 else [] for n in range(len(decoder.layers))
    ]
    return [layer for n, own in enumerate(decoder.layers) for layer in (*before[n], own)]


def keys_of(model: Any, layer: int, prompt: Any) -> Any:
    """The tokens that a layer looks at: rows of the prompt, or the picture tokens beside them."""
    return prompt.memory if layer in model.dims.cross else prompt


def cut_pairs(model: Any, layer: int, prompt: Any, receiver: int) -> torch.Tensor:
    """All pairs [T, K] of rows of a group and image tokens in one layer."""
    return (prompt.groups[0] == receiver)[:, None] & (keys_of(model, layer, prompt).groups[0] == IMAGE)[None, :]


def last_logits(native: Any, inputs: dict[str, Any]) -> torch.Tensor:
    with torch.no_grad():
        return native(**inputs).logits[:, -1]


def dropped_pairs(model: Any, layer: int, prompt: Any, kept: list[int]) -> torch.Tensor:
    """Pairs [T, K] of all rows and the image tokens that are not kept, in one layer."""
    index = keys_of(model, layer, prompt).image_index[0]
    gone = ((index >= 0) & ~torch.isin(index, torch.tensor(kept)))[None, :].repeat(prompt.groups.shape[1], 1)
    # A row of the sequence that sees nothing would be NaN.
    return gone if layer in model.dims.cross else gone & ~torch.eye(len(gone), dtype=torch.bool)


@each
def test_logits_are_those_of_the_native_class(name: str, folders: dict[str, Path], pairs: dict[str, Any]) -> None:
    model, native = pairs[name]
    together = generate(model, encode(model, [question(key) for key in ASKED]), 1).first_logits  # a padded batch
    for key, padded in zip(ASKED, together, strict=True):
        inputs = native_inputs(name, folders, key)
        prompt = encode(model, [question(key)])
        ids = inputs["input_ids"][0].tolist()
        layouts = list(prompt.layouts[0])
        assert model.tokenize(Prompt(ASKED[key][0]), layouts) == ids
        with torch.no_grad():
            expected = native(**inputs).logits[0]
            ours = model.head(model.norm(forward(model, prompt, Cache()).hidden))[0]
        assert ours.std() > 0.3
        assert torch.allclose(ours, expected, atol=1e-4)
        assert torch.allclose(padded, expected[-1], atol=1e-4)


@each
def test_greedy_answers_are_those_of_the_native_class(
    name: str, folders: dict[str, Path], pairs: dict[str, Any]
) -> None:
    model, native = pairs[name]
    rows = answer_batch(model, [question(key) for key in ASKED], Schedule(), max_new_tokens=6)
    for key, row in zip(ASKED, rows, strict=True):
        inputs = native_inputs(name, folders, key)
        length = inputs["input_ids"].shape[1]
        expected = native.generate(**inputs, max_new_tokens=6, do_sample=False)[0, length:].tolist()
        assert row["prediction"] == model.detokenize(expected)
        assert row["prompt_tokens"] == length + (row["image_tokens"] if model.dims.cross else 0)
        assert generate(model, encode(model, [question(key)]), 6).ids[0] == expected
        assert generate(model, encode(model, [question(key)]), 6, rerank=True).ids[0] == expected


@each
def test_a_batch_is_its_samples_one_by_one_under_every_criterion(name: str, pairs: dict[str, Any]) -> None:
    model, _ = pairs[name]
    asked = [question(key) for key in ASKED]
    for criterion in criteria.names():
        merges, needs_tower = criteria.get(criterion).merges, criteria.get(criterion).needs_tower
        first, second = model.dims.cross[1:3] or (1, 2)
        stages = (Stage(first, 0.5, criterion), Stage(second, 0.25, criterion))
        schedule = Schedule(stages, positions="renumber" if merges else "keep")
        beside = model.dims.cross and (merges or criteria.get(criterion).in_sequence)
        if needs_tower or (merges and model.axes > 1) or beside:
            with pytest.raises(
                ValueError, match=r"no view of its vision tower|no text tower|rows and columns|by cross-attention"
            ):
                answer_batch(model, asked, schedule, max_new_tokens=2)
            continue
        if criterion == "image_attention_rows" and model.family == "instructblip":
            continue  # nothing comes before the picture, so that every image token gives all its attention to image tokens
        together = answer_batch(model, asked, schedule, max_new_tokens=2, seed=3)
        alone = [answer_batch(model, [one], schedule, max_new_tokens=2, seed=3)[0] for one in asked]
        assert together == alone, criterion
        for row in [] if merges else together:
            shares = [len(from_bitmap(kept)) / row["image_tokens"] for kept in row["kept"]]
            assert shares == pytest.approx([0.5, 0.25], abs=0.51 / row["image_tokens"])
            layouts = [Layout.from_json(layout) for layout in row["layouts"]]
            assert sum(map(int, layouts)) == row["image_tokens"]


@each
def test_questions_about_one_picture_share_its_rows_and_are_answered_as_alone(name: str, pairs: dict[str, Any]) -> None:
    model, _ = pairs[name]
    words = ("Why?", TEXT, "Is it the same, or is it another one?")
    asked = [replace(question("one"), sample_id=text, prompt=Prompt(text)) for text in words]
    # their pictures are not among the rows, or the query former has read the question too
    apart = bool(model.dims.cross) or model.add_question is not None
    assert (beginnings.find(encode(model, asked)) is None) == apart
    first, second = model.dims.cross[1:3] or (1, 2)
    schedules = [
        Schedule((), "unpruned"),
        Schedule(
            (Stage(first, 0.5, "instruction_attention"), Stage(second, 0.25, "last_token_attention")), "two stages"
        ),
        Schedule((Stage(second, 0.5, "random"),), "later"),
        Schedule((Stage(0, 0.5, "embedding_norm"),), "at once"),
    ]
    made = answer_under_all(model, asked, [Asking(schedules, 3)], lambda *_: True)
    together = {schedule.name: rows for schedule, rows in made}
    for schedule in schedules:
        alone = [answer_batch(model, [one], schedule, max_new_tokens=3)[0] for one in asked]
        assert together[schedule.name] == alone, schedule.name


def test_a_merged_token_sees_the_image_tokens_around_it_both_ways(pairs: dict[str, Any]) -> None:
    model, _ = pairs["gemma3"]
    prompt = encode(model, [question("one"), question("two")])
    pruning = Pruning(model, [Stage(1, 0.5, "sparsevlm")], prompt, [0, 0], renumber=True)
    with torch.no_grad():
        left = forward(model, prompt, Cache(), [pruning])
    assert left.run is not None
    merged = (left.groups == IMAGE) & (left.image_index < 0)
    assert bool(merged.any(dim=1).all())
    for runs, is_merged, is_image in zip(left.run, merged, left.groups == IMAGE, strict=True):
        assert int(runs[is_image].min()) >= 0
        assert set(runs[is_merged].tolist()) == {int(runs.max())}  # after the last picture's own


@each
@pytest.mark.parametrize("key", ["one", "two"])
def test_dropping_tokens_is_masking_them_in_the_native_class(
    name: str, key: str, folders: dict[str, Path], pairs: dict[str, Any]
) -> None:
    model, native = pairs[name]
    inputs, prompt = native_inputs(name, folders, key), encode(model, [question(key)])
    full = last_logits(native, inputs)
    for layer in range(1, 4):
        pruning = Pruning(model, [Stage(layer, 0.5, "random")], prompt, [layer])
        ours = generate(model, prompt, 1, [pruning]).first_logits
        numbers = range(layer, len(model.layers))
        gone = {number: dropped_pairs(model, number, prompt, pruning.kept[layer][0]) for number in numbers}
        with hidden_pairs(native, model, gone):
            masked = last_logits(native, inputs)
        assert torch.allclose(ours, masked, atol=1e-4)
        assert (masked - full).abs().max() > 0.01


@each
def test_saliency_is_that_of_the_native_maps(name: str, folders: dict[str, Path], pairs: dict[str, Any]) -> None:
    model, native = pairs[name]
    prompt, inputs = encode(model, [question("two")]), native_inputs(name, folders, "two")
    maps: list[torch.Tensor] = []

    def keep(module: Any, arguments: Any, output: Any) -> None:
        output[1].retain_grad()
        maps.append(output[1])

    attentions = [
        layer.cross_attn if hasattr(layer, "cross_attn") else layer.self_attn for layer in native_layers(native)
    ]
    handles = [attention.register_forward_hook(keep) for attention in attentions]
    try:
        logits = native(**inputs).logits[:, -1]
        target = int(logits.argmax())
        torch.nn.functional.cross_entropy(logits, torch.tensor([target])).backward()
    finally:
        for handle in handles:
            handle.remove()
        native.zero_grad()
    computed = saliency(model, prompt, target)
    groups = group_masks(prompt)
    for layer, weights in enumerate(maps):
        given = group_masks(keys_of(model, layer, prompt)).T
        assert weights.grad is not None
        product = (weights * weights.grad)[0].detach()
        paper = groups @ product.sum(dim=0).abs() @ given
        released = groups @ (weights[0].detach() * product).abs().mean(dim=0) @ given
        assert torch.allclose(computed.blocks["paper"][layer], paper, rtol=1e-3, atol=1e-6)
        assert torch.allclose(computed.blocks["released"][layer], released, rtol=1e-3, atol=1e-6)
    assert float(computed.block("paper", "instruction", "image").sum()) > 0


@each
def test_disruption_is_that_of_a_masked_native_class(
    name: str, folders: dict[str, Path], pairs: dict[str, Any]
) -> None:
    model, native = pairs[name]
    prompt, inputs = encode(model, [question("two")]), native_inputs(name, folders, "two")
    receivers = {"img2txt": INSTRUCTION, "img2img": IMAGE}
    if name in cross_families.FAMILIES:  # nothing flows there, or rows would be left with nothing to see
        del receivers["img2img"]
    clean = run_undisturbed(model, prompt, 2)
    layers = model.dims.cross[:2] or (0, 2)
    for outcome in sweep(model, clean, layers, list(receivers), ["single", "suffix"], new_tokens=1):
        last = len(model.layers) - 1 if outcome.extent == "suffix" else outcome.layer
        numbers = range(outcome.layer, last + 1)
        pairs_of = {number: cut_pairs(model, number, prompt, receivers[outcome.flow]) for number in numbers}
        with hidden_pairs(native, model, pairs_of):
            expected = last_logits(native, inputs)
        assert torch.allclose(outcome.logits, expected[0], atol=1e-4)
        assert not torch.allclose(outcome.logits, clean.logits[0], atol=1e-3)


@each
def test_all_rows_of_another_picture_make_its_run_and_a_picture_that_leaves_at_once_was_never_there(
    name: str, pairs: dict[str, Any]
) -> None:
    model, _ = pairs[name]
    (image,) = ASKED["one"][1]
    turned = Question("turned", [encoded(image.point(lambda value: 255 - value))], question("one").prompt)
    runs = [run_undisturbed(model, encode(model, [asked]), 2) for asked in (question("one"), turned)]
    clean, donor = runs
    assert not torch.allclose(clean.logits, donor.logits, atol=1e-3)
    swapped = resume(model, clean, Patch(0, donor.entering[0], IMAGE), 2)
    assert torch.allclose(swapped.logits, donor.logits[0], atol=1e-4)
    assert swapped.ids == donor.ids
    text = text_alone(model, clean.prompt, 2)
    gone = leave_early(model, clean, 0, 2)
    assert torch.allclose(gone.logits, text.logits[0], atol=1e-4)
    assert gone.ids == text.ids


@each
def test_a_late_picture_and_an_early_one_are_those_of_the_native_class(
    name: str, folders: dict[str, Path], pairs: dict[str, Any]
) -> None:
    """Late: only the instruction's rows, marks around pictures not among them, come from a run that never saw the picture."""
    model, native = pairs[name]
    prompt, inputs = encode(model, [question("one")]), native_inputs(name, folders, "one")
    clean, text = run_undisturbed(model, prompt, 2), text_alone(model, prompt, 2)
    for layer in (1, len(model.layers) // 2):
        numbers = range(len(model.layers))
        unseen = {number: dropped_pairs(model, number, prompt, []) for number in numbers}
        with hidden_pairs(native, model, unseen):
            states = entering(native, layer, inputs)
        with replaced_rows(native, layer, prompt.groups[0] == INSTRUCTION, states):
            late = last_logits(native, inputs)
        with hidden_pairs(native, model, {number: unseen[number] for number in numbers[layer:]}):
            early = last_logits(native, inputs)
        assert torch.allclose(arrive_late(model, clean, text, layer, 2).logits, late, atol=1e-4)
        assert torch.allclose(leave_early(model, clean, layer, 2).logits, early, atol=1e-4)
        assert not torch.allclose(late, early, atol=1e-3)


def entering(native: Any, layer: int, inputs: dict[str, Any]) -> torch.Tensor:
    """The states [T, D] that enter a layer of transformers' class."""
    seen: list[torch.Tensor] = []
    handle = native_layers(native)[layer].register_forward_pre_hook(
        lambda _, arguments, kwargs: seen.append(arguments[0] if arguments else kwargs["hidden_states"]),
        with_kwargs=True,
    )
    last_logits(native, inputs)
    handle.remove()
    return seen[0][0]


@contextmanager
def replaced_rows(native: Any, layer: int, rows: torch.Tensor, states: torch.Tensor) -> Iterator[None]:
    """Let other states [T, D] enter a layer of transformers' class at some rows [T]."""

    def change(module: Any, arguments: Any, kwargs: dict[str, Any]) -> Any:
        hidden = (arguments[0] if arguments else kwargs["hidden_states"]).clone()
        hidden[0, rows] = states[rows]
        if arguments:
            return (hidden, *arguments[1:]), kwargs
        return arguments, {**kwargs, "hidden_states": hidden}

    handle = native_layers(native)[layer].register_forward_pre_hook(change, with_kwargs=True)
    try:
        yield
    finally:
        handle.remove()


@pytest.mark.parametrize("name", ["llava_next", "llava_next-mistral"])
def test_without_marks_around_pictures_late_and_early_are_what_cuts_of_all_layers_below_or_above_give(
    name: str, pairs: dict[str, Any]
) -> None:
    model, _ = pairs[name]
    prompt = encode(model, [question("one")])
    clean, text = run_undisturbed(model, prompt, 2), text_alone(model, prompt, 2)
    for layer in (1, len(model.layers) // 2):
        cuts = {outcome.extent: outcome for outcome in sweep(model, clean, [layer], ["img2txt"], ["prefix", "suffix"])}
        late, early = arrive_late(model, clean, text, layer, 2), leave_early(model, clean, layer, 2)
        assert torch.allclose(late.logits, cuts["prefix"].logits, atol=1e-4)
        assert torch.allclose(early.logits, cuts["suffix"].logits, atol=1e-4)
        assert (late.ids, early.ids) == (cuts["prefix"].ids, cuts["suffix"].ids)
        assert not torch.allclose(late.logits, early.logits, atol=1e-3)


@each
def test_counted_operations_are_those_of_the_formula(name: str, pairs: dict[str, Any]) -> None:
    model, _ = pairs[name]
    prompt = encode(model, [question("one")])
    image, text, padding = prompt.counts()
    head = 2 * model.dims.width * model.dims.vocab
    for stages in ((), (Stage(2, 0.5, "random"),)):
        formula = flops(model.dims, stages, "prompt", n_image=image, n_text=text, n_padding=padding) + head
        assert prefill_flops(model, prompt, stages) == pytest.approx(formula)


@each
def test_the_last_column_leaves_the_last_layer_alone_as_with_all_others(name: str, pairs: dict[str, Any]) -> None:
    model, _ = pairs[name]
    prompt, layers = encode(model, [question("one"), question("two")]), len(model.layers)
    cut, stage = Cut("img2txt", 0, layers - 1), model.dims.cross[1] if model.dims.cross else layers - 1
    watching: dict[str, Callable[[], Intervention]] = {
        "nothing": Intervention,
        "pruned": lambda: Pruning(model, [Stage(stage, 0.5, "instruction_attention")], prompt, [0, 0]),
        "before": lambda: Disruption([cut, cut], prompt, [0, 0], "pre"),
        "after": lambda: Disruption([cut, cut], prompt, [0, 0], "post"),
        # whoever asks for the last layer's attention gets all rows
        "wanted": lambda: beginnings.Watch([layers], lambda _: True),
    }
    for case, watch in watching.items():
        for stop in (layers, 2):
            full, short = Cache(4), Cache(4)
            with torch.no_grad():
                every = forward(model, prompt, full, [watch()], stop=stop)
                last = forward(model, prompt, short, [watch()], stop=stop, last_column=True)
            is_all = any(map(watch().wants_attention, model.stages_above(stop - 1)))
            assert is_all or case != "wanted" or stop < layers or model.dims.cross
            assert last.hidden.shape[1] == (every.hidden.shape[1] if is_all else 1), case
            assert torch.allclose(last.hidden[:, -1], every.hidden[:, -1], atol=1e-5), case
            assert last.positions[:, -1].tolist() == every.positions[:, -1].tolist()
            for layer, entry in full.layers.items():
                for one, other in zip(entry.view(), short.layers[layer].view(), strict=True):
                    # columns of padding see what no one looks at
                    is_real = entry.view()[3] != PADDING
                    one, other = (part.transpose(1, 2) if part.ndim == 4 else part for part in (one, other))
                    assert torch.allclose(one[is_real].float(), other[is_real].float(), atol=1e-5), case


@each
@pytest.mark.parametrize("names", [("instruction_attention", "last_token_attention"), ("random", "pyramiddrop")])
def test_ranking_again_from_the_first_stage_on_is_running_everything_again(
    name: str, names: tuple[str, str], pairs: dict[str, Any]
) -> None:
    model, _ = pairs[name]
    text, reranking = encode(model, [question("one"), question("two")]), Reranking()
    first, second = model.dims.cross[1:3] or (1, 2)
    pruning = Pruning(model, [Stage(first, 0.5, names[0]), Stage(second, 0.25, names[1])], text, [0, 1])
    with torch.no_grad():
        for step in range(5):
            newest = model.embed_tokens(torch.tensor([[5 + step], [6]])[-len(text.groups) :])
            text = join_rows(text, new_rows(newest, text.positions[:, -1:] + 1, text))
            if step == 3:  # one answer has ended, the other goes on
                text, pruning = text.of([1]), pruning.of([1])
            expected = run_again(model, text, [pruning]).hidden[:, -1]
            assert torch.allclose(reranking(model, text, [pruning]).hidden[:, -1], expected, atol=1e-5), step
    if not model.dims.cross:
        assert reranking.entering[first][0].positions.shape == text.positions.shape


@each
def test_groups_follow_the_prompt(name: str, pairs: dict[str, Any]) -> None:
    """What lies inside a picture or frames it is no instruction: only the question and the template's end are."""
    model, _ = pairs[name]
    prompt = encode(model, [question("two")])
    ids = torch.tensor(model.tokenize(Prompt(ASKED["two"][0]), list(prompt.layouts[0])))
    groups = prompt.groups[0]
    assert int((prompt.joined().groups == IMAGE).sum()) == sum(map(int, prompt.layouts[0]))
    asked = model.detokenize(ids[groups == INSTRUCTION].tolist())
    assert asked.replace("\n", "").startswith(ASKED["two"][0])
    marks = {model.image_token_id, *model.frame_ids}
    assert not marks & set(ids[groups == INSTRUCTION].tolist())
    framed = model.image_token_id in ids[groups == FRAME].tolist()
    assert framed == bool(model.dims.cross)  # a picture's mark is an ordinary row where its tokens are none


@each
def test_marks_in_a_question_are_plain_text(name: str, folders: dict[str, Path], pairs: dict[str, Any]) -> None:
    from transformers import AutoTokenizer

    model, _ = pairs[name]
    layouts = list(encode(model, [question("one")]).layouts[0])
    words = AutoTokenizer.from_pretrained(folders[name])
    marks = words.convert_ids_to_tokens([model.image_token_id, *model.end_ids, *model.frame_ids])
    plain = model.tokenize(Prompt("x"), layouts)
    forged = model.tokenize(Prompt(f"x{''.join(marks)}"), layouts)
    special = {model.image_token_id, *model.end_ids, *model.frame_ids}
    assert [token for token in forged if token in special] == [token for token in plain if token in special]


@each
def test_a_smaller_picture_has_about_the_share_of_tokens(name: str, pairs: dict[str, Any]) -> None:
    model, _ = pairs[name]
    schedule = resolve(
        "downsample", model.dims, methods={"himap": {"stages": [{"layer": 1, "keep": 0.3, "criterion": "random"}]}}
    )
    asked = [Question("large", [encoded(picture(0, (120, 90)))], Prompt(TEXT))]
    if model.family in cross_families.FAMILIES:
        with pytest.raises(ValueError, match="`downsample` cannot be used with it"):
            answer_batch(model, asked, schedule, max_new_tokens=1)
        return
    before, after = (answer_batch(model, asked, s, max_new_tokens=1)[0] for s in (Schedule(), schedule))
    assert after["image_tokens"] < 0.75 * before["image_tokens"]
    assert after["prompt_tokens"] - after["image_tokens"] <= before["prompt_tokens"] - before["image_tokens"]


@each
def test_matched_methods_drop_shares_where_pictures_differ(name: str, pairs: dict[str, Any]) -> None:
    model, _ = pairs[name]
    base = {
        "himap": {
            "stages": [
                {"layer": 0.25, "keep": 0.5, "criterion": "random"},
                {"layer": 0.5, "keep": 0.25, "criterion": "random"},
            ]
        }
    }
    quarter, half = {4: (1, 2), 6: (2, 3), 9: (2, 5)}[len(model.layers)]
    assert [stage.layer for stage in resolve("himap", model.dims, methods=base).stages] == [quarter, half]
    for method in ("uniform", "encoder_output"):
        schedule = resolve(method, model.dims, methods=base)
        assert all(isinstance(stage.keep, float if model.dims.varies else int) for stage in schedule.stages)
        row = answer_batch(model, [question("short")], schedule, max_new_tokens=1)[0]
        kept = [set(from_bitmap(bitmap)) for bitmap in row["kept"]]
        assert all(later <= earlier for earlier, later in itertools.pairwise(kept))


@each
def test_sizes_follow_from_the_config_alone(name: str, folders: dict[str, Path], pairs: dict[str, Any]) -> None:
    model, _ = pairs[name]
    assert checkpoint_dims(read_config(folders[name])) == model.dims
    assert model.family == name.split("-")[0]
    assert model.family in family_names.OWN_SHAPE
    assert (model.family in family_names.CHAT_TEMPLATE) == (folders[name] / "chat_template.jinja").is_file()
    assert (model.family in family_names.CROSS) == bool(model.dims.cross)
    assert (model.family in family_names.VARYING) == model.dims.varies


@each
def test_incomplete_and_foreign_weights_are_refused(name: str, folders: dict[str, Path], tmp_path: Path) -> None:
    import shutil

    from safetensors.torch import load_file, save_file

    copy = tmp_path / name
    shutil.copytree(folders[name], copy)
    weights = load_file(copy / "model.safetensors")
    victim = sorted(key for key in weights if "layers.1." in key and "q_proj" in key)[0]
    save_file(
        {key: value for key, value in weights.items() if key != victim}, copy / "model.safetensors", {"format": "pt"}
    )
    with pytest.raises(ValueError, match="lacks 1 tensor"):
        load(copy)
    save_file(
        {**weights, "language_model.strange.weight": weights[victim].clone()},
        copy / "model.safetensors",
        {"format": "pt"},
    )
    with pytest.raises(ValueError, match="does not have"):
        load(copy)
    (copy / "model.safetensors").unlink()
    torch.save({}, copy / "pytorch_model.bin")
    with pytest.raises(ValueError, match="no weights here"):
        load(copy)


@pytest.mark.parametrize(
    ("template", "reason"),
    [
        ("{% for a in range(99999) %}{{ messages[0]['content'][0]['type'] * 99 }}{% endfor %}", "more than"),
        ("{{ messages.__class__.__mro__ }}", "cannot be rendered|picture marks"),
        ("a template without a place for the question", "picture marks"),
        ("{% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}{% endfor %}", "ran for more than"),
    ],
)
def test_a_hostile_template_is_refused(
    template: str, reason: str, folders: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import threading

    from himap.models import chat
    from transformers import AutoTokenizer

    monkeypatch.setattr(chat, "SECONDS", 1.0)
    (tmp_path / "chat_template.jinja").write_text(template)
    text = AutoTokenizer.from_pretrained(folders["smolvlm"])
    asked = chat.Chat(tmp_path, text, 0, "<image>", lambda layout: "")
    with pytest.raises(ValueError, match=reason):
        asked.frame(1)
    assert threading.active_count() < 10
