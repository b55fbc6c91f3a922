"""Conversion writes what transformers itself reads, once, atomically; a killed one goes on; bad input is refused in one line."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import originals
import pytest
import torch
from himap.files import sha256
from himap.models.conversion.convert import convert
from himap.models.loading import load
from safetensors import safe_open
from warm import run_script

pytestmark = pytest.mark.slow

SCRIPTS = Path(__file__).parents[2] / "workflow_scripts"


@pytest.fixture
def llava(tmp_path: Path) -> Path:
    """A LLaVA-v1.5 that a test may spoil."""
    originals.write_llava(tmp_path / "llava")
    return tmp_path / "llava"


def edit_json(path: Path, **changes: Any) -> None:
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


def leftovers(out: Path) -> list[str]:
    return [path.name for path in out.parent.iterdir() if path.name.startswith((out.name, f".{out.name}"))]


def test_the_manifest_lists_every_file_with_its_checksum(llava: Path, tmp_path: Path) -> None:
    manifest = json.loads(
        convert(llava / "chat", llava / "clip", tmp_path / "out", origin={"source": "x/y"}).read_text()
    )
    assert manifest["layout"] == "llava"
    assert manifest["image_tokens"] == 16
    assert manifest["origin"] == {"source": "x/y"}
    files = {entry["name"]: entry for entry in manifest["files"]}
    assert files.keys() == {path.name for path in (tmp_path / "out").iterdir()} - {"manifest.json"}
    for name, entry in files.items():
        path = tmp_path / "out" / name
        assert (entry["bytes"], entry["sha256"]) == (path.stat().st_size, sha256(path))
    assert [entry["name"] for entry in manifest["sources"]] == [
        "pytorch_model-00001-of-00002.bin", "pytorch_model-00002-of-00002.bin", "pytorch_model.bin",
    ]  # fmt: skip
    assert manifest["sources"][2]["sha256"] == sha256(llava / "clip" / "pytorch_model.bin")


@pytest.mark.parametrize("name", ["llava", "internvl"])
def test_transformers_alone_reads_the_result_and_says_the_same(
    name: str, ready: Callable[[str], Path], recorded: Any
) -> None:
    """No code of this project: the model class, tokenizer and image processor of transformers on the converted folder."""
    from transformers import AutoTokenizer, LlavaForConditionalGeneration

    folder = ready(name)
    model, report = LlavaForConditionalGeneration.from_pretrained(folder, output_loading_info=True)
    assert not any(report[kind] for kind in ("missing_keys", "unexpected_keys", "mismatched_keys"))
    tokenizer = AutoTokenizer.from_pretrained(folder)
    sample = recorded[name]["samples"][1]
    count, mark = sample["feature_count"], tokenizer.convert_tokens_to_ids("<image>")
    assert mark == model.config.image_token_id
    ids = [t for token in sample["ids"] for t in ([mark] * count if token == -200 else [token])]
    text = sample["prompt"].replace("<image>", "<image>" * count)
    assert tokenizer(text)["input_ids"] == ids
    pixels = load(folder).preprocess([originals.image(1)])
    with torch.no_grad():
        logits = model(input_ids=torch.tensor([ids]), pixel_values=pixels).logits[0, -1]
    known = torch.tensor(sample["logits"])
    assert float((logits[: len(known)] - known).abs().max()) < 1e-4


def test_what_is_added_to_the_vocabulary_can_never_be_said(ready: Callable[[str], Path]) -> None:
    """The head's added rows are those of <unk>: their logits tie with an entry that comes before them."""
    model = load(ready("llava"))
    head = model.head.weight
    first = model.image_token_id
    assert head.shape[0] % 64 == 0
    assert torch.equal(head[first:], head[:1].expand(head.shape[0] - first, -1))


def test_the_dtype_of_the_source_is_kept(tmp_path: Path) -> None:
    originals.write_llava(tmp_path / "half", dtype="float16")
    convert(tmp_path / "half" / "chat", tmp_path / "half" / "clip", tmp_path / "out")
    with safe_open(tmp_path / "out" / "model-00001-of-00003.safetensors", "pt") as file:
        assert {file.get_tensor(name).dtype for name in file.keys()} == {torch.float16}  # noqa: SIM118


def test_an_internvl_that_carries_its_own_tower_needs_only_the_towers_config(tmp_path: Path) -> None:
    chat = originals.write_internvl(tmp_path / "a", tower_inside=True)
    tower = tmp_path / "a" / "InternViT-6B-224px"
    for path in tower.glob("pytorch_model*"):
        path.unlink()
    manifest = json.loads(convert(chat, tower, tmp_path / "out").read_text())
    assert manifest["tower"] == {"weights": "carried", "folder": str(tower)}
    model = load(tmp_path / "out")
    assert model.family == "internvl"
    assert torch.isfinite(model.encode_images(model.preprocess([originals.image(0)]))).all()


