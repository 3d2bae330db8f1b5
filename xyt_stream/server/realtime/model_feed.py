"""Gives the model the user's sound, as it comes, and silence in its place where it is to speak.

A model that may answer by itself is given silence where the client sends nothing although the model
is to speak. One that is asked for each answer is given, once it is asked, the rest of what was
committed as fast as it can hear it, and then silence until it has spoken; what the client sends
meanwhile waits.
"""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable

import numpy as np

from xyt_stream.audio import FRAME_SAMPLES, FRAME_SECONDS, Samples
from xyt_stream.protocol.realtime.server_events import ServerEvents
from xyt_stream.server.realtime.input_buffer import InputBuffer, InputFrame

STALL = 0.24  # seconds that a live client may be late before the model is given silence
PATIENCE = 10.0  # seconds of silence that a model is given to begin its answer in
_BREAK = 12  # frames of silence that the model hears after a turn that was taken back


class ModelFeed:
    """Feeds the model of one session. For the event loop's thread.

    Args:
        events: told what the model has heard.
        buffer: of what the client sends.
        hear: the model hears float32 [1280]; waits until it may have more.
        clock: seconds, monotonic.
    """

    def __init__(
        self,
        events: ServerEvents,
        buffer: InputBuffer,
        hear: Callable[[Samples], Awaitable[None]],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._events = events
        self._buffer = buffer
        self._hear = hear
        self._clock = clock
        self._fed = 0  # frames that the model has heard
        self._asked = 0  # turns of a lower number are what the response answers
        self._whole = True  # whether the model has heard them
        self._heard_turn = -1  # number of the latest turn that it has heard some of
        self._break = 0  # frames of silence that it still hears, for a turn that was taken back
        self._patience = 0  # frames of silence that the model is still given to begin in
        self._silence_at = 0.0  # of the clock; when the model is given silence

    def turn_committed(self) -> None:
        """The user has said something to answer."""
        if self._events.settings.live:
            self._expect()

    def turn_cleared(self) -> None:
        """The user's turn was taken back."""
        if not self._events.settings.live and self._heard_turn >= self._buffer.committed:
            self._break = _BREAK
            self._heard_turn = -1

    def answer(self) -> None:
        """The model is to speak, now that it hears what was committed."""
        self._asked, self._whole = self._buffer.committed, False
        self._expect()
        self._buffer.changed.notify()

    def cancel(self) -> None:
        """The model need not speak any more."""
        self._patience = 0

    async def run(self) -> None:
        """Feeds the model. Never returns."""
        frames, changed = self._buffer.frames, self._buffer.changed
        while True:
            self._note_whole()
            if self._break:
                await self._feed_break()
            elif frames and self._may_hear(frames[0]):
                frame = frames.popleft()
                changed.notify()
                await self._feed_sound(frame)
            elif self._silence_is_due():
                await self._feed_silence()
            elif self._events.settings.live and self._expects:
                await changed.wait(max(0.0, self._silence_at - self._clock()))
            else:
                await changed.wait()

    @property
    def _expects(self) -> bool:
        """Whether the model speaks, or is to."""
        return self._events.response is not None or self._patience > 0

    def _expect(self) -> None:
        self._patience = round(PATIENCE / FRAME_SECONDS)

    def _may_hear(self, frame: InputFrame) -> bool:
        live, speaks = self._events.settings.live, self._events.response is not None
        return live or not speaks or frame.turn < self._asked

    def _silence_is_due(self) -> bool:
        if not self._events.settings.live:
            return self._events.response is not None and self._whole
        due = self._expects and not self._buffer.has_arrivals
        return due and self._clock() >= self._silence_at

    async def _feed_sound(self, frame: InputFrame) -> None:
        live = self._events.settings.live
        self._silence_at = self._clock() + STALL
        self._heard_turn = max(self._heard_turn, frame.turn)
        await self._feed(frame.samples, frame.speech and not live)
        if live and not self._buffer.heard_speech:
            self._lose_patience()

    async def _feed_silence(self) -> None:
        live, now = self._events.settings.live, self._clock()
        self._silence_at = max(self._silence_at, now - STALL) + FRAME_SECONDS
        silence = self._buffer.take_rest() if live else np.zeros(FRAME_SAMPLES, np.float32)
        await self._feed(silence, False)
        self._lose_patience()

    async def _feed_break(self) -> None:
        """The model hears that a turn is over which is not to be answered."""
        self._break -= 1
        await self._feed(np.zeros(FRAME_SAMPLES, np.float32), True)
        if not self._break:
            self._events.responses.discard_output()
            if self._events.response is not None:
                self._expect()

    async def _feed(self, samples: Samples, speech: bool) -> None:
        self._events.responses.heard_frame(self._fed, speech)
        self._fed += 1
        await self._hear(samples)

    def _note_whole(self) -> None:
        """Tells once that the model has heard the whole input of the response."""
        if not self._whole and not self._buffer.has_unheard(self._asked):
            self._whole = True
            if not self._events.settings.live:
                self._events.responses.heard_all(self._fed)

    def _lose_patience(self) -> None:
        """Another frame has passed in which the model could have begun."""
        response = self._events.response
        if response is not None and response.speaking:
            self._patience = 0
        elif self._patience:
            self._patience -= 1
            if not self._patience:
                self._events.responses.end_silent_response()
