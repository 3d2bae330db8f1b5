"""Feeds the model with the user's sound as it arrives, and with silence while it should speak.

A live model (one that may answer by itself) gets silence if the client sends nothing during a
response. Otherwise the client asks for each response; then the model gets the rest of the committed
sound as fast as possible, and silence until it has spoken. Sound that arrives meanwhile waits.
"""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable

import numpy as np

from xyt_stream.audio import FRAME_SAMPLES, FRAME_SECONDS, Samples
from xyt_stream.protocol.realtime.server_events import ServerEvents
from xyt_stream.server.realtime.input_buffer import InputBuffer
from xyt_stream.server.realtime.turn_framer import InputFrame

STALL = 0.24  # seconds that a live client may be late before the model gets silence
PATIENCE = 10.0  # seconds of silence in which a model may begin its answer
_BREAK = 12  # frames of silence after a turn that was cleared


class ModelFeed:
    """Feeds the model of one session. For the event loop's thread.

    Args:
        events: informed of what the model got; holds the settings and the current response.
        buffer: of the client's sound.
        hear: gives the model a frame, float32 [1280]; waits until it may have more.
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
        self._fed = 0  # frames that the model got
        self._asked = 0  # the response answers turns with lower numbers
        self._whole = True  # whether the model got all of them
        self._heard_turn = -1  # number of the latest turn of which the model got sound
        self._break = 0  # frames of silence still due after a turn that was cleared
        self._patience = 0  # frames of silence in which the model may still begin
        self._silence_at = 0.0  # of the clock; when the model is given silence

    def turn_committed(self) -> None:
        """A turn was committed: a live model may answer it."""
        if self._events.settings.live:
            self._expect()

    def turn_cleared(self) -> None:
        """The uncommitted turn was cleared: what the model got of it needs an end."""
        if not self._events.settings.live and self._heard_turn >= self._buffer.committed:
            self._break = _BREAK
            self._heard_turn = -1

    def answer(self) -> None:
        """Feeds what the response needs: the committed turns, then silence."""
        self._asked, self._whole = self._buffer.committed, False
        self._expect()
        self._buffer.changed.notify()

    def cancel(self) -> None:
        """Stops waiting for an answer."""
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
            elif self._events.settings.live and self._expects and not self._buffer.has_arrivals:
                await changed.wait(max(0.0, self._silence_at - self._clock()))
            else:
                await changed.wait()

    @property
    def _expects(self) -> bool:
        """Whether an answer is in progress or awaited."""
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
        """Feeds silence after a cleared turn, then cancels the model's answer to it."""
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
        """Reports once that the model got the whole input of the response."""
        if not self._whole and not self._buffer.has_unheard(self._asked):
            self._whole = True
            if not self._events.settings.live:
                self._events.responses.heard_all(self._fed)

    def _lose_patience(self) -> None:
        """Counts a frame in which the model could have begun; ends the response after the last."""
        response = self._events.response
        if response is not None and response.speaking:
            self._patience = 0
        elif self._patience:
            self._patience -= 1
            if not self._patience:
                self._events.responses.end_silent_response()
