"""Answers of a model under a schedule, in batches: what the evaluation job and a notebook share.

    rows = answer_all(model, questions, resolve("himap", model.dims), max_new_tokens=16)

A row depends on its question alone: not on the batch, its size or the order, so that a run may be cut into parts,
resumed, and repeated on another device.
"""

from __future__ import annotations

import hashlib
import io
import sys
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING, TypedDict

import torch
from torch import Tensor

from himap.decoder.bitmaps import to_bitmap
from himap.decoder.cache import STEP, Cache, LayerCache
from himap.decoder.generation import continue_greedily, next_token_logits
from himap.decoder.loop import Intervention, forward
from himap.decoder.tokens import IMAGE, Rows, new_rows
from himap.models.images import padded_share
from himap.models.tower import Pictures, Tower
from himap.pruning.intervention import Pruning
from himap.pruning.stage import Schedule

if TYPE_CHECKING:
    from PIL.Image import Image

    from himap.models.model import Model
    from himap.models.prompts import Prompt

CPU_BATCH = 16  # larger batches gain nothing on a processor
FIRST_CUDA_BATCH = 8  # `auto` starts here and doubles


@dataclass(frozen=True)
class Question:
    """One sample as a model is asked it."""

    sample_id: str
    images: Sequence[bytes]
    prompt: Prompt
    benchmark: str = ""
    image_mode: str | None = None  # how its pictures become squares, if the model does not decide

    @property
    def where(self) -> str:
        """Return how messages name the question."""
        return f"sample {self.sample_id!r}" + (f" of benchmark {self.benchmark}" if self.benchmark else "")


class AnswerRow(TypedDict):
    """A line of an evaluation's result file."""

    sample_id: str
    prediction: str
    prompt_tokens: int  # image tokens included, before any is dropped
    image_tokens: int
    generated_tokens: int  # the end token included
    kept: list[str]  # per stage: a bitmap of the image tokens that stayed


def open_image(data: bytes, where: str) -> Image:
    """Decode an image's bytes; raise ValueError that names a broken or oversized one."""
    from PIL import Image, UnidentifiedImageError

    from himap.benchmarks.samples.images import MAX_PIXELS

    try:
        image = Image.open(io.BytesIO(data))
        if image.width * image.height > MAX_PIXELS:
            raise OSError(f"{image.width} x {image.height} pixels, more than the {MAX_PIXELS} that are accepted")
        image.load()  # decodes here, where an error can still name the sample
    except (UnidentifiedImageError, OSError, Image.DecompressionBombError) as error:
        raise ValueError(f"{where}: the image cannot be read ({error}); make the sample file again") from error
    return image


def sample_seed(seed: int, sample_id: str) -> int:
    """Return the sample's own seed, so that what is drawn does not depend on batches or order."""
    # not hash(), which differs from process to process; 7 bytes fit a generator's signed 64 bits
    digest = hashlib.sha256(f"{seed}/{sample_id}".encode()).digest()
    return int.from_bytes(digest[:7], "big")


def prompt_ids(model: Model, question: Question, tokens_per_image: int) -> list[int]:
    """Return the ids of a question's prompt; raise ValueError that names the sample if they do not fit its images."""
    try:
        ids = model.tokenize(question.prompt, [tokens_per_image] * len(question.images))
    except (ValueError, TypeError, KeyError) as error:  # lone surrogates, for instance, are a TypeError
        raise ValueError(f"{question.where}: its text cannot be tokenized ({error}); correct or remove it") from error
    marks, expected = ids.count(model.image_token_id), tokens_per_image * len(question.images)
    if marks not in (expected, len(question.images)):
        raise ValueError(
            f"{question.where}: its prompt has {marks} image tokens where its images have {expected}; "
            "the tokenizer takes a part of its text for an image: correct or remove the sample"
        )
    return ids


def pixels_of(model: Model, question: Question, grid: Sequence[int] | None = None) -> Tensor:
    """Return the pixels [images, 3, H, W] of a question's pictures."""
    if not question.images:
        raise ValueError(f"{question.where} has no image")
    pictures = [open_image(data, question.where) for data in question.images]
    return model.preprocess(pictures, grid=grid, mode=question.image_mode)


