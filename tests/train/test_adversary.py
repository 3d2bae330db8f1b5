from __future__ import annotations

import pytest
import torch
from torch import Tensor

from xyt_stream.train.adversary import Adversary

CPU = torch.device("cpu")


def adversary(share: float = 1.0, seed: int = 0) -> Adversary:
    torch.manual_seed(seed)
    return Adversary(share, torch.float32, seed, CPU)


def tone_and_noise() -> tuple[Tensor, Tensor]:
    time = torch.arange(4000) / 16_000
    tone = torch.sin(2 * torch.pi * 400 * time).expand(2, -1) * 0.5
    return tone, torch.randn(2, 4000, generator=torch.Generator().manual_seed(0)) * 0.3


def test_discriminators_learn_and_then_the_codec_pays() -> None:
    made = adversary()
    tone, noise = tone_and_noise()
    first = made.step(noise, tone).discriminators
    assert first == pytest.approx(2, abs=0.5)
    for _ in range(12):
        last = made.step(noise, tone)
    assert last.discriminators < first - 0.3
    assert made.step(tone, tone).codec < last.codec


def test_the_loss_has_the_gradient_of_the_codecs_loss() -> None:
    tone, noise = tone_and_noise()
    fake = noise.clone().requires_grad_(True)
    found = adversary()
    found.step(fake, tone).loss.backward()
    assert fake.grad is not None
    direction = torch.randn_like(noise)
    slope = (fake.grad * direction).sum().item()
    paid = [adversary().step(noise + e * direction, tone).codec for e in (1e-3, -1e-3)]
    assert slope == pytest.approx((paid[0] - paid[1]) / 2e-3, rel=0.05)


def test_the_codecs_loss_does_not_teach_the_discriminators() -> None:
    tone, noise = tone_and_noise()
    made, alone = adversary(), adversary()
    fake = noise.clone().requires_grad_(True)
    made.step(fake, tone).loss.backward()
    alone.step(noise, tone)
    for ours, theirs in zip(
        made.discriminators.parameters(), alone.discriminators.parameters(), strict=True
    ):
        assert torch.equal(ours, theirs)
        assert ours.grad is not None
        assert theirs.grad is not None
        assert torch.equal(ours.grad, theirs.grad)


def test_whole_crops_are_drawn_at_one_level() -> None:
    made = adversary(share=0.4)
    wav = torch.rand(5, 1000) / 100
    seen = set()
    for _ in range(8):
        ours, theirs = made.draw(wav / 2, wav)
        assert ours.shape == theirs.shape == (2, 1000)
        assert torch.allclose(2 * ours, theirs)
        assert torch.allclose(theirs.square().mean(1), torch.ones(2))
        match = torch.nn.functional.cosine_similarity(wav[:, None], theirs[None], dim=2)
        assert (match.amax(0) > 0.9999).all()
        seen |= set(match.argmax(0).tolist())
    assert seen == {0, 1, 2, 3, 4}


def test_silence_stays_finite() -> None:
    losses = adversary().step(torch.zeros(2, 4000, requires_grad=True), torch.zeros(2, 4000))
    assert torch.isfinite(torch.tensor(losses[1:])).all()
    losses.loss.backward()


def test_state_survives() -> None:
    first, second = adversary(seed=0), adversary(seed=1)
    ours, theirs = torch.randn(3, 3000), torch.randn(3, 3000)
    first.step(ours, theirs)
    second.load_state_dict(first.state_dict())
    assert first.step(ours, theirs)[1:] == second.step(ours, theirs)[1:]
