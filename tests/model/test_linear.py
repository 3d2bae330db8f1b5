from __future__ import annotations

import os
import subprocess
import sys

import pytest
import torch

from xyt_stream.model.linear import Linear

SHAPES = [(192, 576), (192, 192), (192, 768), (768, 192), (768, 768), (256, 768), (256, 482)]


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("bias", [True, False])
def test_prepacked_layer_is_the_same_map(shape, bias):
    layer = Linear(*shape, bias=bias).requires_grad_(False)
    x = torch.randn(2, 5, shape[0])
    plain = layer(x)
    layer.prepack()
    assert layer(x).shape == plain.shape
    assert torch.allclose(layer(x), plain, atol=1e-5)
    assert torch.allclose(layer(x.transpose(0, 1)), plain.transpose(0, 1), atol=1e-5)


@pytest.mark.parametrize("shape", SHAPES)
def test_a_rows_result_is_independent_of_the_number_of_rows(shape):
    layer = Linear(*shape).requires_grad_(False)
    layer.prepack()
    if layer.prepacked is None:
        pytest.skip("this machine packs nothing")
    x = torch.randn(500, shape[0])
    whole = layer(x)
    for rows in (1, 2, 3, 4, 8, 20, 128):
        assert torch.equal(layer(x[7 : 7 + rows]), whole[7 : 7 + rows])


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
