from __future__ import annotations

import torch

from xyt_stream.model.config import QuantizerConfig
from xyt_stream.model.quantizer import ResidualQuantizer


def quantizer() -> ResidualQuantizer:
    torch.manual_seed(0)
    return ResidualQuantizer(QuantizerConfig(dim=6, codebooks=3, codebook_size=16), 10)


def test_each_codebook_codes_the_residual_with_its_nearest_vector():
    net, latent = quantizer(), torch.randn(2, 5, 6)
    found = net.quantize(latent)
    residual = latent
    for i, codebook in enumerate(net.codebooks):
        assert torch.allclose(found.residuals[i], residual, atol=1e-6)
        distance = (residual[:, :, None] - codebook).square().sum(-1)
        assert torch.equal(found.codes[i], distance.argmin(-1))
        residual = residual - codebook[found.codes[i]]
    assert torch.allclose(found.total, latent - residual, atol=1e-6)


def test_decode_inverts_encode_up_to_the_residual():
    net, x = quantizer(), torch.randn(2, 5, 10)
    codes = net.encode(x)
    assert codes.shape == (2, 3, 5)
    total = net.quantize(net.input_proj(x)).total
    assert torch.allclose(net.decode(codes), net.output_proj(total), atol=1e-6)


def test_decode_takes_the_first_codebooks_alone():
    net = quantizer()
    codes = torch.randint(16, (1, 3, 4))
    first = net.output_proj(net.codebooks[0][codes[0, 0]])
    assert torch.allclose(net.decode(codes[:, :1])[0], first, atol=1e-6)


def test_a_code_of_minus_one_leaves_its_codebook_out():
    net, codes = quantizer(), torch.randint(16, (2, 3, 4))
    fewer = codes.clone()
    fewer[1, 1:] = -1
    out = net.decode(fewer)
    assert torch.equal(out[0], net.decode(codes)[0])
    assert torch.allclose(out[1], net.decode(codes[1:, :1])[0], atol=1e-6)


def test_changed_codebooks_count_after_refresh():
    net, latent = quantizer(), torch.randn(1, 7, 6)
    net.codebooks.copy_(torch.randn(3, 16, 6) * 5)
    net.refresh()
    distance = (latent[:, :, None] - net.codebooks[0]).square().sum(-1)
    assert torch.equal(net.quantize(latent).codes[0], distance.argmin(-1))


def test_prepacked_codebooks_give_the_same_codes():
    net, latent = quantizer(), torch.randn(3, 50, 6)
    plain = net.quantize(latent)
    net.prepack()
    assert torch.equal(net.quantize(latent).codes, plain.codes)
    assert torch.equal(net.quantize(latent[:1, :1]).codes, plain.codes[:, :1, :1])


def test_state_with_the_old_name_of_the_codebooks_opens():
    """Also within another module, as in the states that training saves."""
    trained = torch.nn.ModuleDict({"network": torch.nn.ModuleDict({"quantizer": quantizer()})})
    averaged = torch.optim.swa_utils.AveragedModel(trained)
    for net in (quantizer(), trained, averaged):
        state = net.state_dict()
        (key,) = (key for key in state if key.endswith("codebooks"))
        old = state.pop(key) + 1
        state[key.replace("codebooks", "books")] = old
        net.load_state_dict(state)
        assert torch.equal(net.state_dict()[key], old)
