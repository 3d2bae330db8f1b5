from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from xyt_stream.errors import XYTError


def joined(encoder, chunks: list[Tensor]) -> Tensor:
    return torch.cat([*(encoder.push(chunk) for chunk in chunks), encoder.flush()], dim=1)


@pytest.mark.device
@settings(max_examples=8)
@given(data=st.data())
def test_any_cut_gives_the_offline_codes(codec, speech, same_codes, data):
    wav = speech[: len(speech) // 1280 * 1280]
    lengths = st.one_of(st.integers(1, 400), st.integers(1, 48_000))
    chunks, rest = [], wav
    while len(rest):
        length = data.draw(lengths) if len(chunks) < 40 else len(rest)
        chunks.append(rest[:length])
        rest = rest[length:]
    assert same_codes(joined(codec.stream_encoder(), chunks), codec.encode(wav))


def test_one_sample_at_a_time(codec, speech):
    wav = speech[: 3 * 1280]
    assert torch.equal(joined(codec.stream_encoder(), list(wav.split(1))), codec.encode(wav))


def test_a_partial_frame_is_padded_and_never_lost(codec, speech):
    wav = speech[: 3 * 1280 + 1]
    padded = torch.nn.functional.pad(wav, (0, 1279))
    assert torch.equal(joined(codec.stream_encoder(), [wav]), codec.encode(padded))


def test_frames_come_out_as_soon_as_the_delay_says(codec, speech):
    encoder = codec.stream_encoder()
    assert encoder.delay == pytest.approx(0.08)
    assert encoder.push(speech[:1279]).shape == (8, 0)
    assert encoder.push(speech[1279:1280]).shape == (8, 1)


def test_samples_beyond_a_frame_change_nothing_in_it(codec, frames):
    loud = frames.clone()
    loud[10:] = torch.rand_like(loud[10:]) * 2 - 1
    before, after = codec.encode(frames.flatten()), codec.encode(loud.flatten())
    assert torch.equal(before[:, :10], after[:, :10])
    assert not torch.equal(before[:, 10:], after[:, 10:])


def test_flush_starts_anew(codec, speech):
    encoder = codec.stream_encoder()
    first = joined(encoder, [speech])
    assert torch.equal(joined(encoder, [speech]), first)


def test_push_is_for_one_stream(codec):
    with pytest.raises(XYTError, match="use step"):
        codec.stream_encoder(slots=2).push(torch.zeros(1280))


@pytest.mark.device
def test_a_slot_is_unmoved_by_its_neighbours(codec, frames, same_codes, device):
    """Slot 1 is active in every step; the others pause and reset at random."""
    alone = codec.encode(frames.flatten())
    encoder = codec.stream_encoder(slots=4)
    generator = torch.Generator().manual_seed(0)
    codes = []
    for frame in frames:
        pcm = torch.rand(4, 1280, generator=generator) * 2 - 1
        pcm[1] = frame
        active = torch.rand(4, generator=generator) < 0.6
        active[1] = True
        reset = torch.rand(4, generator=generator) < 0.2
        reset[1] = False
        encoder.reset(reset.to(device))
        codes.append(encoder.step(pcm.to(device), active.to(device))[1])
    assert same_codes(torch.stack(codes, 1), alone)


@pytest.mark.device
def test_a_paused_slot_goes_on_where_it_was(codec, frames, same_codes, device):
    alone = codec.encode(frames.flatten())
    encoder = codec.stream_encoder(slots=2)
    noise = (torch.rand(2, 1280) * 2 - 1).to(device)
    one, both = (torch.tensor([True, on], device=device) for on in (False, True))
    codes = []
    for i, frame in enumerate(frames):
        for _ in range(i % 3):
            encoder.step(noise, one)
        pcm = noise.clone()
        pcm[1] = frame
        codes.append(encoder.step(pcm, both)[1])
    assert same_codes(torch.stack(codes, 1), alone)


def test_a_reset_slot_remembers_nothing(codec, frames):
    encoder = codec.stream_encoder(slots=2)
    both = torch.ones(2, dtype=torch.bool)
    for _ in range(25):  # longer than attention's context
        encoder.step(torch.rand(2, 1280) * 2 - 1, both)
    encoder.reset(torch.tensor([False, True]))
    got = [encoder.step(frame.expand(2, -1), both)[1] for frame in frames]
    assert torch.equal(torch.stack(got, 1), codec.encode(frames.flatten()))


def test_state_is_allocated_once_and_never_grows(codec, frames):
    encoder = codec.stream_encoder(slots=2)
    both = torch.ones(2, dtype=torch.bool)
    state = encoder.stream.all
    places = [tensor.data_ptr() for tensor in state.tensors()]
    sizes = [tensor.shape for tensor in state.tensors()]
    for _ in range(30):
        encoder.step(frames[:2], both)
    assert all(shape[0] == 2 for shape in sizes)
    assert [tensor.data_ptr() for tensor in state.tensors()] == places
    assert [tensor.shape for tensor in state.tensors()] == sizes


def test_a_step_may_run_the_first_slots_only(codec, frames):
    alone = codec.encode(frames.flatten())
    encoder = codec.stream_encoder(slots=4)
    for i, frame in enumerate(frames):
        count = 1 + i % 4
        pcm = torch.rand(count, 1280) * 2 - 1
        pcm[0] = frame
        assert torch.equal(encoder.step(pcm, torch.ones(count, dtype=torch.bool))[0], alone[:, i])


def test_a_stream_goes_on_in_another_slot(codec, frames):
    alone = codec.encode(frames.flatten())
    encoder = codec.stream_encoder(slots=3)
    slot = 2
    for i, frame in enumerate(frames):
        if i == 10:
            encoder.move(2, 0)
            slot = 0
        active = torch.zeros(slot + 1, dtype=torch.bool)
        active[slot] = True
        got = encoder.step(frame.expand(slot + 1, -1), active)[slot]
        assert torch.equal(got, alone[:, i])


def test_chosen_slots_step_as_the_first_ones_do(codec, frames):
    in_place, copied = codec.stream_encoder(slots=5), codec.stream_encoder(slots=5)
    generator = torch.Generator().manual_seed(0)
    for _ in range(30):
        active = torch.rand(5, generator=generator) < 0.5
        pcm = frames[torch.randint(len(frames), (5,), generator=generator)]
        chosen = active.nonzero()[:, 0]
        chosen = chosen[torch.randperm(len(chosen), generator=generator)]
        if len(chosen):
            codes = copied.step(pcm[chosen], torch.ones(len(chosen), dtype=torch.bool), chosen)
            assert torch.equal(codes, in_place.step(pcm, active)[chosen])
