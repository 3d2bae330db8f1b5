from __future__ import annotations

import pytest
import torch

from xyt_stream.errors import ModelError
from xyt_stream.streaming.lookahead import Lanes


def encoded(codec, wav, lookahead, cut=4000):
    encoder = codec.stream_encoder(lookahead=lookahead)
    return torch.cat([*(encoder.push(part) for part in wav.split(cut)), encoder.flush()], dim=1)


def decoded(codec, codes, lookahead, cut=3):
    decoder = codec.stream_decoder(lookahead=lookahead)
    parts = [decoder.push(part) for part in codes.split(cut, dim=1)]
    return torch.cat([*parts, decoder.flush()])


@pytest.mark.device
@pytest.mark.parametrize("lookahead", [25, 31])
def test_lookahead_over_the_whole_clip_equals_offline(bidirectional, frames, same_codes, lookahead):
    wav = frames.flatten()
    codes = bidirectional.encode(wav)
    assert same_codes(encoded(bidirectional, wav, lookahead), codes)
    sound = bidirectional.decode(codes)
    live = decoded(bidirectional, codes, lookahead)
    assert torch.allclose(live, sound, atol=1e-3 * sound.abs().max())


def test_seeing_the_whole_clip_is_offline_in_the_first_stride_only(short_window, speech):
    """Later published windows begin without a past; a live stream's have one."""
    wav = speech.repeat(3)[: 40 * 1280]
    stride = 26  # two thirds of this window, as 20 s are of 30
    live, offline = encoded(short_window, wav, 39), short_window.encode(wav)
    assert torch.equal(live[:, :stride], offline[:, :stride])
    assert not torch.equal(live[:, stride:], offline[:, stride:])
    first = wav[: stride * 1280]
    assert torch.equal(encoded(short_window, first, stride), short_window.encode(first))


def test_a_clip_shorter_than_the_lookahead(bidirectional, speech):
    wav = speech[:3000]
    padded = torch.nn.functional.pad(wav, (0, 840))
    assert torch.equal(encoded(bidirectional, wav, 20), bidirectional.encode(padded))


@pytest.mark.parametrize("lookahead", [0, 2])
def test_the_encoder_needs_no_more_than_its_delay(bidirectional, speech, lookahead):
    """Samples beyond the delay change no code that was given out; those within it do."""
    encoder = bidirectional.stream_encoder(lookahead=lookahead)
    needed = round(encoder.delay * 16_000)
    assert encoder.push(speech[: needed - 1]).shape == (8, 0)
    assert encoder.push(speech[needed - 1 : needed]).shape == (8, 1)
    wav = speech.clone()
    before = encoded(bidirectional, wav, lookahead)
    wav[5 * 1280 + needed :] = torch.rand(len(wav) - 5 * 1280 - needed) * 2 - 1
    after = encoded(bidirectional, wav, lookahead)
    assert torch.equal(before[:, :6], after[:, :6])
    assert not torch.equal(before[:, 6:], after[:, 6:])


@pytest.mark.parametrize("lookahead", [0, 2])
def test_the_decoder_needs_no_more_than_its_delay(bidirectional, frames, lookahead):
    codes = bidirectional.encode(frames.flatten())
    decoder = bidirectional.stream_decoder(lookahead=lookahead)
    assert decoder.delay == pytest.approx(0.08 * lookahead + 0.015)
    assert len(decoder.push(codes[:, :lookahead])) == 0
    assert len(decoder.push(codes[:, lookahead : lookahead + 1])) == 1920 - 360
    before = decoded(bidirectional, codes, lookahead)
    changed = codes.clone()
    changed[:, 6 + lookahead :] = 63 - changed[:, 6 + lookahead :]
    after = decoded(bidirectional, changed, lookahead)
    given = 6 * 1920 - 360
    assert torch.equal(before[:given], after[:given])
    assert not torch.allclose(before[given:], after[given:])


