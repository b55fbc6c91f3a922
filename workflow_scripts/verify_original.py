"""Compare this project's LLaVA-v1.5 with the original implementation on the same weights and a few samples.

There are three steps, because the two implementations need different environments:

  ours      asks the converted checkpoint here; writes the questions with prompts, ids, logits and answers
  original  asks the checkpoint as published, in the environment of envs/llava.yaml; imports the package llava
  compare   writes a small table of both (CSV and HTML)

The torch 2.0.1 of that environment cannot open a pickle safely, not even with weights_only (CVE-2025-32434), so it never
opens one: `original` first runs a fourth step with the project's own Python, which can also be run by hand:

  rewrite   writes the published checkpoint and its vision tower as safetensors, for `original --checkpoint`
"""

from __future__ import annotations

import argparse
import base64
import importlib.util
import io
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from himap.files import read_json, write_json
from himap.workflow.jobs.script import run

SENTINEL = -200  # the original's id for an image


def main(argv: Sequence[str] | None = None) -> None:
    """Run one of the steps."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    steps = parser.add_subparsers(dest="step", required=True)
    ours = steps.add_parser("ours", help="ask the converted checkpoint")
    ours.add_argument("--model", required=True, metavar="DIR", help="folder of the converted checkpoint, or a hub id")
    ours.add_argument("--revision", help="revision of a hub id")
    ours.add_argument("--benchmark", required=True, help="name of the benchmark")
    ours.add_argument("--samples", required=True, metavar="FILE", help="its samples.parquet")
    ours.add_argument("--limit", type=int, default=8, help="how many samples (default: 8)")
    ours.add_argument("--max-new-tokens", type=int, default=16, help="longest answer (default: 16)")
    original = steps.add_parser("original", help="ask the published checkpoint, in the environment of envs/llava.yaml")
    rewritten = steps.add_parser("rewrite", help="the published checkpoint as safetensors")
    for step in (original, rewritten):
        step.add_argument("--checkpoint", required=True, metavar="DIR|ID", help="the checkpoint as published")
        step.add_argument("--revision", help="revision of a hub id")
        step.add_argument("--tower", metavar="DIR|ID", help="its vision tower, if it is not where the config says")
    rewritten.add_argument("--out", required=True, metavar="DIR", help="folder to write")
    original.add_argument("--ours", required=True, metavar="FILE", help="the file that the step `ours` wrote")
    ours.add_argument("--dtype", default="float16", choices=["float16", "bfloat16", "float32"], help="used by both")
    for step in (ours, original):
        step.add_argument("--device", default="auto", help="auto (a GPU if there is one), cpu, cuda, cuda:1 ...")
    compared = steps.add_parser("compare", help="make the table")
    compared.add_argument("--ours", required=True, metavar="FILE")
    compared.add_argument("--original", required=True, metavar="FILE")
    for step in (ours, original, compared):
        step.add_argument(
            "--out", required=True, metavar="FILE", help="file to write (compare: .csv, and .html beside it)"
        )
    arguments = parser.parse_args(argv)
    functions = {"ours": ask_ours, "original": rewrite_and_ask_original, "compare": compare, "rewrite": rewrite}
    functions[arguments.step](arguments)


def device_of(name: str) -> str:
    """Return the device with this name; `auto` and `cuda` take a GPU that no other job uses."""
    import torch
    from himap.workflow.jobs.gpus import claim

    if name in ("auto", "cuda"):
        claim()
    return ("cuda" if torch.cuda.is_available() else "cpu") if name == "auto" else name


def ask_ours(arguments: argparse.Namespace) -> None:
    """Write prompts, ids, logits after the prompt, and greedy answers of this project."""
    from itertools import islice

    from himap.benchmarks import get, read_samples
    from himap.decoder.generation import generate
    from himap.experiments.pictures import open_image
    from himap.models.families import llava
    from himap.models.loading import load

    benchmark = get(arguments.benchmark)
    device = device_of(arguments.device)
    # The package llava pads every picture, whatever its scripts of 2023 did with a benchmark's.
    model = load(arguments.model, revision=arguments.revision, device=device, dtype=arguments.dtype, image_mode="pad")
    if model.family != "llava":
        raise ValueError(
            f"{arguments.model}: family {model.family!r} cannot be compared; the package llava runs LLaVA-v1.5 only"
        )
    rows = []
    for sample in islice(read_samples(arguments.samples), arguments.limit):
        prompt = benchmark.prompt(sample, model.family)
        picture = open_image(sample.images[0], f"sample {sample.sample_id!r}")
        # [1, image tokens, width]
        features = model.encode_images(model.preprocess([picture]).to(model.device))
        ids = model.tokenize(prompt, [features.shape[1]])
        answer = generate(model, model.embed([ids], [features]), arguments.max_new_tokens)
        # PNG, since both implementations must see the same pixels.
        data = io.BytesIO()
        picture.convert("RGB").save(data, "PNG")
        rows.append(
            {
                "sample_id": sample.sample_id,
                # The original puts a line break of its own between the picture and the text.
                "text": prompt.text.lstrip("\n"),
                "style": prompt.style,
                "image": base64.b64encode(data.getvalue()).decode(),
                "prompt": llava.prompt_text(prompt, "vicuna_v1", ["<image>"]),
                "ids": collapse_images(ids, model.image_token_id),
                "logits": [round(value, 5) for value in answer.first_logits[0].tolist()],
                "answer_ids": without_special(answer.ids[0]),
                "answer": model.detokenize(answer.ids[0]),
            }
        )
    options = {"dtype": arguments.dtype, "max_new_tokens": arguments.max_new_tokens}
    write_json(arguments.out, options | {"made_with": describe_software(device), "rows": rows})


def describe_software(device: str) -> str:
    """Return the versions and the device behind an answer."""
    from importlib.metadata import version

    import torch

    where = torch.cuda.get_device_name() if device.startswith("cuda") else "CPU"
    return f"torch {version('torch')}, transformers {version('transformers')}, {where}"


def collapse_images(ids: Sequence[int], image_token: int) -> list[int]:
    """Return ids with each run of image tokens as one sentinel, as the original has them."""
    collapsed: list[int] = []
    for token in ids:
        if token != image_token:
            collapsed.append(token)
        elif not collapsed or collapsed[-1] != SENTINEL:
            collapsed.append(SENTINEL)
    return collapsed


def without_special(ids: Sequence[int]) -> list[int]:
    """Return an answer's ids without <unk>, <s> and </s>, because the original begins an answer with <s>."""
    # Vicuna's ids 0, 1 and 2.
    return [token for token in ids if token > 2]


