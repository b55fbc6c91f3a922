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
from himap.mini.batches import Batch, BatchMaker
from himap.mini.recipe import Recipe
from himap.mini.training_state import TrainingState


def to_tensors(batch: Batch, device: torch.device) -> dict[str, Tensor]:
    """Move the arrays of a batch to the device."""
    # All arrays; `groups`, the names of the questions, stays where it is.
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
        # Worker 0 of 3 makes batches 0, 3, 6 …; without workers this process makes all.
        mine, workers = (worker.id, worker.num_workers) if worker else (0, 1)
        for step in range(self.first + mine, self.last, workers):  # the loader takes one batch of each worker in turn
            yield self.maker[step]


class Trainer(TrainingState):
    """Train the model of a state: its tower, then its projector and decoder, and count what it answers right."""

    def log(self, **values: Any) -> None:
        """Write one line to the terminal and to the log file."""
        values = {k: round(v, 4) if isinstance(v, float) else v for k, v in values.items()}
        print(" ".join(f"{k} {v}" for k, v in values.items()), flush=True)
        with (self.folder / "log.jsonl").open("a", encoding="utf-8") as file:
            file.write(json.dumps(values) + "\n")

    def loader(self, first: int, last: int) -> Any:
        """Return batches first to last - 1, made by another process while this one computes."""
        # batch_size=None: what the data set yields is a batch already.
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
                # In fp32, since the helper heads' weights are.
                self.network.cells(self.network.features(data["pixels"])).float(),
                data["glyphs"],
                data["colors"],
            )
            loss.backward()
            progress = self.tower_step / total
            # The rate rises over 50 steps, stays until about 60 % of the training, then falls to a fiftieth.
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

    def loss(self, data: dict[str, Tensor]) -> tuple[Tensor, Tensor, Tensor]:
        """Return answer loss, alignment loss, and which answer tokens are predicted right (in row-major order)."""
        with torch.no_grad():
            features = self.network.features(data["pixels"])  # no gradients: the tower is frozen
        image = self.network.project(features.detach())
        states = self.network.decode(image, data["ids"], data["positions"], data["turn"])
        # [B*R, T], where the next token belongs to an answer; the head is applied there alone.
        chosen = data["labels"] >= 0
        logits = self.network.logits(states[-1][chosen])
        weights = data["weights"][chosen]
        labels = data["labels"][chosen]
        # Weighted by `BatchMaker`, so that a long caption does not outweigh twenty short answers.
        answer = (F.cross_entropy(logits, labels, reduction="none") * weights).sum() / weights.sum()
        align = self.words.loss(self.network, data, self.network.cells(image), states, self.step)
        return answer, align, logits.detach().argmax(-1) == labels

    def train_decoder(self) -> None:
        """Train projector and decoder to answer."""
        recipe = self.recipe
        # By the clock the number of steps is open, so the loader goes on until the loop breaks.
        last = recipe.steps if not recipe.minutes else 1 << 29
        if self.progress() >= 1:
            return
        tick = time.time()
        recent: dict[str, float] = defaultdict(float)
        for batch in self.loader(self.step, last):
            answer, align, right = self.loss(to_tensors(batch, self.device))
            done = self.progress()  # before this step, so that the first one is at 0
            helped = recipe.alignment if done < recipe.helpers_until else 0.0
            (answer + helped * align).backward()
            falling = (1 - done) / (1 - recipe.flat)
            # Warm-up over 100 steps, flat until `recipe.flat` of the training, then linearly down to 1 %.
            self.optimizer.step(recipe.rate * max(0.01, min(1.0, (self.step + 1) / 100, falling)))
            self.step += 1
            now = time.time()
            self.seconds, tick = self.seconds + now - tick, now  # saving and evaluating do not count as training
            # Means over the steps since the last report.
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
                # Mid-gray: what questions give away without the picture.
                data["pixels"] = torch.full_like(data["pixels"], 128)
            _, _, right = self.loss(data)
            correct = np.ones(batch.labels.shape, bool)  # tokens that are no part of an answer cannot be wrong
            # `right` is flat, in the row-major order of the chosen places, as numpy fills them.
            correct[batch.labels >= 0] = right.cpu().numpy()
            for row, turn, group in batch.groups:
                # One wrong token makes a whole answer wrong, as exact match does.
                hits[group].append(bool(correct[row][batch.turn[row] == turn].all()))
        every = [hit for group in hits.values() for hit in group]
        return {"all": float(np.mean(every)), "groups": {k: float(np.mean(v)) for k, v in sorted(hits.items())}}


def can_compile(device: str) -> bool:
    """Return whether torch.compile has what it needs."""
    # On a CPU torch.compile writes C++, which needs a compiler; CXX names it where it is not g++.
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
    # The checkpoint before its scores: a kill in between loses only what can be measured again.
    trainer.form.save(trainer.model, trainer.tokenizer, out)
    scores = trainer.evaluate() | {"blind": trainer.evaluate(blind=True)}
    scores |= {"steps": trainer.step, "seconds": round(trainer.seconds), "recipe": asdict(recipe), "device": device}
    files.write_json(out / "training.json", scores)
    trainer.log(stage="end", held_out=scores["all"], blind=scores["blind"]["all"])
    return scores