@pytest.mark.parametrize("lookahead", [0, 3])
def test_lengths_are_kept(bidirectional, speech, lookahead):
    codes = encoded(bidirectional, speech, lookahead)
    assert codes.shape == (8, -(-len(speech) // 1280))
    assert decoded(bidirectional, codes, lookahead).shape == (codes.shape[1] * 1920,)


@pytest.mark.device
def test_slots_are_independent(bidirectional, frames, same_codes, device):
    lookahead = 2
    wav = frames.flatten()
    alone = encoded(bidirectional, wav, lookahead)
    encoder = bidirectional.stream_encoder(slots=3, lookahead=lookahead)
    noise = torch.Generator().manual_seed(0)
    lead = wav[: encoder.lead].expand(3, -1).to(device)
    encoder.prime(lead, torch.tensor([False, True, False], device=device))
    hops = wav[encoder.lead :]
    hops = hops[: len(hops) // 1280 * 1280].split(1280)
    codes = []
    for i, hop in enumerate(hops):
        pcm = torch.rand(3, 1280, generator=noise)
        pcm[1] = hop
        active = torch.rand(3, generator=noise) < 0.5
        active[1] = True
        codes.append(encoder.step(pcm.to(device), active.to(device))[1])
        encoder.reset(torch.tensor([i % 4 == 0, False, i % 5 == 0], device=device))
    assert same_codes(torch.stack(codes, 1), alone[:, : len(hops)])


def test_a_stream_goes_on_in_another_slot(short_window, speech):
    """Before, during and after a change of lanes."""
    wav = speech.repeat(3)[: 60 * 1280]
    alone = encoded(short_window, wav, 0)
    encoder = short_window.stream_encoder(slots=3)
    encoder.prime(wav[: encoder.lead].expand(3, -1), torch.tensor([False, False, True]))
    hops = wav[encoder.lead :]
    slot = 2
    for i, hop in enumerate(hops[: len(hops) // 1280 * 1280].split(1280)):
        if i in (15, 30, 45):
            encoder.move(slot, (slot + 1) % 3)
            slot = (slot + 1) % 3
        active = torch.zeros(slot + 1, dtype=torch.bool)
        active[slot] = True
        assert torch.equal(encoder.step(hop.expand(slot + 1, -1), active)[slot], alone[:, i])


@pytest.mark.parametrize("lookahead", [0, 5, 30, 39])
def test_streams_outlast_the_window(short_window, speech, lookahead):
    """Through many windows of 40 frames no frame is lost."""
    wav = speech.repeat(4)[: 90 * 1280]
    codes = encoded(short_window, wav, lookahead)
    assert codes.shape == (8, 90)
    assert decoded(short_window, codes, lookahead).shape == (90 * 1920,)


def test_a_lane_equals_a_stream_that_started_later(short_window, speech):
    """After a change, codes are those of a stream that began where the new lane did."""
    wav = speech.repeat(3)[: 60 * 1280]
    lanes = Lanes(1, 40, 0, torch.device("cpu"))
    begin, change = lanes.period, lanes.period + lanes.warm
    assert (begin, change) == (20, 40)
    whole = encoded(short_window, wav, 0)
    late = encoded(short_window, wav[begin * 1280 :], 0)
    assert torch.equal(whole[:, change:], late[:, change - begin :])


def test_no_click_where_lanes_change(short_window, speech):
    """Sound cross-fades to the new lane within a frame, with no step at either end of it."""
    codes = encoded(short_window, speech.repeat(3)[: 60 * 1280], 0)
    sound = decoded(short_window, codes, 0)
    late = decoded(short_window, codes[:, 20:], 0)
    start, end = 39 * 1920 - 360, 40 * 1920 - 360  # the old lane's last frame, as given out
    assert torch.allclose(sound[end : 58 * 1920], late[end - 20 * 1920 : 38 * 1920], atol=1e-5)
    steps = sound.diff().abs()
    usual = steps[10 * 1920 : 38 * 1920].max()
    assert steps[start - 10 : start + 10].max() <= usual
    assert steps[end - 10 : end + 10].max() <= usual


def test_lookahead_must_fit_the_window(short_window):
    with pytest.raises(ModelError, match="40"):
        short_window.stream_encoder(lookahead=40)
    with pytest.raises(ModelError, match="not -1"):
        short_window.stream_decoder(lookahead=-1)
