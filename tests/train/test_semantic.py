from __future__ import annotations

import numpy as np
import torch

from xyt_stream.train.semantic import TeacherHead


def head(features: np.ndarray) -> TeacherHead:
    torch.manual_seed(0)
    return TeacherHead(8, features.astype(np.float16))


def test_a_head_learns_only_predictable_features() -> None:
    generator = torch.Generator().manual_seed(0)
    latent = torch.randn(4, 50, 8, generator=generator)
    predictable = latent @ torch.randn(8, 6, generator=generator)
    unpredictable = torch.randn(4, 50, 6, generator=generator)
    known = torch.ones(4, 50, dtype=torch.bool)
    losses = []
    for wanted in (predictable, unpredictable):
        learner = head(wanted.flatten(0, 1).numpy())
        optimizer = torch.optim.Adam(learner.parameters(), lr=3e-3)
        for _ in range(60):
            loss = learner.loss(latent, wanted, known)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        losses.append(loss.item())
    assert losses[0] < 0.1
    assert losses[1] > 2 * losses[0]


def test_unknown_frames_do_not_count() -> None:
    latent, features = torch.randn(2, 10, 8), torch.randn(2, 10, 6)
    learner = head(features.flatten(0, 1).numpy())
    known = torch.zeros(2, 10, dtype=torch.bool)
    assert learner.loss(latent, features, known) == 0
    known[0, 3:6] = True
    before = learner.loss(latent, features, known)
    features[1] = 99.0
    assert learner.loss(latent, features, known) == before


def test_a_channel_that_never_changes_does_not_rule_the_distance() -> None:
    features = np.random.default_rng(0).standard_normal((500, 6))
    features[:, 2] = 1000 + 1e-3 * features[:, 2]
    learner = head(features)
    wanted = torch.from_numpy(features).float()[None, :20]
    loss = learner.loss(torch.randn(1, 20, 8), wanted, torch.ones(1, 20, dtype=torch.bool))
    assert loss > 0.5  # an untrained head does not match just because one channel is large


def test_rows_that_are_missing_are_not_in_the_mean() -> None:
    features = np.full((100, 4), 3.0)
    features[50:] = 0
    assert torch.allclose(head(features).mean, torch.full((4,), 3.0))
