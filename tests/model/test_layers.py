from __future__ import annotations

import torch
import torch.nn.functional as F

from xyt_stream.model.layers import (
    SHORT,
    Conv,
    Deconv,
    DepthwiseConv,
    Downsample,
    Upsample,
)


def test_causal_conv_sees_no_future(whole):
    for stride in (1, 2):
        conv = Conv(3, 5, 3, causal=True, stride=stride)
        x = torch.randn(1, 16, 3)
        before = conv(x, whole(2))
        assert before.shape == (1, 16 // stride, 5)
        x[:, 8:] += 1
        after = conv(x, whole(2))
        assert torch.equal(before[:, : 8 // stride], after[:, : 8 // stride])
        assert not torch.equal(before[:, 8 // stride], after[:, 8 // stride])


def test_centred_conv_is_torch_same(whole):
    conv = Conv(3, 5, 7, causal=False)
    x = torch.randn(2, 16, 3)
    expected = F.conv1d(x.mT, conv.weight, conv.bias, padding=3).mT
    assert torch.allclose(conv(x, whole(2)), expected, atol=1e-6)


def test_depthwise_conv_is_the_same_for_few_positions_and_many(whole):
    conv = DepthwiseConv(3, 7, causal=True)
    x = torch.randn(2, 2 * SHORT, 3)
    expected = F.conv1d(F.pad(x.mT, (6, 0)), conv.weight, conv.bias, groups=3).mT
    assert torch.allclose(conv(x, whole(2)), expected, atol=1e-6)
    short = conv(x[:, :8], whole(1))
    assert torch.allclose(short, expected[:, :8], atol=1e-6)
    assert torch.equal(short[1:], conv(x[1:, :8], whole(1)))


def test_deconv_is_a_transposed_convolution_cut_on_the_right(whole):
    for stride in (1, 2):
        deconv = Deconv(3, 5, 3, stride=stride)
        x = torch.randn(2, 8, 3)
        full = F.conv_transpose1d(x.mT, deconv.weight, deconv.bias, stride)
        assert torch.allclose(deconv(x, whole(2)), full[..., : 8 * stride].mT, atol=1e-6)


def test_downsample_is_the_strided_convolution_it_replaces():
    down = Downsample(6, 4)
    x = torch.randn(2, 8, 6)

    def conv(weight):  # [out, 4 * in] step-major -> [out, in, 4]
        return F.conv1d(x.transpose(1, 2), weight.view(24, 4, 6).transpose(1, 2), stride=4)

    gated = F.silu(conv(down.gate_proj.weight)) * conv(down.up_proj.weight)
    rest = x.reshape(2, 2, 24)
    expected = down.layer_norm(down.down_proj(gated.transpose(1, 2)) + rest)
    assert torch.allclose(down(x), expected, atol=1e-5)


def test_upsample_is_the_transposed_convolution_it_replaces():
    up = Upsample(6, 4)
    x = torch.randn(2, 3, 24)
    weight = up.up_conv.weight.view(4, 6, 24).permute(2, 1, 0)  # [in, out, step]
    expected = F.conv_transpose1d(x.transpose(1, 2), weight, stride=4).transpose(1, 2)
    assert torch.allclose(up(x), expected, atol=1e-5)