def test_of_two_towers_the_named_one_is_taken_and_their_difference_is_told(tmp_path: Path) -> None:
    """The chat checkpoint's tower is drawn from another seed than the one that its config names."""
    chat = originals.write_internvl(tmp_path / "a", tower_inside=True)
    plain = originals.write_internvl(tmp_path / "b")
    tower = tmp_path / "a" / "InternViT-6B-224px"
    done = run_script("convert_checkpoint.py", "--source", chat, "--tower", tower, "--out", tmp_path / "out")
    assert done.returncode == 0, done.stderr
    told = json.loads((tmp_path / "out" / "manifest.json").read_text())["tower"]
    assert (told["weights"], told["folder"]) == ("named", str(tower))
    assert told["compared"] > 60
    assert 0 < told["different"] <= told["compared"]
    assert told["largest_difference"] > 0.1
    assert f"of {told['compared']} tensors they differ in {told['different']}" in done.stderr
    convert(plain, tmp_path / "b" / tower.name, tmp_path / "plain")
    pixels = load(tmp_path / "plain").preprocess([originals.image(0)])
    towers = [load(tmp_path / name).module.model.vision_tower for name in ("out", "plain")]
    assert torch.equal(*(tower.embeddings(pixels) for tower in towers))


def test_qwen_converted_is_qwen_as_published(published: Path, tmp_path: Path, loaded: Any) -> None:
    convert(published / "qwen", None, tmp_path / "out")
    assert not list((tmp_path / "out").glob("*.bin"))
    one, other = loaded("qwen"), load(tmp_path / "out")
    for (name, tensor), (same, again) in zip(
        one.module.named_parameters(), other.module.named_parameters(), strict=True
    ):
        assert name == same
        assert torch.equal(tensor, again)


def test_converting_again_changes_nothing(llava: Path, tmp_path: Path) -> None:
    manifest = convert(llava / "chat", llava / "clip", tmp_path / "out")
    before = {path.name: path.stat().st_mtime_ns for path in (tmp_path / "out").iterdir()}
    assert convert(llava / "chat", llava / "clip", tmp_path / "out") == manifest
    assert {path.name: path.stat().st_mtime_ns for path in (tmp_path / "out").iterdir()} == before


KILLED = """
import os, signal, sys
from pathlib import Path
from himap.models.conversion import convert as conversion
write, left = conversion.write_safetensors, [1]
def once_then_die(path, named):
    if not left:
        path.with_name(f".{path.name}.x.tmp").write_bytes(b"half of a file")
        os.kill(os.getpid(), signal.SIGKILL)
    left.pop()
    return write(path, named)
conversion.write_safetensors = once_then_die
conversion.convert(Path(sys.argv[1]), Path(sys.argv[2]), Path(sys.argv[3]))
"""


