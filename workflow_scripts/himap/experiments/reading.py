"""What flows from a picture into the small encoder that reads it before the decoder (InstructBLIP's query former).

    found = reading_saliency(model, question, target)
    found.block("paper", "instruction", "image")  # [layers of the encoder], how much the picture tells the queries
    for outcome in reading_sweep(model, question, ["single"]): ...

The encoder's layers run through the same loop as the decoder's, so interventions on them are the same: the queries are its
instruction, the question is its system text, and the picture's patches are its image tokens. `read` takes any of them.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from himap.decoder.cache import Cache
from himap.decoder.generation import generate
from himap.decoder.layout import Layout, PictureTokens
from himap.decoder.loop import Intervention, forward
from himap.decoder.tokens import IMAGE, INSTRUCTION, Rows
from himap.experiments.answers import Question, prompt_ids
from himap.experiments.cut_runs import Outcome
from himap.experiments.disruption import Disruption, make_cut
from himap.experiments.pictures import pixels_of
from himap.experiments.saliency import DEFINITIONS, Inputs, Saliency, input_gradient, maps_below, sums_of

if TYPE_CHECKING:
    from himap.models.model import Model, Reader


def reader_of(model: Model) -> Reader:
    """Return the encoder that reads a model's pictures. Raise ValueError if it has none that the loop can run."""
    if model.reader is None:
        raise ValueError(
            f"{model.name} has no encoder with queries between picture and decoder; an InstructBLIP has one"
        )
    return model.reader


def reader_rows(model: Model, question: Question) -> Rows:
    """Return the rows of the encoder for a question about one picture."""
    if len(question.images) != 1:
        raise ValueError(f"{question.where} has {len(question.images)} pictures; the encoder is looked at for one")
    (picture,) = pixels_of(model, question)
    pixels = picture["pixel_values"].to(model.device, model.dtype)
    return reader_of(model).rows(pixels, picture["question"].to(model.device))


def decoder_prompt(model: Model, question: Question, read: Rows) -> Rows:
    """Return the decoder's prompt for a question whose picture was read by the encoder."""
    features = reader_of(model).project(read.hidden[0, read.groups[0] == INSTRUCTION])  # [queries, D]
    tokens = PictureTokens(features, Layout.placeless(len(features)))
    return model.embed([prompt_ids(model, question, [tokens.layout])], [[tokens]])


@torch.no_grad()
def read(model: Model, question: Question, rows: Rows, interventions: Sequence[Intervention] = ()) -> Rows:
    """Return the decoder's prompt of a question whose picture the encoder reads, from its `rows`, under interventions."""
    return decoder_prompt(model, question, forward(reader_of(model).model, rows, Cache(), interventions))


def reading_saliency(
    model: Model, question: Question, target: int, definitions: tuple[str, ...] = DEFINITIONS
) -> Saliency:
    """Return the saliency of the encoder's attention for the decoder's next token."""
    reader, rows, inputs = reader_of(model), reader_rows(model, question), Inputs()
    with torch.no_grad():
        out = forward(reader.model, rows, Cache(), [inputs])
        prompt = decoder_prompt(model, question, out)
    # Two chained backward passes: through the decoder to its input, then from the queries through the encoder.
    at_input = input_gradient(model, prompt, target)[0]  # [T, D]
    # rows of the question are not handed to the decoder, so their gradient is 0
    gradient = torch.zeros_like(out.hidden, dtype=torch.float32)
    is_query = out.groups[0] == INSTRUCTION
    gradient[0, is_query] = _through(reader, out.hidden[0, is_query], at_input[prompt.groups[0] == IMAGE])
    return sums_of(rows, target, maps_below(reader.model, rows, inputs.hidden, gradient, definitions), definitions)


def _through(reader: Reader, hidden: Tensor, gradient: Tensor) -> Tensor:
    """Return the gradient at the queries [n, width] from that at the decoder's inputs [n, D]."""
    with torch.enable_grad():
        states = hidden.detach().requires_grad_()
        projected = reader.project(states)
        return torch.autograd.grad(projected, states, gradient.to(projected))[0].float()


@torch.no_grad()
def reading_sweep(
    model: Model, question: Question, extents: Sequence[str], *, block: str = "pre", new_tokens: int = 2
) -> Iterator[Outcome]:
    """Yield what a question's answer becomes when the queries cannot look at the picture in a layer of cross-attention."""
    reader, rows = reader_of(model), reader_rows(model, question)
    # only these layers look at the picture
    for layer in reader.model.dims.cross:
        for extent in extents:
            cut = make_cut("img2txt", layer, extent, len(reader.model.layers))
            prompt = read(model, question, rows, [Disruption([cut], rows, [0], block)])
            answer = generate(model, prompt, new_tokens)
            yield Outcome(layer, "img2txt", extent, answer.first_logits[0], answer.ids[0])
