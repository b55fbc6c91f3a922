"""Check that the loop over decoder layers computes the same as a checkpoint's own decoder.

The loop implements Llama's layer: norm, attention with rotary positions, norm, feed-forward, each added to its input. We
decide by a decoder's contents, not by its name: by values in its config that would change the result, by the parts of its
layers, and last by running a few tokens through both the loop and transformers' own class.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

if TYPE_CHECKING:
    from himap.models.model import Model

# Keys of a text config that change the logits and that the loop does not read, with the values under which each of them
# has no effect.
IDLE: dict[str, tuple[Any, ...]] = {
    "attn_logit_softcapping": (None,), "final_logit_softcapping": (None,), "logits_soft_cap": (None,),
    "embedding_multiplier": (None, 1), "residual_multiplier": (None, 1), "logits_scaling": (None, 1),
    "logit_scale": (None, 1), "scale_emb": (None, 1), "scale_depth": (None,), "lm_head_multiplier": (None, 1),
    "clip_qkv": (None,), "partial_rotary_factor": (None, 1), "rotary_pct": (None, 1),
    "attention_chunk_size": (None,), "attn_temperature_tuning": (None, False), "use_bidirectional_attention": (None, False),
    "parallel_attn": (None, False), "use_parallel_residual": (None, False),
    "num_experts": (None, 0), "num_local_experts": (None, 0), "n_routed_experts": (None, 0),
}  # fmt: skip
LAYER = {"input_layernorm", "self_attn", "post_attention_layernorm", "mlp"}
ATTENTION = {"q_proj", "k_proj", "v_proj", "o_proj"}
QUERY_NORMS = {"q_norm", "k_norm"}
SANDWICH = frozenset({"pre_feedforward_layernorm", "post_feedforward_layernorm"})  # Gemma 3's
TRIED_LAYERS, TRIED_TOKENS = 4, 8
TOLERANCE = {  # relative difference; a wrong layer is off by far more
    torch.float32: 1e-3,
    torch.float16: 2e-2,
    torch.bfloat16: 5e-2,
}


def check_config(config: Any, directory: Path, *, mixed_layers: bool = False) -> None:
    """Raise ValueError for a key in a config that the loop would ignore, before any weight is read.

    `mixed_layers`: the family tells the loop which layers have a window and other rotary angles.
    """
    if getattr(config, "quantization_config", None) is not None:
        raise ValueError(f"{directory}: quantized weights are not supported; take the checkpoint in full precision")
    if getattr(config, "transformers_weights", None) is not None:
        raise ValueError(f"{directory}/config.json: transformers_weights is not supported; remove the key")
    text = text_config(config)
    properties = [] if mixed_layers else [*_windows(text), *_rotary(text)]
    for key, idle in IDLE.items():
        if (value := getattr(text, key, None)) not in idle:
            properties.append(f"{key} = {value!r}")
    if properties:
        refuse(directory, f"config.json has {', '.join(properties)} in text_config")


def text_config(config: Any) -> Any:
    """Return the decoder's part of a config, or all of one that has no parts."""
    return getattr(config, "text_config", config)


def _windows(text: Any) -> Iterator[str]:
    """Yield each setting by which a layer sees less than all tokens before it."""
    window, types = getattr(text, "sliding_window", None), getattr(text, "layer_types", None)
    # A config without a list of types has one type for all layers.
    types = ["sliding_attention" if window is not None else "full_attention"] if types is None else types
    is_narrow = window is None or window < text.max_position_embeddings  # a window as wide as any prompt hides nothing
    for layer_type in sorted(set(types) - {"full_attention"}):
        if layer_type != "sliding_attention":
            yield f"layers of the type {layer_type!r}"
        elif is_narrow:
            yield f"sliding_window = {window} (set it to null if no prompt is longer than that)"


def _rotary(text: Any) -> Iterator[str]:
    """Yield each setting by which rotary angles differ between layers or cover only a part of a head."""
    parameters = getattr(text, "rope_parameters", None) or {}
    if any(isinstance(value, dict) for value in parameters.values()):
        yield "separate rope_parameters for each type of layer"
    # named once: where the config has the key itself too, IDLE reports it
    if parameters.get("partial_rotary_factor", 1) != 1 and getattr(text, "partial_rotary_factor", None) is None:
        yield f"partial_rotary_factor = {parameters['partial_rotary_factor']!r}"
    # 0 for a layer without rotary positions, as in SmolLM3
    if not all(getattr(text, "no_rope_layers", None) or [1]):
        yield f"no_rope_layers = {text.no_rope_layers}"
    if parameters.get("llama_4_scaling_beta"):
        yield f"llama_4_scaling_beta = {parameters['llama_4_scaling_beta']!r}"


