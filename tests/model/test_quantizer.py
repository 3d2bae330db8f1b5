from __future__ import annotations

import pytest
import torch

from xyt_stream.model.config import QuantizerConfig
from xyt_stream.model.quantizer import ResidualQuantizer


def quantizer(beam: int = 1) -> ResidualQuantizer:
    torch.manual_seed(0)
    return ResidualQuantizer(QuantizerConfig(dim=6, codebooks=3, codebook_size=16, beam=beam), 10)


def errors(net: ResidualQuantizer, latent: torch.Tensor) -> torch.Tensor:
    return (latent - net.quantize(latent).total).square().sum(-1)


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


def test_a_beam_as_wide_as_all_choices_finds_the_best():
    torch.manual_seed(0)
    net = ResidualQuantizer(QuantizerConfig(dim=6, codebooks=3, codebook_size=4, beam=16), 10)
    latent = torch.randn(2, 5, 6)
    choices = torch.cartesian_prod(*[torch.arange(4)] * 3)  # [64, codebooks]
    sums = net.codebooks[torch.arange(3), choices].sum(1)
    best = (latent[..., None, :] - sums).square().sum(-1).argmin(-1)
    assert torch.equal(net.quantize(latent).codes.permute(1, 2, 0), choices[best])


def test_a_wider_beam_leaves_less():
    latent = torch.randn(4, 50, 6)
    means = [errors(quantizer(beam), latent).mean() for beam in (1, 2, 4, 16)]
    assert means == sorted(means, reverse=True)
    assert means[-1] < 0.8 * means[0]


def test_the_beam_keeps_what_each_codebook_was_given_beside_its_code():
    net, latent = quantizer(beam=5), torch.randn(2, 5, 6)
    found = net.quantize(latent)
    left = latent
    for residual, code, codebook in zip(found.residuals, found.codes, net.codebooks, strict=True):
        assert torch.allclose(residual, left, atol=1e-6)
        left = left - codebook[code]
    assert torch.allclose(found.total, latent - left, atol=1e-6)
    assert torch.equal(net.search(latent.flatten(0, 1)), found.codes.flatten(1))


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


@pytest.mark.parametrize("beam", [1, 8])
def test_prepacked_codebooks_give_the_same_codes(beam):
    net, latent = quantizer(beam), torch.randn(3, 50, 6)
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
