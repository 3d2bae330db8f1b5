from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from xyt_stream.train.muon import Muon, orthogonalise
from xyt_stream.train.precision import fastest_dtype

SHAPES = [(24, 24), (24, 24), (12, 40), (40, 12), (12, 40)]


def weights() -> list[nn.Parameter]:
    generator = torch.Generator().manual_seed(0)
    return [nn.Parameter(torch.randn(shape, generator=generator)) for shape in SHAPES]


def steps(optimizer: torch.optim.Optimizer, parameters: list[nn.Parameter]) -> None:
    generator = torch.Generator().manual_seed(1)
    for _ in range(3):
        for parameter in parameters:
            parameter.grad = torch.randn(parameter.shape, generator=generator)
        optimizer.step()


@pytest.mark.parametrize(("dtype", "near"), [(torch.float32, 0.02), (torch.bfloat16, 0.02)])
def test_its_steps_are_those_of_torch(dtype: torch.dtype, near: float) -> None:
    ours, theirs, start = weights(), weights(), weights()
    steps(Muon(ours, lr=0.1, dtype=dtype), ours)
    steps(torch.optim.Muon(theirs, lr=0.1, momentum=0.95, weight_decay=0.0), theirs)
    for a, b, before in zip(ours, theirs, start, strict=True):
        moved = (b - before).norm()
        assert moved > 0.1
        assert (a - b).norm() < near * moved


class Dtypes(TorchDispatchMode):
    """Notes the dtype of every result."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: set[torch.dtype] = set()

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        out = func(*args, **(kwargs or {}))
        self.seen |= {x.dtype for x in (out if isinstance(out, tuple) else [out])
                      if isinstance(x, Tensor)}  # fmt: skip
        return out


def test_no_bfloat16_is_made_in_float32() -> None:
    parameters = weights()
    with Dtypes() as made:
        steps(Muon(parameters, lr=0.1, dtype=torch.float32), parameters)
    assert made.seen == {torch.float32}


def test_singular_values_come_near_one() -> None:
    matrices = torch.randn(3, 16, 32, generator=torch.Generator().manual_seed(0))
    values = torch.linalg.svdvals(orthogonalise(matrices, torch.float32))
    assert values.min() > 0.6
    assert values.max() < 1.3
    assert torch.linalg.svdvals(matrices).max() > 5


def test_a_matrix_without_a_gradient_stays() -> None:
    parameters = weights()
    before = parameters[0].detach().clone()
    parameters[1].grad = torch.ones(24, 24)
    Muon(parameters, lr=0.1, dtype=torch.float32).step()
    assert torch.equal(parameters[0], before)
    assert not torch.equal(parameters[1], weights()[1])


@pytest.mark.parametrize("instructions", ["none", "avx512_bf16", "amx"])
def test_bfloat16_only_where_the_processor_multiplies_it(
    instructions: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        torch.cpu, "_is_avx512_bf16_supported", lambda: instructions == "avx512_bf16"
    )
    monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda: instructions == "amx")
    expected = torch.float32 if instructions == "none" else torch.bfloat16
    assert fastest_dtype(torch.device("cpu")) == expected