@torch.no_grad()
def encode(model: Model, questions: Sequence[Question], grid: Sequence[int] | None = None) -> Rows:
    """Embed the prompts and pictures of a batch; the vision tower runs once for all pictures."""
    pixels = torch.cat([pixels_of(model, question, grid) for question in questions])  # [N, 3, H, W]
    features = model.encode_images(pixels.to(model.device))  # [N, n, D]
    counts = [len(question.images) for question in questions]
    ids = [prompt_ids(model, q, features.shape[1]) for q in questions]
    rows = model.embed(ids, list(features.split(counts)))
    rows.pictures = pictures_of(model, questions, pixels, grid)
    return rows


def pictures_of(
    model: Model,
    questions: Sequence[Question],
    pixels: Tensor,
    grid: Sequence[int] | None = None,
    *,
    tower: Tower | None = None,
) -> Pictures:
    """Return what criteria may ask about the pictures of some questions; nothing is computed yet but a `tower` that is given."""
    view = model.view_tower
    look = None if view is None else lambda: tower or view(pixels.to(model.device))
    cells = model.dims.grid if grid is None else (grid[0], grid[1])

    def padding() -> list[Tensor]:
        return [
            torch.cat([_padding(model, question, data, cells) for data in question.images]) for question in questions
        ]

    return Pictures([len(question.images) for question in questions], look, padding)


def _padding(model: Model, question: Question, data: bytes, cells: tuple[int, int]) -> Tensor:
    """Return the share of padding in each image token [n] of one picture."""
    if not model.pads(question.image_mode):
        return torch.zeros(cells[0] * cells[1])
    share = padded_share(open_image(data, question.where).size, cells)
    return torch.from_numpy(share).float().flatten()


@torch.no_grad()
def answer_batch(
    model: Model,
    questions: Sequence[Question],
    schedule: Schedule,
    *,
    max_new_tokens: int,
    min_new_tokens: int = 0,
    seed: int = 0,
) -> list[AnswerRow]:
    """Return one row per question: the answer, the token counts, and which image tokens each stage kept."""
    prompt = encode(model, questions, schedule.image_grid)
    seeds = [sample_seed(seed, question.sample_id) for question in questions]
    pruning = Pruning(model, schedule.stages, prompt, seeds, renumber=schedule.renumbers)
    cache = Cache(reserve=min(max_new_tokens, STEP))
    logits = next_token_logits(model, forward(model, prompt, cache, [pruning]))  # [B, vocabulary]
    answers = conclude(
        model,
        questions,
        prompt,
        cache,
        logits,
        pruning,
        max_new_tokens=max_new_tokens,
        min_new_tokens=min_new_tokens,
        rerank=schedule.rerank,
    )
    totals = (prompt.positions >= 0).sum(dim=1).tolist()
    image_tokens = (prompt.groups == IMAGE).sum(dim=1).tolist()
    return [
        {
            "sample_id": question.sample_id,
            "prediction": answers[b][0],
            "prompt_tokens": totals[b],
            "image_tokens": image_tokens[b],
            "generated_tokens": len(answers[b][1]),
            "kept": [to_bitmap(kept[b], image_tokens[b]) for _, kept in sorted(pruning.kept.items())],
        }
        for b, question in enumerate(questions)
    ]


def conclude(
    model: Model,
    questions: Sequence[Question],
    prompt: Rows,
    cache: Cache,
    logits: Tensor,
    pruning: Pruning,
    *,
    max_new_tokens: int,
    min_new_tokens: int = 0,
    rerank: bool = False,
) -> list[tuple[str, list[int]]]:
    """Return text and ids of a prefilled batch's answers: the likeliest choice where prompts have choices, else greedy tokens."""
    choices = [question.prompt.choices for question in questions]
    if any(choices):
        texts = [
            likeliest(model, prompt, cache, logits, choices[b], b, [pruning.alone(b)]) for b in range(len(questions))
        ]
        return [(text, model.answer_ids(text)) for text in texts]
    done = continue_greedily(
        model, prompt, cache, logits, max_new_tokens, [pruning], rerank=rerank, min_new_tokens=min_new_tokens
    )
    return [(model.detokenize(ids), ids) for ids in done.ids]


def likeliest(
    model: Model,
    prompt: Rows,
    cache: Cache,
    logits: Tensor,
    choices: Sequence[str],
    b: int,
    interventions: Sequence[Intervention] = (),
) -> str:
    """Return the choice with the lowest mean token loss after prompt `b` of a batch: a sum would favor short ones.

    Interventions are on this prompt's rows alone.
    """
    losses = {choice: _choice_loss(model, prompt, cache, logits, b, choice, interventions) for choice in choices}
    return min(losses, key=losses.__getitem__).strip()