def check_parts(decoder: Any, directory: Path, norms: frozenset[str] = frozenset()) -> None:
    """Raise ValueError for a decoder whose layers have other parts than those that the loop calls."""
    for part in ("embed_tokens", "layers", "norm", "rotary_emb"):
        if not isinstance(getattr(decoder, part, None), nn.Module):
            refuse(directory, f"it has no {part}")
    for number, layer in enumerate(decoder.layers):
        _compare_parts(layer, LAYER | norms, set(), f"layer {number}", directory)
        attention = layer.self_attn
        _compare_parts(attention, ATTENTION, QUERY_NORMS, f"the attention of layer {number}", directory)
        for name in sorted(QUERY_NORMS & dict(attention.named_children()).keys()):
            shapes = {tuple(weight.shape) for weight in getattr(attention, name).parameters()}
            # [head_dim] is one norm for each head; [H * head_dim] would mix the heads, as OLMo 2 does
            if shapes != {(attention.head_dim,)}:
                refuse(directory, f"layer {number} normalizes queries or keys over all heads at once ({name})")


def _compare_parts(module: nn.Module, needed: set[str], allowed: set[str], place: str, directory: Path) -> None:
    """Raise ValueError for a module that lacks a needed part, or has one that is neither needed nor allowed."""
    # bare parameters too, such as attention sinks
    parts = {name for name, _ in module.named_children()} | {name for name, _ in module.named_parameters(recurse=False)}
    if missing := sorted(needed - parts):
        refuse(directory, f"{place} has no {', '.join(missing)}")
    if extra := sorted(parts - needed - allowed):
        refuse(directory, f"{place} has {', '.join(extra)}")


@torch.no_grad()
def check_decoder(model: Model, directory: Path, decoder: Any = None, norms: frozenset[str] = frozenset()) -> None:
    """Raise ValueError unless the loop and transformers' own class agree on a few tokens through the first layers.

    `norms` are parts of each layer that Llama's do not have.
    """
    from himap.decoder.cache import Cache
    from himap.decoder.loop import forward
    from himap.decoder.tokens import SYSTEM, batch_rows

    module: Any = model.module
    decoder = module.model.language_model if decoder is None else decoder
    check_parts(decoder, directory, norms)
    # any tokens serve, since the same ones go through both
    ids = torch.arange(TRIED_TOKENS, device=model.device) % model.embed_tokens.num_embeddings
    hidden = model.embed_tokens(ids)
    rows = batch_rows([hidden], [[SYSTEM] * TRIED_TOKENS])
    if model.axes > 1:  # on which text advances together
        rows = replace(rows, rotary=rows.positions[..., None].expand(-1, -1, model.axes))
    rows = forward(model, rows, Cache(), stop=min(TRIED_LAYERS, len(model.layers)))
    with _only_first(decoder, TRIED_LAYERS):
        expected = decoder.eval()(inputs_embeds=hidden[None], use_cache=False).last_hidden_state
    _compare_outputs(model, directory, rows.hidden, expected, decoder)


@torch.no_grad()
def check_cross_decoder(
    model: Model, directory: Path, decoder: Any, native: Callable[[Tensor, Tensor], Any], *, theirs: int, ours: int
) -> None:
    """Raise ValueError unless both agree on a few tokens that look at a picture, through the first layers.

    `native` calls transformers' class on hidden states [1, T, D] and picture tokens [1, M, D']. What it counts as its first
    `theirs` layers are `ours` of the loop, which counts those of cross-attention too.
    """
    from himap.decoder.cache import Cache
    from himap.decoder.layout import Layout, PictureTokens
    from himap.decoder.loop import forward

    generator = torch.Generator().manual_seed(0)
    seen = torch.randn(TRIED_TOKENS, model.dims.picture_width, generator=generator).to(model.device, model.dtype)
    words = [number for number in range(TRIED_TOKENS) if number != model.image_token_id]
    ids = [model.image_token_id, *words[: TRIED_TOKENS - 1]]  # all tokens look at the picture, from its mark on
    rows = model.embed([ids], [[PictureTokens(seen, Layout.placeless(TRIED_TOKENS))]])
    with _only_first(decoder, theirs):
        expected = native(rows.hidden, seen[None]).last_hidden_state
    _compare_outputs(model, directory, forward(model, rows, Cache(), stop=ours).hidden, expected, decoder)


def _compare_outputs(model: Model, directory: Path, ours: Tensor, expected: Tensor, decoder: Any) -> None:
    """Raise ValueError if the loop's output before the last norm [1, T, D] is not that of transformers' class."""
    difference = (model.norm(ours) - expected).float().norm() / expected.float().norm()
    if not float(difference) <= TOLERANCE[model.dtype]:  # written this way, NaN is refused too
        refuse(
            directory,
            f"{type(decoder).__name__} computes something different from the layers that this project runs (the output "
            f"of its first layers differs by {float(difference):.1%})",
        )


@contextmanager
def _only_first(decoder: Any, count: int) -> Iterator[None]:
    """Leave transformers' own decoder only its first layers for a while."""
    layers = decoder.layers
    decoder.layers = layers[:count]
    try:
        yield
    finally:
        decoder.layers = layers


def refuse(directory: Path, what: str) -> None:
    """Raise ValueError for a decoder that the loop would run with wrong results."""
    raise ValueError(
        f"{directory}: this decoder is not supported: {what}; the project runs layers like those of Llama "
        "(docs/models.md, section Decoders)"
    )
