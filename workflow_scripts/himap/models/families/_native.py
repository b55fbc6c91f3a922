"""What the families of transformers' own classes share: loading, wrapping, and the tokenizer beside the weights."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from himap.decoder.layout import Layout, Part, PictureTokens
from himap.models.checkpoints import Faults, is_finite, weight_files
from himap.models.families._decoder_check import text_config
from himap.models.model import Model
from himap.models.sizes import Dims, decoder_dims

if TYPE_CHECKING:
    from PIL.Image import Image

Check = Callable[[Any, Path], None]


def read_module(directory: Path, dtype: torch.dtype, architecture: str, check: Check) -> Any:
    """Load a class of transformers from safetensors. Raise ValueError unless every tensor is there, fits and is finite.

    `check` raises for a config that the loop would not compute exactly, before any weight is read.
    """
    import transformers
    from safetensors import SafetensorError

    model_class = getattr(transformers, architecture)
    # only for its errors, which name the missing file and the way out
    weight_files(directory, pickles=False)
    config = model_class.config_class.from_pretrained(directory, local_files_only=True)
    check(config, directory)
    try:
        with _without_report():
            loaded: Any = model_class.from_pretrained(
                directory, config=config, dtype=dtype, use_safetensors=True, attn_implementation="sdpa",
                local_files_only=True, ignore_mismatched_sizes=True, output_loading_info=True,
            )  # fmt: skip
    except SafetensorError as error:
        raise ValueError(
            f"{directory}: its weights are not complete safetensors files ({error}); download or convert them again"
        ) from error
    module, info = loaded
    # transformers fills missing tensors with random numbers and only warns, so we check its lists ourselves. They leave
    # out what old versions saved and nothing reads (rotary frequencies, position ids, a head tied to the embedding).
    faults = Faults(missing=set(info["missing_keys"]), unexpected=sorted(info["unexpected_keys"]))
    for name, shape, expected in sorted(info["mismatched_keys"]):
        faults.note_shape(name, shape, expected)
    # transformers filled those with random numbers, so values mean something only if nothing is missing
    if not (faults.missing or faults.misshapen):
        faults.not_finite = [name for name, tensor in module.state_dict().items() if not is_finite(tensor)]
    faults.check(directory, dtype)
    return module


@contextmanager
def _without_report() -> Iterator[None]:
    """Keep transformers' table of wrong tensors off the screen: here it becomes one error."""
    logger = logging.getLogger("transformers.modeling_utils")

    def is_no_report(record: logging.LogRecord) -> bool:
        return "LOAD REPORT" not in record.getMessage()

    logger.addFilter(is_no_report)
    try:
        yield
    finally:
        logger.removeFilter(is_no_report)


def end_ids(module: Any) -> frozenset[int]:
    """Return the ids with which an answer ends."""
    ends = module.generation_config.eos_token_id
    # checkpoints without a generation_config.json say it in the decoder's config, if at all
    ends = text_config(module.config).eos_token_id if ends is None else ends
    return frozenset(ends if isinstance(ends, list) else [] if ends is None else [ends])


def wrap(
    module: Any, *, name: str, family: str, decoder: Any, tokens_per_image: int, varies: bool,
    encode_picture: Callable[[dict[str, Any]], PictureTokens], head: Any = None, **traits: Any,
) -> Model:  # fmt: skip
    """Return a model of a class of transformers whose pictures are encoded one by one; `head` if it is not its `lm_head`."""
    head = module.lm_head if head is None else head

    @torch.no_grad()
    def encode_images(pixels: Sequence[dict[str, Any]]) -> list[PictureTokens]:
        """Return the tokens of each picture, from the dictionary that the processor made of it."""
        # One by one, since pictures have unequal sizes: no padding, and an answer cannot depend on the batch.
        made = [
            encode_picture({key: _moved(value, head.weight) for key, value in picture.items()}) for picture in pixels
        ]
        return [pooled(tokens, picture.get("share", 1.0)) for tokens, picture in zip(made, pixels, strict=True)]

    parts: dict[str, Any] = {
        "layers": list(decoder.layers),
        "rotary": getattr(decoder, "rotary_emb", None),
        "image_token_id": getattr(module.config, "image_token_id", None),
        "dims": text_dims(module.config, tokens_per_image, varies),
    }
    return Model(
        name=name,
        family=family,
        module=module,
        embed_tokens=decoder.embed_tokens,
        norm=decoder.norm,
        head=head,
        end_ids=end_ids(module),
        encode_images=encode_images,
        **{**parts, **traits},
    )


