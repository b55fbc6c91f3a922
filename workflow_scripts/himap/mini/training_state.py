"""The state of a training run: model, optimizers and progress, saved and restored as a whole.

A killed run goes on from its last save as if nothing had happened: weights, moments and counters are in one file.
"""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

import torch
from torch import Tensor

from himap import files
from himap.mini import checkpoint, cross_checkpoint, cross_network, network
from himap.mini.batches import Batch, BatchMaker
from himap.mini.helper_losses import Heads, Words
from himap.mini.optimizer import Optimizer
from himap.mini.recipe import FREE, Recipe
from himap.mini.tokenizer import load_or_train

# Each has a module for its checkpoint and one for its forward pass, with the same names in both.
ARCHITECTURES = {"llava": (checkpoint, network), "mllama": (cross_checkpoint, cross_network)}


class TrainingState:
    """Hold model, optimizers and progress of one training run, saved and restored as a whole."""

    def __init__(self, recipe: Recipe, state: Path, device: str, compiled: bool, workers: int = 1):
        self.recipe, self.folder, self.device = recipe, state, torch.device(device)
        # Weights and vocabulary belong together: other tokens would make the start's embeddings meaningless.
        if recipe.start and not (state / "tokenizer.json").exists():
            files.write_text(state / "tokenizer.json", (Path(recipe.start) / "tokenizer.json").read_text())
        self.tokenizer = load_or_train(state / "tokenizer.json", recipe.corpus_pictures)
        # Right before the weights are drawn, so that nothing done before decides them.
        torch.manual_seed(recipe.seed)
        self.form, networks = ARCHITECTURES[recipe.architecture]
        self.model = self.form.build(self.tokenizer)
        if recipe.start:
            self.form.load_weights(self.model, recipe.start)
        else:
            networks.initialize(self.model)
        self.model.to(self.device).float()  # master weights in fp32; the passes cast what they multiply
        # Where phases overlap the first counts: the curriculum goes from easy over choices to everything and then to hard.
        # 1 << 29: never ends. (first, last) is [first, last), as `BatchMaker` reads it.
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
        # Muon is for hidden matrices; embedding (the tied head), projector and norms go through Adam.
        matrices = {k for k, v in rest.items() if v.ndim == 2 and ".layers." in k}
        self.tower_optimizer = Optimizer(tower, set(), 0.0, recipe.tower_rate)  # Adam alone
        self.optimizer = Optimizer(rest, matrices, recipe.muon_rate, recipe.adam_rate, dtype=dtype)
        self.tower_step = recipe.tower_steps if recipe.start else 0  # a finished checkpoint has a trained tower
        self.step = 0
        self.seconds = 0.0  # of decoder training, over all resumed runs
        self.held_out: list[Batch] = []  # made by the first evaluation and kept, the same for all

    def _batches(self, split: str) -> BatchMaker:
        """Return the maker of a split's batches; the curriculum is that of training alone."""
        phases = self.phases if split == "train" else ()
        return BatchMaker(self.tokenizer, split, self.recipe.seed, self.recipe.pictures, phases, self.form.prefix_ids)

    def _tensors(self) -> dict[str, Tensor]:
        """Return all tensors that a resumed run needs."""
        # Tied weights are one parameter, so `named_parameters` has each tensor once, as safetensors demands.
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
        # safetensors refuses tensors that share memory or are not contiguous.
        tensors = {k: v.detach().cpu().contiguous() for k, v in self._tensors().items()}
        # A kill while writing leaves the earlier state.
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
            # A key that the saved recipe lacks counts as different: its value then is unknown.
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
                    tensor.copy_(saved.get_tensor(name))  # in place, since optimizers and passes hold these tensors
        counters = json.loads(metadata["counters"])
        self.tower_step, self.step, self.seconds = counters["tower_step"], counters["step"], counters["seconds"]
        self.tower_optimizer.steps, self.optimizer.steps = (
            counters["tower_optimizer_steps"],
            counters["optimizer_steps"],
        )
        return True

    def progress(self) -> float:
        """Return the share of the decoder's training that is done."""
        if self.recipe.minutes:
            # By the clock of all resumed runs together.
            return self.seconds / (60 * self.recipe.minutes)
        return self.step / self.recipe.steps


def activation_dtype(device: torch.device) -> torch.dtype:
    """Return bf16 where the device computes in it, fp32 on a CPU that would only imitate it (many times slower)."""
    if device.type != "cpu" or torch.cpu.get_capabilities().get("avx512_bf16"):
        return torch.bfloat16
    return torch.float32
