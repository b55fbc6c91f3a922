"""Published checkpoints of LLaVA-v1.5, InternVL-Chat-V1.0 and Qwen-VL-Chat, rewritten once as safetensors.

The Vicuna models come out in the LLaVA layout of transformers, which can hold either vision tower. A source file
becomes one target file, tensor by tensor, in a folder `<out>.partial` that a killed run leaves for the next one to go
on with; the finished folder appears under its name all at once.
"""

from __future__ import annotations

import json
import os
import shutil
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from himap.checkpoints import Faults, Renaming, outlines, tensors, weight_files
from himap.dims import read_config
from himap.files import read_json, replacing, sha256, write_json

if TYPE_CHECKING:
    from torch import Tensor

UNREAD = ("text_model.", "text_projection.", "visual_projection.", "logit_scale")  # CLIP's text half
CARRIED = "model.vision_tower.vision_tower."  # how a chat checkpoint names the tensors of a tower that it carries
BLOCK = 64  # vocabularies are padded to a multiple of it, as in the published transformers layout
INTERN_LAYER = {  # InternViT's names as those of transformers
    "ls1": "lambda_1", "ls2": "lambda_2", "norm1": "layernorm_before", "norm2": "layernorm_after",
    "attn.q_norm": "attention.q_norm", "attn.k_norm": "attention.k_norm", "attn.proj": "attention.projection_layer",
    "mlp.fc1": "mlp.fc1", "mlp.fc2": "mlp.fc2",
}  # fmt: skip
INTERN_EMBEDDINGS = {
    "class_embedding": "cls_token", "patch_embedding.weight": "patch_embeddings.projection.weight",
    "patch_embedding.bias": "patch_embeddings.projection.bias", "position_embedding": "position_embeddings",
}  # fmt: skip


@dataclass
class Conversion:
    """What is read, how each tensor is renamed, and what the result must hold."""

    layout: str
    sources: list[tuple[Path, Renaming]]  # weight files, each with its renaming
    folders: list[Path]  # where those files come from: the checkpoint, its tower
    expected: Mapping[str, Tensor]  # names on disk and shapes
    config: dict[str, Any]
    write_beside: Callable[[Path], None]  # tokenizer and image processor into the target folder
    image_tokens: int
    tower: Callable[[], dict[str, Any]] = dict  # which vision tower was taken, for the manifest


def default_tower(directory: Path) -> str | None:
    """The hub id of the vision tower that a checkpoint's config names; None where the tower is in the checkpoint."""
    named = str(read_config(directory).get("mm_vision_tower") or "")
    if "intern" in named.lower():
        return "OpenGVLab/InternViT-6B-448px-V1-0" if "448" in named else "OpenGVLab/InternViT-6B-224px"
    return named or None


def carries_tower(directory: Path) -> bool:
    """Return whether a checkpoint's own weights include its vision tower's."""
    return any(name.startswith(CARRIED) for path in weight_files(directory) for name, _ in outlines(path))


def plan(directory: Path, tower: Path | None) -> Conversion:
    """Read the configs and decide what becomes of every tensor; nothing is written. Refuses what it does not know."""
    config = read_config(directory)
    if config.get("model_type") == "qwen" and "visual" in config:
        return _plan_qwen(directory, config)
    if "LlavaLlamaForCausalLM" in (config.get("architectures") or []):
        if tower is None:
            raise ValueError(
                f"{directory}: its vision tower is a checkpoint of its own; give its folder or hub id as the tower"
            )
        return _plan_vicuna(directory, config, tower)
    raise ValueError(
        f"{directory}/config.json: architecture {config.get('architectures')} (model_type {config.get('model_type')!r}) is "
        "none that is converted; known are LlavaLlamaForCausalLM (LLaVA-v1.5, InternVL-Chat-V1.0) and Qwen-VL-Chat"
    )


