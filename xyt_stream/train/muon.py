"""Implements the Muon optimizer (K. Jordan, 2024), batched over matrices of one shape."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable

import torch
from torch import Tensor, nn

COEFFICIENTS = (3.4445, -4.7750, 2.0315)  # of Jordan's quintic iteration
ITERATIONS = 5
EPS = 1e-7
MOMENTUM = 0.95  # Nesterov's


def orthogonalise(matrices: Tensor, dtype: torch.dtype) -> Tensor:
    """Makes matrices [count, rows, columns] nearly orthogonal by Newton-Schulz iterations.

    Args:
        dtype: dtype of the products; the result has the dtype of `matrices`.
    """
    a, b, c = COEFFICIENTS
    tall = matrices.shape[1] > matrices.shape[2]
    x = (matrices.mT if tall else matrices).to(dtype)
    x = x / x.norm(dim=(1, 2), keepdim=True).clamp(min=EPS)
    for _ in range(ITERATIONS):
        gram = x @ x.mT
        x = torch.baddbmm(x, torch.baddbmm(gram, gram, gram, beta=b, alpha=c), x, beta=a)
    return (x.mT if tall else x).to(matrices.dtype)


class Muon(torch.optim.Optimizer):
    """Takes the same steps as `torch.optim.Muon`: momentum, then orthogonalisation.

    torch's version takes matrices one by one and always casts to bfloat16, which is many times
    slower than float32 on processors without bfloat16 products.

    Args:
        parameters: matrices.
        lr: learning rate.
        dtype: dtype of the products in `orthogonalise`.
    """

    def __init__(
        self, parameters: Iterable[nn.Parameter], *, lr: float, dtype: torch.dtype
    ) -> None:
        super().__init__(parameters, {"lr": lr})
        self.dtype = dtype

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # type: ignore[override]
        """Applies the gradients."""
        for group in self.param_groups:
            by_shape: dict[torch.Size, list[nn.Parameter]] = defaultdict(list)
            for parameter in group["params"]:
                if parameter.grad is not None:
                    by_shape[parameter.shape].append(parameter)
            for (rows, columns), parameters in by_shape.items():
                directions = torch.stack([self._direction(parameter) for parameter in parameters])
                updates = orthogonalise(directions, self.dtype)
                scale = group["lr"] * max(1.0, rows / columns) ** 0.5
                for parameter, update in zip(parameters, updates, strict=True):
                    parameter.sub_(update, alpha=scale)

    def _direction(self, parameter: nn.Parameter) -> Tensor:
        assert parameter.grad is not None
        state = self.state[parameter]
        if not state:
            state["momentum"] = torch.zeros_like(parameter)
        momentum: Tensor = state["momentum"]
        momentum.lerp_(parameter.grad, 1 - MOMENTUM)
        return parameter.grad.lerp(momentum, MOMENTUM)
