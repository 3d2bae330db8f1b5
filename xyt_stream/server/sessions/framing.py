"""What a client sends, cut into the frames that a voice takes."""

from __future__ import annotations

from typing import Protocol, TypeAlias

import numpy as np

from xyt_stream.audio import Samples, StreamResampler, fit_length, to_float32
from xyt_stream.protocol.machine import Codes, Pcm
from xyt_stream.protocol.messages import Cleared
from xyt_stream.server.engine.slot_stream import Length, Voice
from xyt_stream.server.sessions.rooms import Room
from xyt_stream.server.sessions.send_queue import Outlet


class Spoken(Protocol):
    """What takes frames of sound: a Voice, or a Conversation."""

    def prime(self, samples: Samples) -> None: ...
    async def push(self, frame: Samples) -> None: ...
    async def finish(self, length: Length, left: int = 0, last: Samples | None = None) -> None: ...


class SoundIntake:
    """Sound at any rate, in pieces of any size."""

    def __init__(
        self, voice: Spoken, rate: int, codec_rate: int, frame_samples: int, lead: int
    ) -> None:
        self._voice = voice
        self._rate = rate
        self._frame_samples = frame_samples
        self._lead = lead  # samples that the encoder hears before the first frame
        self._primed = lead == 0
        self._resampler = StreamResampler(rate, codec_rate)
        self._taken = 0
        self._waiting = np.zeros(0, np.float32)  # less than a frame, or than the lead

    async def take(self, media: Pcm | Codes) -> None:
        assert isinstance(media, Pcm)
        self._taken += len(media.samples)
        await self.push(self._resampler.push(to_float32(media.samples)))

    async def finish(self) -> None:
        await self.push(self._resampler.flush())
        waiting, lead = self._waiting, self._lead
        left = -(-(len(waiting) + (lead if self._primed else 0)) // self._frame_samples)
        if not self._primed:
            self._voice.prime(fit_length(waiting, lead))
            waiting = waiting[:0]
        last = fit_length(waiting, self._frame_samples) if len(waiting) else None
        await self._voice.finish(Length(self._taken, self._rate), left, last)

    async def push(self, samples: Samples) -> None:
        """float32 [n] at the codec's rate."""
        samples = np.concatenate([self._waiting, samples])
        if not self._primed and len(samples) >= self._lead:
            self._voice.prime(samples[: self._lead])
            samples = samples[self._lead :]
            self._primed = True
        if not self._primed:
            self._waiting = samples
            return
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


class AnswerIntake:
    """What a model says in a room; it waits for the user to come, and to hear it.

    Args:
        outlet: the model's.
        most: frames that may wait to be heard.
    """

    def __init__(self, room: Room, outlet: Outlet, most: int) -> None:
        self._room = room
        self._outlet = outlet
        self._most = most
        self._clears = 0

    async def take(self, media: Pcm | Codes) -> None:
        assert isinstance(media, Codes)
        if not media.codes.size:
            return
        clears = self._clears
        conversation = await self._room.arrival()
        await conversation.room(self._most)
        if clears == self._clears:
            conversation.say(media.codes)

    async def finish(self) -> None:
        self._outlet.stop()

    def clear(self, dropped: int) -> None:
        """The model takes back what nobody has heard, `dropped` frames of it not said yet."""
        self._clears += 1
        if self._room.conversation is not None:
            self._room.conversation.clear(dropped)
        else:
            self._outlet.tell(Cleared(frame=0, played=0, dropped=dropped))


Intake: TypeAlias = SoundIntake | CodesIntake | AnswerIntake