def convert(directory: Path, tower: Path | None, out: Path, *, origin: Mapping[str, Any] | None = None) -> Path:
    """Convert a checkpoint into the folder `out`; a run that was killed is continued. Returns the manifest's path."""
    work = plan(directory, tower)
    if (out / "manifest.json").is_file() and read_json(out / "manifest.json")["inputs"] == _inputs(work):
        return out / "manifest.json"
    if out.is_dir() and any(out.iterdir()):
        raise ValueError(f"{out}: there is something else here already; remove it or choose another folder")
    _check_names(work, directory)
    partial = out.with_name(f"{out.name}.partial")
    done = _resume(partial, work)
    weight_map: dict[str, str] = {}
    for number, (source, rename) in enumerate(work.sources, start=1):
        target = partial / f"model-{number:05d}-of-{len(work.sources):05d}.safetensors"
        if target.name not in done:
            names = write_safetensors(target, _renamed(source, rename))
            done[target.name] = {"tensors": names, "bytes": target.stat().st_size, "sha256": sha256(target)}
            _record(partial, work, done)
        weight_map |= dict.fromkeys(done[target.name]["tensors"], target.name)
    _finish(partial, work, done, weight_map, origin or {})
    out.parent.mkdir(parents=True, exist_ok=True)
    os.replace(partial, out)
    return out / "manifest.json"


def _renamed(source: Path, rename: Renaming) -> list[tuple[str, Tensor]]:
    """The tensors of one source file under their new names; still views of the mapped file."""
    return [pair for name, tensor in tensors(source) for pair in rename(name, tensor)]


def write_safetensors(path: Path, named: Sequence[tuple[str, Tensor]]) -> list[str]:
    """Write a safetensors file one tensor after the other, so that no second copy of it is in memory; returns the names."""
    import torch

    kinds = {torch.float32: "F32", torch.float16: "F16", torch.bfloat16: "BF16"}
    header: dict[str, Any] = {"__metadata__": {"format": "pt"}}
    offset = 0
    for name, tensor in named:
        if tensor.dtype not in kinds:
            raise ValueError(
                f"{name}: weights in {tensor.dtype} are not converted; take the checkpoint in full precision"
            )
        size = tensor.numel() * tensor.element_size()
        header[name] = {
            "dtype": kinds[tensor.dtype],
            "shape": list(tensor.shape),
            "data_offsets": [offset, offset + size],
        }
        offset += size
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    with replacing(path) as temporary, temporary.open("wb") as file:
        file.write(len(text).to_bytes(8, "little") + text)
        for _, tensor in named:
            file.write(tensor.contiguous().flatten().view(torch.uint8).numpy().data)
    return [name for name, _ in named]


# ---------------------------------------------------------------- progress


def _inputs(work: Conversion) -> list[list[Any]]:
    """What tells one set of source files from another without reading them."""
    paths = [path for path, _ in work.sources] + [folder / "config.json" for folder in work.folders]
    return [[path.name, path.stat().st_size, path.stat().st_mtime_ns] for path in paths]


def _resume(partial: Path, work: Conversion) -> dict[str, Any]:
    """The target files that an earlier run finished from these very sources; anything else there is thrown away."""
    state = read_json(partial / "progress.json") if (partial / "progress.json").is_file() else {}
    if state.get("inputs") != _inputs(work):
        shutil.rmtree(partial, ignore_errors=True)
        _record(partial, work, {})
        return {}
    done: dict[str, Any] = state["done"]
    for path in partial.iterdir():
        if path.name != "progress.json" and path.name not in done:
            path.unlink()
    return {name: entry for name, entry in done.items() if (partial / name).is_file()}


def _record(partial: Path, work: Conversion, done: Mapping[str, Any]) -> None:
    write_json(partial / "progress.json", {"inputs": _inputs(work), "done": done})


def _check_names(work: Conversion, directory: Path) -> None:
    """Compare names and shapes of all that will be written with what the architecture needs, before any writing."""
    faults = Faults(missing=set(work.expected))
    for source, rename in work.sources:
        for published, outline in outlines(source):
            for name, part in rename(published, outline):
                if name not in work.expected:
                    faults.unexpected.append(f"{published} of {source}")
                    continue
                faults.compare(f"{published} of {source}", part, work.expected[name])
                faults.missing.discard(name)
    faults.check(directory)