def rewrite(arguments: argparse.Namespace) -> None:
    """Write the published checkpoint and its tower as safetensors in one folder. Raise ValueError for more than tensors."""
    import torch
    from himap.models.checkpoints import snapshot
    from himap.models.conversion.layout import default_tower

    if torch.__version__ < "2.6":  # torch compares this text as a version; 2.6 fixed CVE-2025-32434
        raise ValueError(
            f"torch {torch.__version__} cannot open a pickle safely; run this step with the project's own Python"
        )
    directory = snapshot(arguments.checkpoint, arguments.revision)
    tower = arguments.tower or default_tower(directory)
    if tower is None:
        raise ValueError(f"{arguments.checkpoint}: its config names no vision tower; give one with --tower")
    write_safely(directory, Path(arguments.out))
    write_safely(snapshot(tower), Path(arguments.out) / "tower")


def write_safely(directory: Path, out: Path) -> None:
    """Write a checkpoint's weights as safetensors under their own names, and its configs and tokenizer beside them."""
    from himap.models.checkpoints import INDEXES, tensors, weight_files
    from himap.models.conversion.safetensors_writer import write_safetensors

    weight_map: dict[str, str] = {}
    files = weight_files(directory)
    for number, file in enumerate(files, start=1):
        name = f"model-{number:05d}-of-{len(files):05d}.safetensors"
        weights = [(key, tensor) for key, tensor in tensors(file) if tensor.is_floating_point()]  # no position ids
        weight_map |= dict.fromkeys(write_safetensors(out / name, weights), name)
    write_json(out / INDEXES[0], {"metadata": {}, "weight_map": weight_map})
    for file in directory.iterdir():
        if file.suffix in (".json", ".model", ".txt") and file.name not in INDEXES:
            shutil.copyfile(file, out / file.name)


