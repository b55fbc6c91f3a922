"""The optimizer: Muon for the decoder's matrices, Adam for everything else.

Both keep their moments in one flat dictionary of tensors, so that a running state is one safetensors file.
"""

from __future__ import annotations

import torch
from torch import Tensor


def orthogonalize(matrices: Tensor, dtype: torch.dtype = torch.float32, steps: int = 5) -> Tensor:
    """Push the singular values of a stack of matrices [N, rows, columns] toward one (Newton-Schulz of fifth order)."""
    a, b, c = 3.4445, -4.7750, 2.0315  # Muon's coefficients: fast toward one, not exactly to it
    x = matrices.to(dtype)
    tall = x.shape[1] > x.shape[2]
    x = x.transpose(1, 2) if tall else x  # so that the product below is the smaller of the two
    # Frobenius norm: it is at least the largest singular value, and far above one the iteration diverges.
    x = x / (x.float().norm(dim=(1, 2), keepdim=True) + 1e-7).to(x.dtype)
    for _ in range(steps):
        gram = x @ x.transpose(1, 2)  # [N, rows, rows]
        # An odd polynomial of x, a s + b s^3 + c s^5 for each singular value s; singular vectors stay.
        x = a * x + (b * gram + c * gram @ gram) @ x
    return (x.transpose(1, 2) if tall else x).float()


def _gradient(parameter: Tensor) -> Tensor:
    """Return the gradient, zero where a parameter took no part in the loss."""
    return torch.zeros_like(parameter) if parameter.grad is None else parameter.grad


class Optimizer:
    """Update named parameters; those in `matrices` go through Muon."""

    def __init__(
        self,
        parameters: dict[str, Tensor],
        matrices: set[str],
        muon_rate: float,
        adam_rate: float,
        decay: float = 0.01,
        dtype: torch.dtype = torch.float32,  # of Muon's products
    ):
        self.parameters, self.dtype = parameters, dtype
        self.muon_rate, self.adam_rate, self.decay = muon_rate, adam_rate, decay
        self.stacks: dict[tuple[int, ...], list[str]] = {}  # matrices of one shape are updated together
        for name in sorted(matrices):
            self.stacks.setdefault(tuple(parameters[name].shape), []).append(name)
        # Sorted, because the order of a set of texts differs between processes.
        self.others = sorted(set(parameters) - matrices)
        self.state = {f"momentum.{name}": torch.zeros_like(parameters[name]) for name in parameters}
        # Muon has no second moment.
        self.state |= {f"variance.{name}": torch.zeros_like(parameters[name]) for name in self.others}
        self.steps = 0

    @torch.no_grad()
    def step(self, factor: float) -> None:
        """Update all parameters once, with the learning rates scaled by `factor`, and clear the gradients."""
        self.steps += 1
        for shape, names in self.stacks.items():
            gradients = torch.stack([_gradient(self.parameters[name]) for name in names])
            momenta = (
                # 0.95: Muon's usual momentum, as an average of gradients.
                torch.stack([self.state[f"momentum.{name}"] for name in names]).mul_(0.95).add_(gradients, alpha=0.05)
            )
            # The gradient is mixed in a second time (Nesterov).
            updates = orthogonalize(gradients.lerp(momenta, 0.95), self.dtype)
            # Matrices with more outputs than inputs take a larger step, as is usual with Muon.
            rate = factor * self.muon_rate * max(1.0, shape[0] / shape[1]) ** 0.5
            for i, name in enumerate(names):
                self.state[f"momentum.{name}"].copy_(momenta[i])
                # Decoupled weight decay, for Muon's matrices alone: it keeps them from growing without end.
                self.parameters[name].mul_(1 - rate * self.decay).sub_(updates[i], alpha=rate)
        beta1, beta2 = 0.9, 0.98  # Adam's, with a shorter memory of variances than the usual 0.999
        for name in self.others:
            parameter = self.parameters[name]
            # A parameter without a part in this loss keeps value and moments.
            if parameter.grad is None:
                continue
            momentum, variance = self.state[f"momentum.{name}"], self.state[f"variance.{name}"]
            momentum.lerp_(parameter.grad, 1 - beta1)
            variance.lerp_(parameter.grad.square(), 1 - beta2)
            # Adam's correction of moments that began at zero.
            scale = (1 - beta2**self.steps) ** 0.5 / (1 - beta1**self.steps)
            parameter.sub_(momentum / (variance.sqrt() + 1e-8), alpha=factor * self.adam_rate * scale)
        for parameter in self.parameters.values():
            parameter.grad = None
