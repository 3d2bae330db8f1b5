from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import nn

from xyt_stream.bench.profile import kernels, network_bytes, record, tensor_bytes
from xyt_stream.model.quantizer import packed_weights


def test_operations_are_counted_by_the_textbook():
    x, w = torch.randn(3, 5), torch.randn(7, 5)
    conv, deconv = torch.randn(6, 4, 3), torch.randn(4, 6, 3)
    sound, q, k = torch.randn(2, 4, 10), torch.randn(1, 2, 4, 8), torch.randn(1, 2, 11, 8)
    cases = {
        2 * 3 * 5 * 7: lambda: F.linear(x, w),
        2 * 3 * 5 * 5: lambda: torch.addmm(torch.zeros(5), x, w[:5].t()),
        2 * 2 * 6 * 8 * 4 * 3: lambda: F.conv1d(sound, conv),
        2 * 2 * 10 * 4 * 6 * 3: lambda: F.conv_transpose1d(sound, deconv),
        4 * 2 * 4 * 11 * 8: lambda: F.scaled_dot_product_attention(q, k, k),
        0: lambda: x.exp() + 1,
    }
    for operations, step in cases.items():
        products = record(step)
        assert products.operations == operations
        assert len(products.calls) == (operations > 0)
        products.run()


def test_record_sees_every_layer_of_a_step(codec):
    encoder = codec.stream_encoder()
    step = lambda: encoder.step(torch.zeros(1, 1280), encoder.all_slots)  # noqa: E731
    step()
    operations = record(step).operations
    encoding = [codec.network.encoder.acoustic.stack, codec.network.encoder.semantic.stack]
    weights = sum(p.numel() for stack in encoding for p in stack.parameters() if p.ndim == 2)
    assert operations > 2 * 4 * weights


def test_a_cpu_launches_no_kernels():
    assert kernels(lambda: None, torch.device("cpu")) is None


def test_shared_tensors_count_once():
    @dataclass
    class State:
        held: dict[nn.Module, torch.Tensor]

    layer = nn.Linear(10, 10)
    state = State({layer: torch.zeros(100)})
    assert tensor_bytes(layer) == 440
    assert tensor_bytes(layer, [layer.weight], layer.weight) == 440
    assert tensor_bytes(state, state.held[layer]) == 400


def test_packed_weights_count_as_memory(codec):
    plain = tensor_bytes(*codec.network.state_dict().values())
    packed = [each for _, each in packed_weights(codec.network)]
    share = {True: 1.0, False: 0.5}[bool(packed) and packed[0].is_mkldnn]
    if packed:
        assert network_bytes(codec.network) > (1 + 0.9 * share) * plain