def test_a_killed_conversion_is_continued(llava: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    arguments = [str(llava / "chat"), str(llava / "clip"), str(out)]
    killed = subprocess.run([sys.executable, "-c", KILLED, *arguments], capture_output=True)
    assert killed.returncode == -signal.SIGKILL
    assert not out.exists()
    first = tmp_path / "out.partial" / "model-00001-of-00003.safetensors"
    inode, written = first.stat().st_ino, first.stat().st_mtime_ns
    convert(llava / "chat", llava / "clip", out)
    kept = (out / first.name).stat()
    assert (kept.st_ino, kept.st_mtime_ns) == (inode, written)  # the finished file was not made again
    assert leftovers(out) == ["out"]
    assert not any(path.name.endswith(".tmp") for path in out.iterdir())
    convert(llava / "chat", llava / "clip", tmp_path / "fresh")
    for path in out.glob("*.safetensors"):
        assert sha256(path) == sha256(tmp_path / "fresh" / path.name)


def test_a_conversion_killed_before_its_manifest_converts_nothing_again(
    llava: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def die(path: Path) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr("himap.models.conversion.convert._file", die)
        with pytest.raises(KeyboardInterrupt):
            convert(llava / "chat", llava / "clip", tmp_path / "out")
    made = {path.name: path.stat().st_mtime_ns for path in (tmp_path / "out.partial").glob("*.safetensors")}
    manifest = convert(llava / "chat", llava / "clip", tmp_path / "out")
    assert {path.name: path.stat().st_mtime_ns for path in (tmp_path / "out").glob("*.safetensors")} == made != {}
    listed = {entry["name"] for entry in json.loads(manifest.read_text())["files"]}
    assert listed | {"manifest.json"} == {path.name for path in manifest.parent.iterdir()}


def test_a_conversion_killed_while_it_writes_is_continued(tmp_path: Path) -> None:
    """The script itself, killed from outside in the middle of its second file, as a machine's end would."""
    sizes = {"width": 256, "layers": 10, "heads": 8, "ffn": 1024}
    originals.write_llava(tmp_path / "llava", shards=3, sizes=sizes)
    arguments = ["--source", tmp_path / "llava" / "chat", "--tower", tmp_path / "llava" / "clip", "--out"]
    command = [sys.executable, str(SCRIPTS / "convert_checkpoint.py"), *map(str, arguments), str(tmp_path / "out")]
    running = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    partial = tmp_path / "out.partial"
    while not list(partial.glob(".model-00002*")):
        assert running.poll() is None, running.stderr and running.stderr.read()
        time.sleep(0.001)
    running.send_signal(signal.SIGKILL)
    assert running.wait() == -signal.SIGKILL
    assert not (tmp_path / "out").exists()
    kept = (partial / "model-00001-of-00004.safetensors").stat()
    done = run_script("convert_checkpoint.py", *arguments, tmp_path / "out")
    assert done.returncode == 0, done.stderr
    same = (tmp_path / "out" / "model-00001-of-00004.safetensors").stat()
    assert (same.st_ino, same.st_mtime_ns) == (kept.st_ino, kept.st_mtime_ns)
    assert leftovers(tmp_path / "out") == ["out"]
    manifest = json.loads((tmp_path / "out" / "manifest.json").read_text())
    assert {entry["name"] for entry in manifest["files"]} == {p.name for p in (tmp_path / "out").iterdir()} - {
        "manifest.json"
    }
    assert all(entry["sha256"] == sha256(tmp_path / "out" / entry["name"]) for entry in manifest["files"])
    load(tmp_path / "out")


def test_a_started_conversion_of_other_weights_is_not_continued(llava: Path, tmp_path: Path) -> None:
    subprocess.run(
        [sys.executable, "-c", KILLED, llava / "chat", llava / "clip", tmp_path / "out"], capture_output=True
    )
    assert (tmp_path / "out.partial").is_dir()
    shutil.rmtree(llava)
    originals.write_llava(llava, seed=99)
    convert(llava / "chat", llava / "clip", tmp_path / "out")
    convert(llava / "chat", llava / "clip", tmp_path / "fresh")
    for path in (tmp_path / "out").glob("*.safetensors"):
        assert sha256(path) == sha256(tmp_path / "fresh" / path.name)


def test_the_script_converts(llava: Path, tmp_path: Path) -> None:
    done = run_script(
        "convert_checkpoint.py", "--source", llava / "chat", "--tower", llava / "clip", "--out", tmp_path / "out"
    )
    assert done.returncode == 0, done.stderr
    assert Path(done.stdout.strip()) == tmp_path / "out" / "manifest.json"


def test_help_needs_no_torch() -> None:
    code = (
        "import runpy, sys; sys.argv = ['x', '--help']\ntry: runpy.run_path(sys.argv[0] and PATH, run_name='__main__')"
    )
    code = code.replace("PATH", repr(str(SCRIPTS / "convert_checkpoint.py")))
    code += "\nexcept SystemExit: pass\nassert 'torch' not in sys.modules and 'transformers' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)


# ---------------------------------------------------------------- what is refused


def missing_shard(folder: Path) -> None:
    (folder / "chat" / "pytorch_model-00002-of-00002.bin").unlink()


def cut_shard(folder: Path) -> None:
    path = folder / "chat" / "pytorch_model-00002-of-00002.bin"
    path.write_bytes(path.read_bytes()[:5000])


def other_architecture(folder: Path) -> None:
    edit_json(folder / "chat" / "config.json", architectures=["LlavaMistralForCausalLM"], model_type="llava_mistral")


def other_projector(folder: Path) -> None:
    edit_json(folder / "chat" / "config.json", mm_projector_type="linear")


def other_depth(folder: Path) -> None:
    edit_json(folder / "chat" / "config.json", num_hidden_layers=5)


def other_width(folder: Path) -> None:
    edit_json(folder / "chat" / "config.json", intermediate_size=72)


def other_vocabulary(folder: Path) -> None:
    originals.write_sentencepiece(folder / "chat" / "tokenizer.model", merges=60)


def no_vocabulary(folder: Path) -> None:
    (folder / "chat" / "tokenizer.model").unlink()


def other_tower(folder: Path) -> None:
    edit_json(folder / "clip" / "config.json", model_type="siglip", vision_config={"model_type": "siglip_vision_model"})


def no_weights(folder: Path) -> None:
    (folder / "clip" / "pytorch_model.bin").unlink()


def code_in_the_weights(folder: Path) -> None:
    """A pickle that would make a file if it were allowed to run."""

    class Payload:
        def __reduce__(self) -> tuple[Any, ...]:
            return (Path.touch, (folder / "it-ran",))

    torch.save({"model.norm.weight": Payload()}, folder / "chat" / "pytorch_model-00002-of-00002.bin")


REFUSED = [
    (missing_shard, "1 of 2 weight files are missing (pytorch_model-00002-of-00002.bin)"),
    (cut_shard, "pytorch_model-00002-of-00002.bin"),
    (other_architecture, "LlavaMistralForCausalLM"),
    (other_projector, "mm_projector_type = 'linear'"),
    (other_depth, "lacks 9 tensors: language_model.model.layers.4.input_layernorm.weight, "),
    (other_width, "config.json makes it (72, 32)"),
    (other_vocabulary, "the vocabulary has"),
    (no_vocabulary, "no tokenizer.model here"),
    (other_tower, "siglip_vision_model"),
    (no_weights, "no weights here"),
    (code_in_the_weights, "something other than tensors"),
]


@pytest.mark.parametrize(("spoil", "message"), REFUSED, ids=[spoil.__name__ for spoil, _ in REFUSED])
def test_bad_input_is_refused_before_anything_is_written(
    spoil: Callable[[Path], None], message: str, llava: Path, tmp_path: Path
) -> None:
    spoil(llava)
    with pytest.raises(ValueError) as error:
        convert(llava / "chat", llava / "clip", tmp_path / "out")
    assert message in str(error.value)
    assert "\n" not in str(error.value)
    assert leftovers(tmp_path / "out") == []
    assert not (llava / "it-ran").exists()


def test_the_script_ends_with_one_line(llava: Path, tmp_path: Path) -> None:
    missing_shard(llava)
    done = run_script(
        "convert_checkpoint.py", "--source", llava / "chat", "--tower", llava / "clip", "--out", tmp_path / "out"
    )
    assert done.returncode == 1
    assert done.stderr.startswith("error: ")
    assert done.stderr.count("\n") == 1
    assert leftovers(tmp_path / "out") == []


def test_another_folders_contents_are_left_alone(llava: Path, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "thesis.tex").write_text("precious")
    with pytest.raises(ValueError, match="the folder has other files in it already"):
        convert(llava / "chat", llava / "clip", tmp_path / "out")
    assert (tmp_path / "out" / "thesis.tex").read_text() == "precious"


def test_a_source_that_is_nowhere_is_named(tmp_path: Path) -> None:
    done = run_script("convert_checkpoint.py", "--source", tmp_path / "nothing", "--out", tmp_path / "out")
    assert done.returncode == 1
    assert "no such folder" in done.stderr


def test_an_unknown_revision_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The hub's answer to a revision that it does not have, without the hub."""
    from types import SimpleNamespace

    import huggingface_hub
    from himap.models.checkpoints import snapshot
    from huggingface_hub.errors import RevisionNotFoundError

    def not_there(*_: Any, **__: Any) -> None:
        raise RevisionNotFoundError("404", response=SimpleNamespace(headers={}, request=None))

    monkeypatch.setattr(huggingface_hub, "snapshot_download", not_there)
    with pytest.raises(ValueError, match=r"liuhaotian/llava-v1\.5-7b: the hub knows no revision 'deadbee'"):
        snapshot("liuhaotian/llava-v1.5-7b", "deadbee")


def test_fetching_or_loading_an_unknown_revision_names_it_and_writes_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from types import SimpleNamespace

    import fetch_model
    import huggingface_hub
    from huggingface_hub.errors import LocalEntryNotFoundError, RevisionNotFoundError

    def not_there(*_: Any, local_files_only: bool = False, **__: Any) -> None:
        if local_files_only:
            raise LocalEntryNotFoundError("not in the cache")
        raise RevisionNotFoundError("404", response=SimpleNamespace(headers={}, request=None))

    monkeypatch.setattr(huggingface_hub, "snapshot_download", not_there)
    message = r"Qwen/Qwen-VL-Chat: the hub knows no revision 'deadbee' of it"
    out = tmp_path / "manifest.json"
    with pytest.raises(ValueError, match=message):
        fetch_model.main(
            [
                "--id",
                "Qwen/Qwen-VL-Chat",
                "--revision",
                "deadbee",
                "--cache-dir",
                str(tmp_path / "c"),
                "--out",
                str(out),
            ]
        )
    assert not out.exists()
    with pytest.raises(ValueError, match=message):
        load("Qwen/Qwen-VL-Chat", revision="deadbee")


def test_a_published_vicuna_model_is_sent_to_the_conversion(published: Path) -> None:
    with pytest.raises(ValueError, match=r"python workflow_scripts/convert_checkpoint.py --source .*chat --out"):
        load(published / "llava" / "chat")
