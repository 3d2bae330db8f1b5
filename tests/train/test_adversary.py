from __future__ import annotations

import torch

from xyt_stream.train.adversary import Adversary


def test_judges_learn_and_then_the_codec_pays():
    adversary = Adversary(3000, seed=0, device=torch.device("cpu"))
    time = torch.arange(4000) / 16_000
    tone = torch.sin(2 * torch.pi * 400 * time).expand(2, -1) * 0.5
    noise = torch.randn(2, 4000) * 0.3
    first = adversary.learn(*adversary.piece(noise, tone))
    for _ in range(40):
        last = adversary.learn(*adversary.piece(noise, tone))
    assert last < first - 0.3
    fake = noise.clone().requires_grad_(True)
    loss = adversary.loss(*adversary.piece(fake, tone))
    loss.backward()
    assert fake.grad is not None
    assert fake.grad.abs().sum() > 0
    assert adversary.loss(*adversary.piece(tone, tone)) < loss


def test_pieces_are_the_same_stretch_of_both_at_one_level():
    adversary = Adversary(100, seed=0, device=torch.device("cpu"))
    wav = torch.rand(3, 1000) / 100
    starts = set()
    for _ in range(5):
        ours, theirs = adversary.piece(wav / 2, wav)
        assert ours.shape == theirs.shape == (3, 100)
        assert torch.equal(2 * ours, theirs)
        assert torch.allclose(theirs.square().mean(1), torch.ones(3))
        match = torch.nn.functional.cosine_similarity(wav[0].unfold(0, 100, 1), theirs[0], dim=1)
        starts.add(int(match.argmax()))
        assert match.max() > 0.9999
    assert len(starts) > 1


def test_silence_stays_finite():
    adversary = Adversary(100, seed=0, device=torch.device("cpu"))
    ours, theirs = adversary.piece(torch.zeros(1, 200), torch.zeros(1, 200))
    assert torch.equal(ours, torch.zeros(1, 100))
    assert torch.equal(theirs, torch.zeros(1, 100))


def test_state_survives():
    device = torch.device("cpu")
    first, second = Adversary(1500, 0, device), Adversary(1500, 1, device)
    ours, theirs = torch.randn(2, 2000), torch.randn(2, 2000)
    first.learn(*first.piece(ours, theirs))
    second.load_state_dict(first.state_dict())
    losses = [a.learn(*a.piece(ours, theirs)) for a in (first, second)]
    assert losses[0] == losses[1]
