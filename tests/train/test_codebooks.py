from __future__ import annotations

import pytest
import torch

from xyt_stream.model.config import QuantizerConfig
from xyt_stream.model.quantizer import ResidualQuantizer
from xyt_stream.train.codebooks import CodebookLearner, kmeans


def clusters(count: int, each: int, spread: float) -> torch.Tensor:
    generator = torch.Generator().manual_seed(0)
    centres = torch.randn(count, 4, generator=generator) * 10
    noise = torch.randn(count, each, 4, generator=generator) * spread
    return (centres[:, None] + noise).flatten(0, 1)


def test_kmeans_finds_the_clusters():
    vectors = clusters(8, 50, 0.1)
    centres = kmeans(vectors, 24, torch.Generator().manual_seed(1))
    assert torch.cdist(vectors, centres).amin(1).mean() < 1


def learner(beam: int = 1) -> CodebookLearner:
    torch.manual_seed(0)
    config = QuantizerConfig(dim=4, codebooks=2, codebook_size=16, beam=beam)
    return CodebookLearner(ResidualQuantizer(config, 4), seed=0)


def test_started_books_code_well_and_are_all_in_use():
    learned, vectors = learner(), clusters(16, 40, 1.0)
    before = learned.quantizer.quantize(vectors[None]).total
    learned.start(vectors)
    found = learned.quantizer.quantize(vectors[None])
    assert (found.total - vectors).square().mean() < (before - vectors).square().mean() / 4
    assert all(len(codes.unique()) > 12 for codes in found.codes)


@pytest.mark.parametrize("beam", [1, 8])
def test_updates_follow_the_latents_and_revive_dead_codes(beam):
    learned, vectors = learner(beam), clusters(16, 40, 1.0)
    learned.start(vectors)
    moved = vectors + 30
    for _ in range(600):
        learned.update(learned.quantizer.quantize(moved[None]))
    found = learned.quantizer.quantize(moved[None])
    assert (found.total - moved).square().mean() < moved.var() / 10
    assert len(found.codes[0].unique()) > 8


def test_updates_lower_what_a_beam_leaves():
    """Each codebook learns what the others leave, not what those before it do."""
    torch.manual_seed(3)
    vectors = 3 * torch.randn(500, 4)
    learned = learner(beam=8)
    learned.start(vectors)

    def left():
        return (learned.quantizer.quantize(vectors[None]).total - vectors).square().mean()

    before = left()
    for _ in range(300):
        learned.update(learned.quantizer.quantize(vectors[None]))
    assert left() < 0.89 * before


def test_state_survives():
    first, second = learner(), learner()
    vectors = clusters(16, 40, 1.0)
    first.start(vectors)
    second.quantizer.load_state_dict(first.quantizer.state_dict())
    second.quantizer.refresh()
    second.load_state_dict(first.state_dict())
    for learned in (first, second):
        learned.update(learned.quantizer.quantize(vectors[None]))
    assert torch.equal(first.quantizer.codebooks, second.quantizer.codebooks)