def _choice_loss(
    model: Model,
    prompt: Rows,
    cache: Cache,
    logits: Tensor,
    b: int,
    choice: str,
    interventions: Sequence[Intervention],
) -> float:
    """Return the mean loss of a choice's tokens: the first from the prompt's logits, the others from a run after the cache."""
    ids = torch.tensor(model.answer_ids(choice.strip()), device=logits.device)
    losses = -logits[b].log_softmax(-1)[ids[:1]]  # [1]
    if len(ids) > 1:
        # a cache of its own per choice: running one choice must leave the prompt's cache to the next
        alone = Cache(reserve=len(ids), layers={n: _row(held, b) for n, held in cache.layers.items()})
        positions = prompt.positions[b : b + 1, -1:] + 1 + torch.arange(len(ids) - 1, device=ids.device)[None]
        rows = new_rows(model.embed_tokens(ids[None, :-1]).to(prompt.hidden.dtype), positions)  # 1 sample, n-1 tokens
        hidden = forward(model, rows, alone, interventions).hidden[0]
        after = model.head(model.norm(hidden)).float().log_softmax(-1)  # [n-1, vocabulary]
        losses = torch.cat([losses, -after.gather(1, ids[1:, None])[:, 0]])
    return float(losses.mean())


def _row(held: LayerCache, b: int) -> LayerCache:
    """Return one sample's part of a layer's cache."""
    keys, values, positions, groups = (part[b : b + 1] for part in held.view())
    return LayerCache(keys, values, positions, groups, held.length, held.dense)


def answer_all(
    model: Model,
    questions: Iterable[Question],
    schedule: Schedule,
    *,
    max_new_tokens: int,
    min_new_tokens: int = 0,
    batch_size: int | str = "auto",
    seed: int = 0,
) -> Iterator[AnswerRow]:
    """Yield the questions' rows. `auto` grows the batch while memory allows; out of memory halves it and goes on."""
    schedule.check(model.dims)
    if max_new_tokens < 1:
        raise ValueError(f"max_new_tokens: {max_new_tokens} is no length of an answer; at least 1")
    if batch_size != "auto" and (not isinstance(batch_size, int) or batch_size < 1):
        raise ValueError(f"batch_size: {batch_size!r} is neither 'auto' nor a number of at least 1")
    size, ceiling = _first_size(model, batch_size), None if batch_size == "auto" else int(batch_size)
    waiting: list[Question] = []
    source = iter(questions)
    while True:
        waiting += islice(source, size - len(waiting)) if len(waiting) < size else []
        if not waiting:
            return
        try:
            rows = answer_batch(
                model, waiting[:size], schedule, max_new_tokens=max_new_tokens, min_new_tokens=min_new_tokens, seed=seed
            )
        except torch.OutOfMemoryError:
            if size == 1:
                raise ValueError(
                    "out of memory with a batch of one; use dtype bfloat16, a smaller model or a larger device"
                ) from None
            size = ceiling = max(1, size // 2)  # a ceiling: what has failed once is not tried again
            if batch_size != "auto":
                print(
                    f"a batch of {batch_size} does not fit in memory; going on with {size}. In half precision some answers depend "
                    "on the batch: set execution.batch_size to that and run again where methods are to be compared",
                    file=sys.stderr, flush=True,
                )  # fmt: skip
            torch.cuda.empty_cache()
            continue
        yield from rows
        waiting = waiting[size:]
        if ceiling is None and _has_room(model):
            size *= 2


def _first_size(model: Model, batch_size: int | str) -> int:
    if batch_size == "auto":
        return FIRST_CUDA_BATCH if model.device.type == "cuda" else CPU_BATCH
    return int(batch_size)


def _has_room(model: Model) -> bool:
    """Return whether twice the last batch would fit: what it took beyond the weights is under a third of what is free."""
    if model.device.type != "cuda":
        return False
    weights = sum(p.numel() * p.element_size() for p in model.module.parameters())
    taken = torch.cuda.max_memory_allocated(model.device) - weights
    free = torch.cuda.get_device_properties(model.device).total_memory - weights
    return taken * 3 < free
