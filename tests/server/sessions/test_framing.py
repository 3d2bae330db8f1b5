"""From messages to frames; the sink here only keeps the frames."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from xyt_stream.audio import resample, to_float32
from xyt_stream.protocol.machine import Codes, Pcm
from xyt_stream.server.engine.slot_stream import Length
from xyt_stream.server.sessions.framing import CodeFramer, SoundFramer


class Kept:
    def __init__(self):
        self.frames = []
        self.length = None

    async def push(self, frame):
        self.frames.append(np.array(frame))

    async def end(self, length, left=0, last=None):
        self.length, self.left = length, left
        if last is not None:
            await self.push(last)

    async def push_codes(self, frame):
        self.frames.append(frame)

    def end_codes(self, length):
        self.length = length


@given(st.lists(st.integers(0, 3000), max_size=8))
async def test_sound_in_any_chunks_becomes_padded_frames(lengths):
    said = np.arange(sum(lengths)).astype(np.int16)
    sink = Kept()
    framer = SoundFramer(sink, 16_000, 16_000, 1280, 0)
    for chunk in np.split(said, np.cumsum(lengths)[:-1] if lengths else []):
        await framer.take(Pcm(0, chunk))
    await framer.finish()
    assert all(frame.shape == (1280,) for frame in sink.frames)
    joined = np.concatenate([np.zeros(0, np.float32), *sink.frames])
    np.testing.assert_array_equal(joined[: len(said)], to_float32(said))
    assert not joined[len(said) :].any()
    assert len(sink.frames) == -(-len(said) // 1280)
    assert sink.length == Length(len(said), 16_000)


async def test_sound_at_another_rate_is_resampled_as_a_whole():
    said = (8000 * np.sin(np.arange(44_100) / 200)).astype(np.int16)
    sink = Kept()
    framer = SoundFramer(sink, 44_100, 16_000, 1280, 0)
    for start in range(0, len(said), 999):
        await framer.take(Pcm(0, said[start : start + 999]))
    await framer.finish()
    assert sink.length == Length(44_100, 44_100)
    joined = np.concatenate(sink.frames)
    assert len(joined) == 13 * 1280
    inside = slice(500, 15_500)
    expected = resample(to_float32(said), 44_100, 16_000)
    assert np.abs(joined[:16_000] - expected)[inside].max() < 0.02


async def test_codes_become_frames_one_by_one():
    codes = np.arange(40).reshape(8, 5)
    sink = Kept()
    framer = CodeFramer(sink, 24_000, 1920)
    await framer.take(Codes(0, codes[:, :3]))
    await framer.take(Codes(3, codes[:, 3:]))
    await framer.finish()
    np.testing.assert_array_equal(np.stack(sink.frames, axis=1), codes)
    assert sink.length == Length(5 * 1920, 24_000)
