from __future__ import annotations

import pytest
import torch

from xyt_stream.model.config import published
from xyt_stream.streaming.summary import summarize


def live(codec, wav, lookahead):
    encoder = codec.stream_encoder(lookahead=lookahead)
    return torch.cat([encoder.push(wav), encoder.flush()], dim=1)


@pytest.mark.parametrize("lookahead", [0, 3])
def test_every_window_equals_a_stream_that_started_there(short_window, speech, lookahead):
    """After any number of lanes in the same ring."""
    wav = speech.repeat(8)[: 190 * 1280]
    whole = live(short_window, wav, lookahead)
    lanes = short_window.stream_encoder(lookahead=lookahead).lanes
    for begin in range(0, 190 - 40, lanes.period):
        end = begin + lanes.period + lanes.warm + lookahead + 1
        late = live(short_window, wav[begin * 1280 : end * 1280], lookahead)
        current = slice(begin + lanes.warm if begin else 0, begin + lanes.period + lanes.warm)
        ours = whole[:, current]
        assert torch.equal(ours, late[:, current.start - begin :][:, : ours.shape[1]])


def test_pauses_leave_no_trace(short_window, frames):
    """Neither neighbours in other windows nor paused steps change a stream's codes."""
    steps = frames.repeat(6, 1)[:130]
    encoder, alone = short_window.stream_encoder(3), short_window.stream_encoder()
    lead = steps.flatten()[: alone.lead]
    alone.prime(lead[None], torch.tensor([True]))
    encoder.prime(lead.expand(3, -1), torch.tensor([False, True, False]))
    noise = torch.Generator().manual_seed(0)
    hops = steps.flatten()[alone.lead :].split(1280)[:-1]
    done = 0
    while done < len(hops):
        pcm = torch.rand(3, 1280, generator=noise) - 0.5
        pcm[1] = hops[done]
        active = torch.rand(3, generator=noise) < 0.6
        codes = encoder.step(pcm, active)[1]
        if active[1]:
            assert torch.equal(codes, alone.step(hops[done][None], torch.tensor([True]))[0])
            done += 1


def test_a_sole_lane_gives_the_same_as_both(short_window, frames):
    one, both = short_window.stream_encoder(), short_window.stream_encoder()
    lanes = one.lanes
    sole = []
    active = torch.tensor([True])
    for frame in frames.repeat(6, 1)[:100]:
        sole.append(one.sole_lane(active))
        assert torch.equal(one.step(frame[None], active), both.run(frame[None], active))
    period, warm = lanes.period, lanes.warm
    assert sole[:period] == [0] * period
    assert sole[period : period + warm] == [None] * warm
    # Windows of 40 frames overlap by half: one is over as the next but one begins.
    assert (period, warm) == (20, 20)


def test_lanes_of_the_published_size_share_a_ring():
    """500 frames in place of twice 375, and one that lanes write while they do not run."""
    config = published("full", 16_000)
    (own,) = summarize(config, [0]).live
    layers = sum(
        stack.layers * positions
        for stack, positions in (
            (config.semantic_encoder, 4),
            (config.semantic_adapter, 4),
            (config.acoustic_encoder, 4),
            (config.pre_rvq_adapter, 4),
        )
    )
    rings = 501 * layers * 768 * 2 * 4  # keys and values, float32
    assert rings < own.encoder_state_bytes < 1.01 * rings


def test_a_mixed_step_runs_both_lanes(short_window):
    encoder = short_window.stream_encoder(2)
    lanes = encoder.lanes
    both = torch.tensor([True, True])
    assert encoder.sole_lane(both) == 0
    lanes.given[1] = lanes.period + lanes.warm - 1  # both of its lanes run
    assert encoder.sole_lane(both) is None
    assert encoder.sole_lane(torch.tensor([True, False])) == 0