def pooled(picture: PictureTokens, share: float) -> PictureTokens:
    """Return a picture with a share of its tokens, each the mean of its neighbors on the grid."""
    if share >= 1:
        return picture
    parts, features = [], []
    counts = [part.tokens for part in picture.layout.parts]
    for part, tokens in zip(picture.layout.parts, picture.features.split(counts), strict=True):
        # a share of an area is its square root along each side
        rows, columns = (max(1, round(side * share**0.5)) for side in (part.rows, part.columns))
        grid = tokens.view(part.rows, -1, tokens.shape[-1])  # [rows, columns and row end, D]
        cells = grid[:, : part.columns].permute(2, 0, 1)  # [D, rows, columns]
        smaller = torch.nn.functional.adaptive_avg_pool2d(cells, (rows, columns)).permute(1, 2, 0)
        ends = grid[:1, part.columns :].expand(rows, -1, -1)  # the same learned token ends every row
        features.append(torch.cat([smaller, ends], dim=1).flatten(0, 1))
        parts.append(replace(part, rows=rows, columns=columns))
    return PictureTokens(torch.cat(features), Layout(tuple(parts)))


def tile_layout(rows: int, columns: int, side: int) -> Layout:
    """Return the layout of a grid of tiles, row by row, and a view of the whole picture; of the view alone without tiles."""
    tiles = [
        Part(side, side, (column / columns, row / rows, (column + 1) / columns, (row + 1) / rows))
        for row in range(rows)
        for column in range(columns)
    ]
    return Layout((*tiles, Part(side, side)))


def text_dims(config: Any, tokens_per_image: int, varies: bool) -> Dims:
    """Return the sizes of a loaded config, in which transformers has filled the defaults of its class."""
    return decoder_dims(text_config(config).to_dict(), tokens_per_image, varies=varies)


def _moved(value: Any, weight: torch.Tensor) -> Any:
    """Return a tensor on the model's device, and in its number format if it holds pixels."""
    if not isinstance(value, torch.Tensor):
        return value
    return value.to(weight.device, weight.dtype if value.is_floating_point() else None)


def load_tokenizer(model: Model, directory: Path) -> Any:
    """Return the tokenizer beside the weights. Raise ValueError if it has more entries than the model embeds."""
    from transformers import AutoTokenizer

    tokenizer: Any = AutoTokenizer.from_pretrained(directory, local_files_only=True, trust_remote_code=False)
    # Idefics embeds its added entries in a table of their own
    embedded = model.embed_tokens.num_embeddings + getattr(model.embed_tokens, "num_additional_embeddings", 0)
    if len(tokenizer) > embedded:
        raise ValueError(
            f"{directory}: the tokenizer has {len(tokenizer)} entries but the model embeds {embedded}; "
            "tokenizer and weights do not belong together"
        )
    return tokenizer


def has_processor(directory: Path) -> bool:
    """Return whether a tokenizer lies beside the weights; without one, a model takes ids and pixels."""
    return (directory / "tokenizer_config.json").is_file()


def opaque(image: Image) -> Image:
    """Return a picture in RGB with white where it is transparent, as transformers' processors have it."""
    from PIL import Image as pictures

    # "transparency" is a palette's or a PNG's single transparent color
    if "A" not in image.getbands() and image.info.get("transparency") is None:
        return image.convert("RGB")
    white = pictures.new("RGBA", image.size, "white")
    return pictures.alpha_composite(white, image.convert("RGBA")).convert("RGB")


def share_of(grid: Sequence[int] | None, dims: Dims) -> float:
    """Return the share of a picture's tokens that a schedule's smaller grid stands for."""
    return 1.0 if grid is None else grid[0] * grid[1] / dims.tokens_per_image
