from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from xyt_stream.model.phasors import (
    ROTARY_PERIOD,
    inverse_transform,
    power_spectrum,
    rotary_phasors,
    rotary_table,
    rotate,
)


def exported(function: Callable[..., Tensor], *inputs: Tensor) -> Tensor:
    """The result of the function in the graph that torch.export makes of it."""

    class Call(nn.Module):
        def forward(self, *inputs: Tensor) -> Tensor:
            return function(*inputs)

    graph = torch.export.export(Call(), inputs)
    values = [node.meta.get("val") for node in graph.graph.nodes if node.op == "call_function"]
    assert not any(isinstance(value, Tensor) and value.is_complex() for value in values)
    result: Tensor = graph.module()(*inputs)
    return result


def test_rotation_is_the_same_in_real_numbers() -> None:
    table = rotary_table(64)
    x = torch.randn(2, 3, 4, 64)
    for start in (0, 77, ROTARY_PERIOD - 2, 10**9):
        positions = start + torch.arange(4) + torch.tensor([[0], [1000]])

        def turned(x: Tensor, positions: Tensor) -> Tensor:
            return rotate(x, rotary_phasors(table, positions))

        right = rotate(x, rotary_phasors(table, positions))
        torch.testing.assert_close(exported(turned, x, positions), right, atol=1e-6, rtol=0)


def test_power_spectrum_is_the_same_in_real_numbers() -> None:
    windows = torch.randn(2, 8, 400)
    right = power_spectrum(windows)
    torch.testing.assert_close(exported(power_spectrum, windows), right, atol=1e-3, rtol=1e-5)


def test_inverse_transform_is_the_same_in_real_numbers() -> None:
    magnitude, phase = torch.rand(2, 8, 241), 10 * torch.randn(2, 8, 241)

    def windows(magnitude: Tensor, phase: Tensor) -> Tensor:
        return inverse_transform(magnitude, phase, 480)

    right = windows(magnitude, phase)
    torch.testing.assert_close(exported(windows, magnitude, phase), right, atol=1e-6, rtol=1e-5)
