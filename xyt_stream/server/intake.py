"""What a client sends, cut into the frames that a voice takes."""

from __future__ import annotations

import numpy as np

from xyt_stream.audio import Samples, StreamResampler, fit_length, to_float32
from xyt_stream.protocol.machine import Codes, Pcm
from xyt_stream.server.voice import Length, Voice


class SoundIntake:
    """Sound at any rate, in pieces of any size."""

    def __init__(self, voice: Voice, rate: int, codec_rate: int, frame_samples: int) -> None:
        self._voice = voice
        self._rate = rate
        self._frame_samples = frame_samples
        self._resampler = StreamResampler(rate, codec_rate)
        self._taken = 0
        self._waiting = np.zeros(0, np.float32)  # less than a frame

    async def take(self, media: Pcm | Codes) -> None:
        assert isinstance(media, Pcm)
        self._taken += len(media.samples)
        await self._push(self._resampler.push(to_float32(media.samples)))

    async def finish(self) -> None:
        await self._push(self._resampler.flush())
        last = fit_length(self._waiting, self._frame_samples) if len(self._waiting) else None
        await self._voice.finish(Length(self._taken, self._rate), last)

    async def _push(self, samples: Samples) -> None:
        samples = np.concatenate([self._waiting, samples])
        whole = len(samples) // self._frame_samples * self._frame_samples
        for frame in samples[:whole].reshape(-1, self._frame_samples):
            await self._voice.push(frame)
        self._waiting = samples[whole:]


class CodesIntake:
    """Codes, any number of frames at a time."""

    def __init__(self, voice: Voice, codec_rate: int, frame_samples: int) -> None:
        self._voice = voice
        self._rate = codec_rate
        self._frame_samples = frame_samples
        self._taken = 0

    async def take(self, media: Pcm | Codes) -> None:
        assert isinstance(media, Codes)
        self._taken += media.codes.shape[1]
        for frame in media.codes.T:
            await self._voice.push(frame)

    async def finish(self) -> None:
        await self._voice.finish(Length(self._taken * self._frame_samples, self._rate))