def rewrite_and_ask_original(arguments: argparse.Namespace) -> None:
    """Run the step `original` on a folder of the step `rewrite`, or else rewrite the checkpoint into a temporary one."""
    if importlib.util.find_spec("llava") is None:
        raise ValueError(
            "the package llava is not installed here: use `--sdm conda`, or make a virtual environment from "
            "envs/requirements-llava.txt and set HIMAP_LLAVA_PYTHON to its Python"
        )
    if (Path(arguments.checkpoint) / "tower").is_dir():
        return ask_original(arguments, Path(arguments.checkpoint))
    # Beside the output and not in /tmp, which may not have room for 14 GB.
    with tempfile.TemporaryDirectory(dir=Path(arguments.out).parent, prefix=".safetensors-") as folder:
        words = ["rewrite", "--checkpoint", arguments.checkpoint, "--out", folder]
        words += ["--revision", arguments.revision] if arguments.revision else []
        words += ["--tower", arguments.tower] if arguments.tower else []
        if subprocess.run([project_python(), __file__, *words], check=False).returncode:
            raise ValueError(
                f"{arguments.checkpoint}: {project_python()} could not rewrite it as safetensors; run `verify_original.py "
                "rewrite` with the project's own Python and set the model's `original` to the folder that it writes"
            )
        ask_original(arguments, Path(folder))


def project_python() -> str:
    """Return the first Python on PATH that is not this one: that of the project, which every other rule calls."""
    here = Path(sys.executable).parent
    programs = (shutil.which("python", path=folder) for folder in os.get_exec_path() if Path(folder) != here)
    return next(filter(None, programs), sys.executable)


def refuse_pickle(*_: Any, **__: Any) -> Any:
    """Raise ValueError in place of torch.load."""
    raise ValueError("the original's torch must not open a pickle; give it safetensors (verify_original.py rewrite)")


def ask_original(arguments: argparse.Namespace, folder: Path) -> None:
    """Write prompts, ids, logits and answers of the original implementation, on weights that are safetensors."""
    from importlib.metadata import version

    import torch

    torch.load = refuse_pickle  # the package llava calls it in places that we do not control
    from llava.conversation import conv_templates
    from llava.mm_utils import process_images, tokenizer_image_token
    from llava.model.language_model.llava_llama import LlavaConfig, LlavaLlamaForCausalLM
    from PIL import Image
    from transformers import AutoTokenizer

    ours, device = read_json(arguments.ours), device_of(arguments.device)
    # The precision of the other side, so that logits compare.
    dtype = getattr(torch, ours["dtype"])
    config = LlavaConfig.from_pretrained(str(folder))
    # The package loads the tower from the place that the config names: the rewritten one, not the hub's pickle.
    config.mm_vision_tower = str((folder / "tower").resolve())
    tokenizer = AutoTokenizer.from_pretrained(str(folder), use_fast=False)
    model = LlavaLlamaForCausalLM.from_pretrained(
        str(folder), config=config, torch_dtype=dtype, low_cpu_mem_usage=True, use_safetensors=True
    )
    tower = model.get_vision_tower()
    if not tower.is_loaded:
        tower.load_model()
    model = model.to(device).eval()
    tower.to(device=device, dtype=dtype)
    rows = []
    for row in ours["rows"]:
        chat = conv_templates["llava_v1" if row["style"] == "fastv" else "vicuna_v1"].copy()
        chat.append_message(chat.roles[0], f"<image>\n{row['text']}")
        chat.append_message(chat.roles[1], None)
        prompt = chat.get_prompt()
        picture = Image.open(io.BytesIO(base64.b64decode(row["image"])))
        pixels = process_images([picture], tower.image_processor, config).to(device, dtype)
        ids = tokenizer_image_token(prompt, tokenizer, SENTINEL, return_tensors="pt")[None].to(device)
        with torch.inference_mode():
            # After the prompt's last token: [vocabulary], in float32 to be written with five digits.
            logits = model(input_ids=ids, images=pixels, use_cache=False).logits[0, -1].float()
            answer = model.generate(
                ids, images=pixels, do_sample=False, num_beams=1, max_new_tokens=ours["max_new_tokens"]
            )
        answer = answer[0].tolist()
        # Whether `generate` repeats the prompt before the answer depends on the version of transformers.
        answer = answer[ids.shape[1] :] if answer[: ids.shape[1]] == ids[0].tolist() else answer
        rows.append(
            {
                "sample_id": row["sample_id"],
                "prompt": prompt,
                "ids": ids[0].tolist(),
                "logits": [round(value, 5) for value in logits.tolist()],
                "answer_ids": without_special(answer),
                "answer": str(tokenizer.decode(answer, skip_special_tokens=True)).strip(),
            }
        )
    software = f"llava-torch {version('llava-torch')}, {describe_software(device)}"
    write_json(arguments.out, {"made_with": software, "rows": rows})


def compare(arguments: argparse.Namespace) -> None:
    """Write the table of both as CSV and HTML."""
    from himap.tools.original_table import write_comparison

    write_comparison(arguments.ours, arguments.original, Path(arguments.out))


if __name__ == "__main__":
    run(main)