def _finish(
    partial: Path, work: Conversion, done: Mapping[str, Any], weight_map: dict[str, str], origin: Mapping[str, Any]
) -> None:
    """Config, index, tokenizer, image processor, and last the manifest."""
    total = sum(entry["bytes"] for entry in done.values())
    write_json(partial / "model.safetensors.index.json", {"metadata": {"total_size": total}, "weight_map": weight_map})
    write_json(partial / "config.json", work.config)
    work.write_beside(partial)
    (partial / "progress.json").unlink()
    written = sorted(path for path in partial.iterdir() if path.name != "manifest.json")
    manifest = {
        "layout": work.layout,
        "image_tokens": work.image_tokens,
        "origin": dict(origin),
        "tower": work.tower(),
        "inputs": _inputs(work),
        "sources": [_file(path) | {"folder": str(path.parent)} for path, _ in work.sources],
        "files": [
            {"name": path.name, "bytes": path.stat().st_size, "sha256": done[path.name]["sha256"]}
            if path.name in done
            else _file(path)
            for path in written
        ],
    }
    write_json(partial / "manifest.json", manifest)


def _file(path: Path) -> dict[str, Any]:
    return {"name": path.name, "bytes": path.stat().st_size, "sha256": sha256(path)}


# ---------------------------------------------------------------- Qwen-VL-Chat: only the file format changes


def _plan_qwen(directory: Path, config: dict[str, Any]) -> Conversion:
    """The published names stay, so that the family reads the result as it reads the source."""
    import torch

    from himap.models import qwen_vl

    with torch.device("meta"):
        module = qwen_vl.QwenVL(config)
    ours = {**dict(module.named_parameters()), **dict(module.named_buffers())}
    files = weight_files(directory)
    faults = Faults()
    expected: dict[str, Tensor] = {}
    for path in files:
        for name, outline in outlines(path):
            parts = list(qwen_vl.rename(name, outline))
            for part, piece in parts:
                if part in ours:
                    faults.compare(name, piece, ours.pop(part))
                else:
                    faults.unexpected.append(name)
            if parts:
                expected[name] = outline
    faults.missing = set(ours)
    faults.check(directory)
    qwen_vl.read_vocabulary(directory / "qwen.tiktoken", config)
    beside = ("qwen.tiktoken", "generation_config.json", "tokenizer_config.json")

    def keep(name: str, tensor: Tensor) -> Iterable[tuple[str, Tensor]]:
        return [(name, tensor)] if name in expected else []

    def copy(folder: Path) -> None:
        for name in beside:
            if (directory / name).is_file():
                shutil.copyfile(directory / name, folder / name)

    return Conversion(
        "qwen_vl", [(path, keep) for path in files], [directory], expected, config, copy,
        qwen_vl.dims(config).tokens_per_image,
    )  # fmt: skip


# ---------------------------------------------------------------- LLaVA-v1.5 and InternVL-Chat-V1.0


