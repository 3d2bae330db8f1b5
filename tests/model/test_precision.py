from __future__ import annotations

import pytest
import torch

from xyt_stream.errors import ModelError
from xyt_stream.model.precision import full_precision, precision

CPU = torch.device("cpu")
HALVES = [torch.bfloat16, torch.float16]


@pytest.mark.parametrize("dtype", HALVES)
def test_products_are_half_precision_unless_shielded(dtype):
    class Layer:
        @full_precision
        def product(self, x, y):
            return x @ y

    x = torch.randn(3, 3)
    with precision(CPU, dtype):
        assert (x @ x).dtype == dtype
        assert Layer().product(x, x).dtype == torch.float32
    assert torch.equal(Layer().product(x, x), x @ x)


def test_float32_changes_nothing():
    x = torch.randn(3, 3)
    with precision(CPU, torch.float32):
        assert (x @ x).dtype == torch.float32


@pytest.mark.parametrize("dtype", HALVES)
def test_mels_codes_and_the_inverse_fft_are_float32_in_any_case(codec, whole, dtype):
    network = codec.network
    wav, latent = torch.randn(1, 2 * 1280) / 10, torch.randn(1, 2, 768)
    codes, hidden = network.quantizer.encode(latent), torch.randn(1, 16, 256)
    calls = [
        lambda: network.mel(wav, whole(2)),
        lambda: network.quantizer.encode(latent),
        lambda: network.quantizer.decode(codes),
        lambda: network.decoder.vocoder.head(hidden, whole(2)),
    ]
    for call in calls:
        expected = call()
        with precision(CPU, dtype):
            assert torch.equal(call(), expected)


def test_other_types_are_refused():
    with pytest.raises(ModelError, match=r"float32, bfloat16 or float16, not torch\.float64"):
        precision(CPU, torch.float64)
