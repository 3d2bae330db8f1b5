from __future__ import annotations

import torch

from xyt_stream.model.config import StackConfig
from xyt_stream.model.phasors import ROTARY_PERIOD, rotary_table, rotate
from xyt_stream.model.transformer import Stack, sinusoids

CONFIG = StackConfig(width=32, layers=2, heads=2, ffn=64)


def stack() -> Stack:
    torch.manual_seed(0)
    return Stack(CONFIG, 4, None).eval()


def test_rotary_scores_depend_on_distance_only():
    table = rotary_table(64)
    q, k = torch.randn(1, 1, 1, 64), torch.randn(1, 1, 1, 64)

    def score(query: int, key: int) -> torch.Tensor:
        turned = [
            rotate(x, table[position % ROTARY_PERIOD][None])
            for x, position in ((q, query), (k, key))
        ]
        return (turned[0] * turned[1]).sum()

    near = score(10, 3)
    for shift in (1, 1000, ROTARY_PERIOD - 5, 10 * ROTARY_PERIOD + 123):
        assert torch.allclose(score(10 + shift, 3 + shift), near, atol=1e-3)
    assert not torch.allclose(score(10, 4), near, atol=1e-3)


def test_attention_sees_its_block_and_a_bounded_past(whole):
    net, x = stack(), torch.randn(1, 40, 32)
    context = 2

    def change(block: int) -> set[int]:
        """Blocks of the output that move when one block of the input does."""
        other = x.clone()
        other[:, 4 * block : 4 * block + 4] += 1
        timeline = whole(10, context)
        moved = (net(x, timeline) - net(other, timeline)).abs().amax(dim=2)[0].view(10, 4)
        return {i for i in range(10) if moved[i].max() > 0}

    # Two layers reach twice the context back, and never forward.
    assert change(3) == {3, 4, 5, 6, 7}


def test_every_position_of_a_block_sees_the_whole_block(whole):
    net, x = stack(), torch.randn(1, 8, 32)
    other = x.clone()
    other[:, 3] += 1
    moved = (net(x, whole(2)) - net(other, whole(2))).abs().amax(dim=2)[0]
    assert (moved > 0).all()


def test_sinusoids_are_sines_then_cosines():
    table = sinusoids(1500, 48)
    assert table.shape == (1500, 48)
    assert torch.equal(table[0], torch.cat([torch.zeros(24), torch.ones(24)]))
    assert torch.allclose(table[7, 0], torch.tensor(7.0).sin())
    assert torch.allclose(table[1499, 23], torch.tensor(1499 / 10_000.0).sin(), atol=1e-4)
