"""Training of the mini model: first the tower with a helper loss, then projector and decoder on questions about pictures.

A run is saved now and then and goes on from there. models/mini/README.md explains the recipe and gives its results.
"""

from __future__ import annotations

import json
import os
import shutil
import time
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from himap import files
from himap.mini import checkpoint, cross_checkpoint, cross_network, network
from himap.mini.batches import Batch, BatchMaker
from himap.mini.helper_losses import Heads, Words
from himap.mini.optimizer import Optimizer
from himap.mini.recipe import FREE, Recipe
from himap.mini.tokenizer import load_or_train

ARCHITECTURES = {"llava": (checkpoint, network), "mllama": (cross_checkpoint, cross_network)}


def to_tensors(batch: Batch, device: torch.device) -> dict[str, Tensor]:
    """Move the arrays of a batch to the device."""
    names = (
        "pixels",
        "glyphs",
        "colors",
        "ids",
        "positions",
        "turn",
        "labels",
        "weights",
        "letters",
        "verdicts",
        "rows",
        "columns",
        "clues",
        "finds",
    )
    return {name: torch.from_numpy(getattr(batch, name)).to(device) for name in names}


class _Steps(torch.utils.data.IterableDataset):
    """Yield the batches first to last - 1 in order; several worker processes share them."""

    def __init__(self, maker: BatchMaker, first: int, last: int):
        self.maker, self.first, self.last = maker, first, last

    def __iter__(self) -> Iterator[Batch]:
        worker = torch.utils.data.get_worker_info()
        mine, workers = (worker.id, worker.num_workers) if worker else (0, 1)
        for step in range(self.first + mine, self.last, workers):  # the loader takes one batch of each worker in turn
            yield self.maker[step]


