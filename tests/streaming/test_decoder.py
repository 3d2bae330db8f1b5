from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from xyt_stream.errors import CodeError


@pytest.fixture(scope="module")
def codes(codec, frames):
    return codec.encode(frames.flatten())


@pytest.mark.device
@settings(max_examples=6)
@given(data=st.data())
def test_any_cut_gives_the_offline_sound(codec, codes, data):
    decoder, parts, at = codec.stream_decoder(), [], 0
    while at < codes.shape[1]:
        length = data.draw(st.integers(1, 9))
        parts.append(decoder.push(codes[:, at : at + length]))
        at += length
    sound = torch.cat([*parts, decoder.flush()])
    assert torch.allclose(sound, codec.decode(codes), atol=1e-4)


def test_the_delay_holds_sound_back_and_adds_none(codec, codes):
    decoder = codec.stream_decoder()
    assert decoder.delay_samples == round(decoder.delay * codec.output_rate)
    first = decoder.push(codes[:, :1])
    assert len(first) == 1280 - decoder.delay_samples
    assert len(decoder.push(codes[:, 1:3])) == 2 * 1280
    assert len(decoder.flush()) == decoder.delay_samples


def test_delay_of_encoder_and_decoder_together(codec):
    assert codec.stream_encoder().delay + codec.stream_decoder().delay == pytest.approx(0.09)


def test_flush_without_codes_gives_nothing(codec):
    assert codec.stream_decoder().flush().shape == (0,)


def test_flush_starts_anew(codec, codes):
    decoder = codec.stream_decoder()
    first = torch.cat([decoder.push(codes), decoder.flush()])
    assert torch.equal(torch.cat([decoder.push(codes), decoder.flush()]), first)


def test_refused_codes_leave_the_stream_as_it_was(codec, codes):
    decoder = codec.stream_decoder()
    parts = [decoder.push(codes[:, :5])]
    with pytest.raises(CodeError, match="1023"):
        decoder.push(torch.full((8, 1), 5000))
    parts += [decoder.push(codes[:, 5:]), decoder.flush()]
    assert torch.allclose(torch.cat(parts), codec.decode(codes), atol=1e-4)


@pytest.mark.device
def test_a_slot_is_unmoved_by_its_neighbours(codec, codes, device):
    alone = codec.stream_decoder()
    crowd = codec.stream_decoder(slots=4)
    generator = torch.Generator().manual_seed(0)
    for frame in codes.T:
        mixed = torch.randint(1024, (4, 8), generator=generator)
        mixed[2] = frame
        active = torch.rand(4, generator=generator) < 0.6
        active[2] = True
        reset = torch.rand(4, generator=generator) < 0.2
        reset[2] = False
        crowd.reset(reset.to(device))
        got = crowd.step(mixed.to(device), active.to(device))[2]
        expected = alone.step(frame[None].to(device), alone.all_slots)[0]
        assert torch.allclose(got, expected, atol=1e-4)
    assert torch.allclose(crowd.tail()[2], alone.tail()[0], atol=1e-4)


def test_a_paused_slot_goes_on_where_it_was(codec, codes):
    decoder = codec.stream_decoder(slots=2)
    heard = []
    for i, frame in enumerate(codes.T):
        for _ in range(i % 3):
            decoder.step(torch.randint(1024, (2, 8)), torch.tensor([True, False]))
        heard.append(decoder.step(frame.expand(2, -1), torch.tensor([True, True]))[1])
    sound = torch.cat([*heard, decoder.tail()[1]])[decoder.delay_samples :]
    assert torch.allclose(sound, codec.decode(codes), atol=1e-4)


def test_codes_of_fewer_codebooks_stream_too(codec, codes):
    decoder = codec.stream_decoder()
    sound = torch.cat([decoder.push(codes[:3]), decoder.flush()])
    assert torch.allclose(sound, codec.decode(codes[:3]), atol=1e-4)


@torch.inference_mode()
def test_chosen_slots_step_as_the_first_ones_do(codec, codes):
    in_place, copied = codec.stream_decoder(slots=5), codec.stream_decoder(slots=5)
    generator = torch.Generator().manual_seed(0)
    for _ in range(30):
        active = torch.rand(5, generator=generator) < 0.5
        frame = codes.T[torch.randint(codes.shape[1], (5,), generator=generator)]
        chosen = active.nonzero()[:, 0]
        chosen = chosen[torch.randperm(len(chosen), generator=generator)]
        if len(chosen):
            fresh = copied.stream.all.frames[chosen] == 0
            sound = copied.step(frame[chosen], torch.ones(len(chosen), dtype=torch.bool), chosen)
            other = in_place.step(frame, active)[chosen]
            for each in (sound, other):  # to be dropped: hardly any window reaches there
                each[fresh, : copied.delay_samples] = 0
            assert torch.allclose(sound, other, atol=1e-6)
    assert torch.allclose(copied.tail(), in_place.tail(), atol=1e-6)
