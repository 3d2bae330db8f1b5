from __future__ import annotations

import os
import subprocess
import sys

import pytest
import torch

from xyt_stream.model import torch_internals
from xyt_stream.model.linear import Linear

PACKED = ["oneDNN", "FBGEMM"]
SHAPES = [(192, 576), (192, 192), (192, 768), (768, 192), (768, 768), (256, 768), (256, 482)]


def linear(shape: tuple[int, int], packed: str, **options: bool) -> Linear:
    """A layer whose weights are such as these libraries pack."""
    layer = Linear(*shape, **options).requires_grad_(False)
    if packed == "FBGEMM":
        layer.weight.copy_(layer.weight.half())
    return layer


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("packed", PACKED)
def test_prepacked_layer_is_the_same_map(shape, bias, packed):
    layer = linear(shape, packed, bias=bias)
    x = torch.randn(2, 5, shape[0])
    plain = layer(x)
    layer.prepack()
    assert layer(x).shape == plain.shape
    assert torch.allclose(layer(x), plain, atol=1e-5)
    assert torch.allclose(layer(x.transpose(0, 1)), plain.transpose(0, 1), atol=1e-5)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("packed", PACKED)
@pytest.mark.parametrize("gelu", [True, False])
def test_a_rows_result_is_independent_of_the_number_of_rows(shape, packed, gelu):
    layer = linear(shape, packed, gelu=gelu)
    layer.prepack()
    if layer.prepacked is None:
        pytest.skip("this machine packs nothing")
    x = torch.randn(500, shape[0])
    whole = layer(x)
    for rows in (*range(1, 65), 121, 122, 127, 128, 134):
        assert torch.equal(layer(x[7 : 7 + rows]), whole[7 : 7 + rows]), rows
    assert torch.equal(layer(x[:7].view(7, 1, -1)), whole[:7].view(7, 1, -1))


def test_rows_that_are_added_to_a_short_last_block_change_nothing(monkeypatch):
    if not torch_internals.float16_supported():
        pytest.skip("this machine has no FBGEMM")
    monkeypatch.setattr(torch_internals, "_float16_rows_differ", lambda: True)
    layer, x = linear((192, 64), "FBGEMM"), torch.randn(14, 192)
    plain = layer(x)
    layer.prepack()
    with torch.inference_mode():
        traced = torch_internals.trace(layer, (x[:4],))
        for rows in range(1, 15):
            assert torch.allclose(layer(x[:rows]), plain[:rows], atol=1e-5)
            assert torch.equal(torch_internals.run_trace(traced, (x[:rows],)), layer(x[:rows]))
        assert layer(x[:7].view(7, 1, 192)).shape == (7, 1, 64)


def test_only_weights_that_float16_holds_are_kept_in_it(monkeypatch):
    held, unheld = (linear((64, 32), packed) for packed in ("FBGEMM", "oneDNN"))
    large = linear((64, 32), "FBGEMM")
    large.weight[3, 5] = 70000.0  # beyond float16
    for layer in (held, unheld, large):
        layer.prepack()
    if not torch_internals.float16_supported():
        pytest.skip("this machine has no FBGEMM")
    assert [layer.prepacked[0].is_mkldnn for layer in (held, unheld, large)] == [False, True, True]
    monkeypatch.setattr(torch_internals, "float16_supported", lambda: False)
    held.prepack()
    assert held.prepacked[0].is_mkldnn


def test_autocast_still_applies_to_a_prepacked_layer(codec):
    layer = codec.network.encoder.downsample.down_proj
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert layer(torch.zeros(1, layer.in_features)).dtype == torch.bfloat16


OLDER = """
import torch
from xyt_stream.model.linear import Linear
layer = Linear(64, 32).to(torch.bfloat16).requires_grad_(False)
x = torch.randn(4, 64, dtype=torch.bfloat16)
plain = layer(x)
layer.prepack()
assert torch.allclose(layer(x), plain, atol=1e-2)
"""


def test_bfloat16_works_on_a_processor_that_has_none():
    older = {**os.environ, "ONEDNN_MAX_CPU_ISA": "AVX2"}
    subprocess.run([sys.executable, "-c", OLDER], env=older, check=True)