class Trainer:
    """Hold model, optimizers and progress of one training run, saved and restored as a whole."""

    def __init__(self, recipe: Recipe, state: Path, device: str, compiled: bool, workers: int = 1):
        self.recipe, self.folder, self.device = recipe, state, torch.device(device)
        if recipe.start and not (state / "tokenizer.json").exists():
            files.write_text(state / "tokenizer.json", (Path(recipe.start) / "tokenizer.json").read_text())
        self.tokenizer = load_or_train(state / "tokenizer.json", recipe.corpus_pictures)
        torch.manual_seed(recipe.seed)
        self.form, networks = ARCHITECTURES[recipe.architecture]
        self.model = self.form.build(self.tokenizer)
        if recipe.start:
            self.form.load_weights(self.model, recipe.start)
        else:
            networks.initialize(self.model)
        self.model.to(self.device).float()
        # Where phases overlap the first counts: the curriculum goes from easy over choices to everything and then to hard.
        hard = (0 if recipe.start else recipe.hard_from, 1 << 29, "hard")
        easy = (0, recipe.easy_steps, "easy")
        choices = (recipe.choice_from, recipe.choice_from + recipe.choice_steps, "choices")
        phases = (hard,) if recipe.start else (easy, choices, hard)
        self.phases, self.workers = phases, workers
        self.batches = self._batches("train")
        dtype = activation_dtype(self.device)
        self.network = networks.Network(self.model, self.batches.prefix_ids, compiled, dtype)
        self.heads = Heads(self.form.FEATURES).to(self.device)
        self.words = Words(self.batches, self.tokenizer, self.device)
        # The last norm of the tower is never used (the features are taken before it), so it is not trained either.
        named = dict(self.model.named_parameters())
        tower = {k: v for k, v in named.items() if networks.TOWER in k and "post_layernorm" not in k}
        tower |= {f"heads.{k}": v for k, v in self.heads.named_parameters()}
        rest = {k: v for k, v in named.items() if networks.TOWER not in k}
        matrices = {k for k, v in rest.items() if v.ndim == 2 and ".layers." in k}
        self.tower_optimizer = Optimizer(tower, set(), 0.0, recipe.tower_rate)
        self.optimizer = Optimizer(rest, matrices, recipe.muon_rate, recipe.adam_rate, dtype=dtype)
        self.tower_step = recipe.tower_steps if recipe.start else 0  # a finished checkpoint has a trained tower
        self.step = 0
        self.seconds = 0.0  # of decoder training, over all resumed runs
        self.held_out: list[Batch] = []

    def _batches(self, split: str) -> BatchMaker:
        """Return the maker of a split's batches; the curriculum is that of training alone."""
        phases = self.phases if split == "train" else ()
        return BatchMaker(self.tokenizer, split, self.recipe.seed, self.recipe.pictures, phases, self.form.prefix_ids)

    def _tensors(self) -> dict[str, Tensor]:
        """Return all tensors that a resumed run needs."""
        tensors = {f"model.{k}": v for k, v in self.model.named_parameters()}
        tensors |= {f"heads.{k}": v for k, v in self.heads.named_parameters()}
        tensors |= {f"tower.{k}": v for k, v in self.tower_optimizer.state.items()}
        return tensors | {f"optimizer.{k}": v for k, v in self.optimizer.state.items()}

    def save(self) -> None:
        """Write weights, moments and counters in one file, atomically."""
        from safetensors.torch import save_file

        counters = {
            "tower_step": self.tower_step,
            "step": self.step,
            "seconds": self.seconds,
            "tower_optimizer_steps": self.tower_optimizer.steps,
            "optimizer_steps": self.optimizer.steps,
        }
        metadata = {"recipe": json.dumps(asdict(self.recipe)), "counters": json.dumps(counters)}
        tensors = {k: v.detach().cpu().contiguous() for k, v in self._tensors().items()}
        with files.replacing(self.folder / "state.safetensors") as temporary:
            save_file(tensors, temporary, metadata)

    def resume(self) -> bool:
        """Load the saved state and return True; False where there is none, an error where it is of another recipe."""
        from safetensors import safe_open

        path = self.folder / "state.safetensors"
        if not path.exists():
            return False
        with safe_open(path, "pt", device=str(self.device)) as saved:
            metadata = saved.metadata()
            earlier = json.loads(metadata["recipe"])
            other = [
                name for name, value in asdict(self.recipe).items() if earlier.get(name) != value and name not in FREE
            ]
            if other:
                raise ValueError(
                    f"{path}: was made with other values of {', '.join(other)}; use the same values or delete the file"
                )
            with torch.no_grad():
                for name, tensor in self._tensors().items():
                    tensor.copy_(saved.get_tensor(name))
        counters = json.loads(metadata["counters"])
        self.tower_step, self.step, self.seconds = counters["tower_step"], counters["step"], counters["seconds"]
        self.tower_optimizer.steps, self.optimizer.steps = (
            counters["tower_optimizer_steps"],
            counters["optimizer_steps"],
        )
        return True

    def log(self, **values: Any) -> None:
        """Write one line to the terminal and to the log file."""
        values = {k: round(v, 4) if isinstance(v, float) else v for k, v in values.items()}
        print(" ".join(f"{k} {v}" for k, v in values.items()), flush=True)
        with (self.folder / "log.jsonl").open("a", encoding="utf-8") as file:
            file.write(json.dumps(values) + "\n")

    def loader(self, first: int, last: int) -> Any:
        """Return batches first to last - 1, made by another process while this one computes."""
        steps = _Steps(self.batches, first, last)
        return torch.utils.data.DataLoader(steps, batch_size=None, num_workers=self.workers, prefetch_factor=6)

    def train_tower(self) -> None:
        """Train the tower to know what every patch shows; afterward it stays frozen, like LLaVA's."""
        total = self.recipe.tower_steps
        if self.tower_step >= total:
            return
        started = time.time()
        offset = 1 << 30  # other pictures than the decoder's
        for batch in self.loader(offset + self.tower_step, offset + total):
            data = to_tensors(batch, self.device)
            loss, right = self.heads.losses(
                self.network.cells(self.network.features(data["pixels"])).float(), data["glyphs"], data["colors"]
            )
            loss.backward()
            progress = self.tower_step / total
            self.tower_optimizer.step(min(1.0, (self.tower_step + 1) / 50, 2.5 * (1 - progress) + 0.02))
            self.tower_step += 1
            if self.tower_step % 100 == 0 or self.tower_step == total:
                self.log(
                    stage="tower",
                    step=self.tower_step,
                    loss=loss.item(),
                    patches_right=right.item(),
                    s=time.time() - started,
                )
        self.save()

    def progress(self) -> float:
        """Return the share of the decoder's training that is done."""
        if self.recipe.minutes:
            return self.seconds / (60 * self.recipe.minutes)
        return self.step / self.recipe.steps

    def loss(self, data: dict[str, Tensor]) -> tuple[Tensor, Tensor, Tensor]:
        """Return answer loss, alignment loss, and which answer tokens are predicted right (in row-major order)."""
        with torch.no_grad():
            features = self.network.features(data["pixels"])
        image = self.network.project(features.detach())
        states = self.network.decode(image, data["ids"], data["positions"], data["turn"])
        chosen = data["labels"] >= 0
        logits = self.network.logits(states[-1][chosen])
        weights = data["weights"][chosen]
        labels = data["labels"][chosen]
        answer = (F.cross_entropy(logits, labels, reduction="none") * weights).sum() / weights.sum()
        align = self.words.loss(self.network, data, self.network.cells(image), states, self.step)
        return answer, align, logits.detach().argmax(-1) == labels

    def train_decoder(self) -> None:
        """Train projector and decoder to answer."""
        recipe = self.recipe
        last = recipe.steps if not recipe.minutes else 1 << 29
        if self.progress() >= 1:
            return
        tick = time.time()
        recent: dict[str, float] = defaultdict(float)
        for batch in self.loader(self.step, last):
            answer, align, right = self.loss(to_tensors(batch, self.device))
            done = self.progress()
            helped = recipe.alignment if done < recipe.helpers_until else 0.0
            (answer + helped * align).backward()
            falling = (1 - done) / (1 - recipe.flat)
            self.optimizer.step(recipe.rate * max(0.01, min(1.0, (self.step + 1) / 100, falling)))
            self.step += 1
            now = time.time()
            self.seconds, tick = self.seconds + now - tick, now
            recent["answer"] += answer.item() / recipe.report_every
            recent["align"] += align.item() / recipe.report_every
            recent["right"] += right.float().mean().item() / recipe.report_every
            if self.step % recipe.report_every == 0:
                scores = self.evaluate()
                groups = {k: round(v, 2) for k, v in scores["groups"].items()}
                self.log(
                    stage="decoder",
                    step=self.step,
                    done=self.progress(),
                    s=self.seconds,
                    loss=recent["answer"],
                    align=recent["align"],
                    tokens_right=recent["right"],
                    held_out=scores["all"],
                    groups=json.dumps(groups),
                )
                recent.clear()
                tick = time.time()
            if self.step % recipe.save_every == 0:
                self.save()
                tick = time.time()
            if self.progress() >= 1:
                break
        self.save()

    @torch.no_grad()
    def evaluate(self, blind: bool = False) -> dict[str, Any]:
        """Return the share of held-out turns whose whole answer greedy decoding would give (every token the likeliest), by group."""
        if not self.held_out:
            maker = self._batches("validation")
            self.held_out = [maker[step] for step in range(self.recipe.held_out_batches)]
        hits: dict[str, list[bool]] = defaultdict(list)
        for batch in self.held_out:
            data = to_tensors(batch, self.device)
            if blind:
                data["pixels"] = torch.full_like(data["pixels"], 128)
            _, _, right = self.loss(data)
            correct = np.ones(batch.labels.shape, bool)  # tokens that are no part of an answer cannot be wrong
            correct[batch.labels >= 0] = right.cpu().numpy()
            for row, turn, group in batch.groups:
                hits[group].append(bool(correct[row][batch.turn[row] == turn].all()))
        every = [hit for group in hits.values() for hit in group]
        return {"all": float(np.mean(every)), "groups": {k: float(np.mean(v)) for k, v in sorted(hits.items())}}