def _plan_vicuna(directory: Path, config: dict[str, Any], tower: Path) -> Conversion:
    """A Vicuna decoder with a two-layer projector, and CLIP or InternViT in front of it."""
    required = {
        "mm_projector_type": "mlp2x_gelu", "mm_use_im_start_end": False, "mm_use_im_patch_token": False,
        "mm_vision_select_feature": "patch", "rope_scaling": None, "tie_word_embeddings": False,
    }  # fmt: skip
    for key, value in required.items():
        if config.get(key, value) != value:
            raise ValueError(f"{directory}/config.json: {key} = {config[key]!r} is not converted; only {value!r} is")
    tower_config = read_config(tower)
    vision = tower_config.get("vision_config", tower_config)
    kind = vision.get("model_type", tower_config.get("model_type"))
    layouts = {"clip_vision_model": _clip, "clip": _clip, "intern_vit_6b": _intern}
    if kind not in layouts:
        raise ValueError(
            f"{tower}/config.json: model_type {kind!r} is no vision tower that is known (CLIP, InternViT-6B)"
        )
    layout, vision, processor, rename_tower = layouts[kind](tower, vision, str(config.get("mm_vision_tower", "")))
    vocabulary = config["vocab_size"]
    padded = (vocabulary // BLOCK + 1) * BLOCK
    target = _vicuna_config(config, vision, vocabulary, padded)

    # The authors' loader takes the tower that config.json names and leaves the one in the chat checkpoint unread.
    carried, named = carries_tower(directory), has_weights(tower)

    def rename(name: str, tensor: Tensor) -> Iterable[tuple[str, Tensor]]:
        if name.startswith(CARRIED):
            return [] if named else rename_tower(name.removeprefix(CARRIED), tensor)
        if name.endswith("rotary_emb.inv_freq"):
            return []
        name = name.replace("model.mm_projector.0.", "multi_modal_projector.linear_1.")
        name = name.replace("model.mm_projector.2.", "multi_modal_projector.linear_2.")
        if name in ("model.embed_tokens.weight", "lm_head.weight"):
            tensor = _with_rows(tensor, padded, copied=name == "lm_head.weight")
        return [(f"language_model.{name}" if name.startswith(("model.", "lm_head.")) else name, tensor)]

    sources: list[tuple[Path, Renaming]] = [(path, rename) for path in weight_files(directory)]
    if named or not carried:
        sources += [(path, rename_tower) for path in weight_files(tower)]
    tokenizer = _vicuna_tokenizer(directory, vocabulary)

    def write_beside(folder: Path) -> None:
        tokenizer.save(str(folder / "tokenizer.json"))
        shutil.copyfile(directory / "tokenizer.model", folder / "tokenizer.model")
        marks = {"bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>", "pad_token": "<unk>"}
        write_json(
            folder / "tokenizer_config.json",
            {"tokenizer_class": "PreTrainedTokenizerFast", "clean_up_tokenization_spaces": False,
             "model_max_length": config.get("max_position_embeddings", 4096), "padding_side": "left",
             "extra_special_tokens": {"image_token": "<image>"}, **marks},
        )  # fmt: skip
        write_json(folder / "preprocessor_config.json", processor)
        write_json(folder / "generation_config.json", {"bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 0})

    def describe_tower() -> dict[str, Any]:
        comparison = compare_towers(directory, tower) if named and carried else {}
        return {"weights": "named" if named or not carried else "carried", "folder": str(tower), **comparison}

    return Conversion(
        layout, sources, [directory, tower], _vicuna_outline(target), target, write_beside, target["image_seq_length"],
        describe_tower,
    )  # fmt: skip


def has_weights(directory: Path) -> bool:
    """Return whether a folder holds weights, whole or not, beside its small files."""
    return any(path.suffix in (".safetensors", ".bin") for path in directory.iterdir())


def compare_towers(directory: Path, tower: Path) -> dict[str, Any]:
    """Compare the tower that a chat checkpoint carries with the named one: tensors compared, different, largest difference."""
    named = dict(pair for path in weight_files(tower) for pair in tensors(path))  # mapped files: nothing is read yet
    compared, different, largest = 0, [], 0.0
    for path in weight_files(directory):
        for name, tensor in tensors(path):
            other = named.get(name.removeprefix(CARRIED))
            if not name.startswith(CARRIED) or other is None or other.shape != tensor.shape:
                continue
            compared += 1
            # Both may be stored in other number formats: what is equal in either one's format is the same weight.
            if not (tensor.to(other.dtype).equal(other) or other.to(tensor.dtype).equal(tensor)):
                different.append(name.removeprefix(CARRIED))
                largest = max(largest, float((tensor.float() - other.float()).abs().max()))
    result = {"compared": compared, "different": len(different), "largest_difference": largest}
    verdict = (
        f"differ in {len(different)} (largest difference {largest:.3g}, e.g. {different[0]})" if different else "agree"
    )
    print(
        f"vision tower: taken from {tower}, which config.json names, as the authors' loader does, not from {directory}, "
        f"which carries one too; of {compared} tensors they {verdict}",
        file=sys.stderr,
    )
    return result


def _vicuna_config(config: Mapping[str, Any], vision: dict[str, Any], vocabulary: int, padded: int) -> dict[str, Any]:
    """config.json of the LLaVA layout of transformers."""
    same = (
        "hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads", "num_key_value_heads",
        "hidden_act", "max_position_embeddings", "rms_norm_eps", "initializer_range", "bos_token_id", "eos_token_id",
        "pad_token_id",
    )  # fmt: skip
    text = {key: config[key] for key in same if key in config}
    return {
        "architectures": ["LlavaForConditionalGeneration"],
        "model_type": "llava",
        "image_token_index": vocabulary,
        "image_seq_length": (vision["image_size"] // vision["patch_size"]) ** 2,
        "multimodal_projector_bias": True,
        "projector_hidden_act": "gelu",
        "vision_feature_layer": config["mm_vision_select_layer"],
        "vision_feature_select_strategy": "default",
        "tie_word_embeddings": False,
        "torch_dtype": config.get("torch_dtype", "float16"),
        "text_config": {
            "model_type": "llama", "vocab_size": padded, "rope_theta": config.get("rope_theta", 10000.0),
            "tie_word_embeddings": False, **text,
        },
        "vision_config": vision,
    }  # fmt: skip


def _vicuna_outline(config: Mapping[str, Any]) -> dict[str, Tensor]:
    """Names on disk and shapes of all tensors that transformers' LLaVA needs for this config."""
    import torch
    from transformers import LlavaConfig, LlavaForConditionalGeneration

    with torch.device("meta"):
        module = LlavaForConditionalGeneration(LlavaConfig(**config))
    clip = "." if config["vision_config"]["model_type"] == "internvl_vision" else ".vision_model."
    outline = {}
    for name, tensor in module.state_dict().items():
        name = name.removeprefix("model.")
        name = name.replace("vision_tower.", f"vision_tower{clip}") if "vision_model." not in name else name
        if name.startswith("language_model."):
            name = name.replace("language_model.", "language_model.model.", 1)
        outline[f"language_model.{name}" if name.startswith("lm_head.") else name] = tensor
    return outline


def _with_rows(table: Tensor, rows: int, *, copied: bool) -> Tensor:
    """Room for the image mark at the end of a table [vocabulary, D].

    The head's added rows copy that of <unk>: nothing that the original would not say can then win.
    """
    import torch

    added = table[:1].expand(rows - table.shape[0], -1)
    return torch.cat([table, added if copied else torch.zeros_like(added)])


def _clip(tower: Path, vision: Mapping[str, Any], name: str) -> tuple[str, dict[str, Any], dict[str, Any], Renaming]:
    """CLIP: layout name, its vision config, image processor, renaming."""
    same = (
        "hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads", "image_size", "patch_size",
        "projection_dim", "hidden_act", "layer_norm_eps",
    )  # fmt: skip
    config = {"model_type": "clip_vision_model", **{key: vision[key] for key in same if key in vision}}
    processor = read_json(tower / "preprocessor_config.json")

    def rename(name: str, tensor: Tensor) -> Iterable[tuple[str, Tensor]]:
        if name.startswith(UNREAD) or name.endswith("position_ids"):
            return []
        return [(f"vision_tower.{name}", tensor)]

    return "llava", config, _processor(processor["image_mean"], processor["image_std"], config["image_size"]), rename


def _intern(tower: Path, vision: Mapping[str, Any], name: str) -> tuple[str, dict[str, Any], dict[str, Any], Renaming]:
    """InternViT-6B: query, key and value part; positions are stretched once to the size that the chat model looks at."""
    required = {"qk_normalization": True, "qkv_bias": False, "layer_norm_eps": 1e-06, "hidden_act": "gelu"}
    for key, value in required.items():
        if vision.get(key, value) != value:
            raise ValueError(f"{tower}/config.json: {key} = {vision[key]!r} is not converted; only {value!r} is")
    patch = vision["patch_size"]
    size = 448 if "448" in name else 336  # by the tower's name, as its authors' code decides
    config = {
        "model_type": "internvl_vision", "norm_type": "rms_norm", "use_qk_norm": True, "attention_bias": False,
        "image_size": size, "patch_size": patch, "layer_scale_init_value": vision.get("initializer_factor", 0.1),
        "layer_norm_eps": 1e-06, "hidden_act": "gelu",
        **{k: vision[k] for k in ("hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads")},
    }  # fmt: skip

    def rename(name: str, tensor: Tensor) -> Iterable[tuple[str, Tensor]]:
        if name.startswith("embeddings."):
            ours = INTERN_EMBEDDINGS.get(name.removeprefix("embeddings."), name)
            tensor = _stretched(tensor, size // patch) if ours == "position_embeddings" else tensor
            return [(f"vision_tower.embeddings.{ours}", tensor)]
        _, _, number, rest = [*name.split(".", 3), "", "", ""][:4]
        at = f"vision_tower.encoder.layer.{number}"
        if rest == "attn.qkv.weight":
            return [(f"{at}.attention.{p}_proj.weight", t) for p, t in zip("qkv", tensor.chunk(3), strict=True)]
        part, _, leaf = rest.rpartition(".")
        part, leaf = (part, f".{leaf}") if part in INTERN_LAYER else (rest, "")
        return [(f"{at}.{INTERN_LAYER[part]}{leaf}" if part in INTERN_LAYER else name, tensor)]

    return "internvl", config, _processor([0.485, 0.456, 0.406], [0.229, 0.224, 0.225], size), rename


def _stretched(table: Tensor, side: int) -> Tensor:
    """Position embeddings [1, 1 + s², D], class token first, interpolated to a square of another side."""
    import torch

    from himap.models._qwen_parts import stretched

    return torch.cat([table[0, :1], stretched(table[0, 1:], side, side)])[None]


def _processor(mean: Sequence[float], spread: Sequence[float], size: int) -> dict[str, Any]:
    """preprocessor_config.json: shortest edge to the size, centre crop, normalised."""
    return {
        "image_processor_type": "CLIPImageProcessor", "do_resize": True, "size": {"shortest_edge": size}, "resample": 3,
        "do_center_crop": True, "crop_size": {"height": size, "width": size}, "do_rescale": True,
        "rescale_factor": 1 / 255, "do_normalize": True, "image_mean": list(mean), "image_std": list(spread),
        "do_convert_rgb": True,
    }  # fmt: skip


def _vicuna_tokenizer(directory: Path, vocabulary: int) -> Any:
    """The SentencePiece vocabulary as a tokenizers file that splits every piece of text as SentencePiece does.

    Text after a special mark begins with a word mark, as in the published models: the prompt's parts around an image
    are pieces of their own there.
    """
    import sentencepiece
    from tokenizers import AddedToken, Tokenizer, decoders, models, normalizers, processors

    path = directory / "tokenizer.model"
    if not path.is_file():
        raise ValueError(f"{directory}: no tokenizer.model here; download the checkpoint again")
    try:
        pieces = sentencepiece.SentencePieceProcessor(model_file=str(path))
    except RuntimeError as error:
        raise ValueError(f"{path}: not a SentencePiece model ({error}); download it again") from error
    if pieces.vocab_size() != vocabulary:
        raise ValueError(
            f"{path}: the vocabulary has {pieces.vocab_size()} entries but config.json says {vocabulary}; "
            "tokenizer and weights do not belong together"
        )
    texts = [pieces.id_to_piece(i) for i in range(vocabulary)]
    ids = {text: i for i, text in enumerate(texts)}
    plain = [i for i in range(vocabulary) if not (pieces.is_byte(i) or pieces.is_control(i) or pieces.is_unknown(i))]
    words = {texts[i] for i in plain}
    merges: list[tuple[str, str]] = []
    for i in sorted((i for i in plain if len(texts[i]) > 1), key=lambda i: -pieces.get_score(i)):
        halves = ((texts[i][:at], texts[i][at:]) for at in range(1, len(texts[i])))
        merges += sorted((h for h in halves if words.issuperset(h)), key=lambda h: (ids[h[0]], ids[h[1]]))
    mark = "\u2581"
    tokenizer = Tokenizer(models.BPE(ids, merges, unk_token="<unk>", fuse_unk=True, byte_fallback=True))
    tokenizer.normalizer = normalizers.Sequence([normalizers.Prepend(mark), normalizers.Replace(" ", mark)])
    tokenizer.decoder = decoders.Sequence(
        [decoders.Replace(mark, " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    )
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<s> $A", pair="<s> $A <s> $B", special_tokens=[("<s>", ids["<s>"])]
    )
    special = [AddedToken(text, normalized=False, special=True) for text in ("<unk>", "<s>", "</s>", "<image>")]
    tokenizer.add_special_tokens(special)
    return tokenizer