def activation_dtype(device: torch.device) -> torch.dtype:
    """Return bf16 where the device computes in it, fp32 on a CPU that would only imitate it (many times slower)."""
    if device.type != "cpu" or torch.cpu.get_capabilities().get("avx512_bf16"):
        return torch.bfloat16
    return torch.float32


def can_compile(device: str) -> bool:
    """Return whether torch.compile has what it needs."""
    return device != "cpu" or shutil.which(os.environ.get("CXX", "g++")) is not None


def train(
    recipe: Recipe, out: Path, state: Path, device: str = "cpu", compiled: bool | None = None, workers: int = 1
) -> dict[str, Any]:
    """Train, or go on training, until the recipe is done; write the checkpoint and return its held-out scores."""
    state.mkdir(parents=True, exist_ok=True)
    trainer = Trainer(recipe, state, device, can_compile(device) if compiled is None else compiled, workers)
    resumed = trainer.resume()
    trainer.log(
        stage="start",
        resumed=resumed,
        tower_step=trainer.tower_step,
        step=trainer.step,
        vocabulary=len(trainer.tokenizer),
    )
    trainer.train_tower()
    trainer.train_decoder()
    trainer.form.save(trainer.model, trainer.tokenizer, out)
    scores = trainer.evaluate() | {"blind": trainer.evaluate(blind=True)}
    scores |= {"steps": trainer.step, "seconds": round(trainer.seconds), "recipe": asdict(recipe), "device": device}
    files.write_json(out / "training.json", scores)
    trainer.log(stage="end", held_out=scores["all"], blind=scores["blind"]["all"])
    return scores
