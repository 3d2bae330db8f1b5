"""Buffers the user's sound until the model may hear it: at once, or turn by turn on request.

A live model (one that may answer by itself) hears everything at once, in frames. It is given
silence where the client sends nothing although the model is to speak. Otherwise sound waits until
it is committed and a response is asked for; then the model hears it as fast as it can, followed by
silence until it has spoken.
"""

from __future__ import annotations

import asyncio
import collections
import time
from collections.abc import Awaitable, Callable

import numpy as np

from xyt_stream.audio import FRAME_SAMPLES, FRAME_SECONDS, INPUT_RATE, Samples
from xyt_stream.errors import EventError
from xyt_stream.protocol.realtime.server_events import ServerEvents
from xyt_stream.protocol.signal import Signal
from xyt_stream.server.realtime.turn_detector import SpeechStarted, TurnDetector

STALL = 0.24  # seconds that a live client may be late before the model is given silence
PATIENCE = 10.0  # seconds of silence that a model is given to begin its response in
MAX_SECONDS = 120.0  # of sound that may wait
MAX_QUEUED = 256  # appends and actions of a live client that may wait
_MIN_COMMIT = 0.1  # seconds; shorter sound cannot be committed


class InputBuffer:
    """The sound of one session, 16 kHz. For the event loop's thread.

    Args:
        events: sends the client events about turns; holds the settings and the current response.
        turns: finds the user's turns.
        feed: gives the model a frame, float32 [1280]; waits until it may have more.
        clock: seconds, monotonic.
    """

    def __init__(
        self,
        events: ServerEvents,
        turns: TurnDetector,
        feed: Callable[[Samples], Awaitable[None]],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._events = events
        self._turns = turns
        self._feed = feed
        self._clock = clock
        # Sound of a live client that was not examined yet, and the actions that follow it.
        self._queue: collections.deque[Samples | Callable[[], None]] = collections.deque()
        self._queued = 0  # samples in it
        self._open: list[Samples] = []  # since the last commit, if the model is not live
        self._uncommitted = 0  # samples since the last commit
        self._committed: list[Samples] = []  # waits until a response is asked for
        self._released = np.zeros(0, np.float32)  # goes to the model next
        self._patience = 0  # frames of silence that the model is still given to begin in
        self._silence_at = 0.0  # of the clock; time at which the model is given silence
        self._changed = Signal()

    async def drain(self) -> None:
        """Waits until the client may be read on."""
        await self._changed.wait_for(
            lambda: self._queued <= MAX_SECONDS * INPUT_RATE and len(self._queue) <= MAX_QUEUED
        )

    async def append(self, samples: Samples) -> None:
        """Adds sound, float32 [n].

        Raises:
            EventError: too much waits.
        """
        if self._events.settings.live:
            self._queue.append(samples)
            self._queued += len(samples)
            self._changed.notify()
            return
        self._check_space(samples)
        for start in range(0, len(samples), FRAME_SAMPLES):
            self._examine(samples[start : start + FRAME_SAMPLES])
            await asyncio.sleep(0)  # other sessions must not wait for a long chunk

    def commit(self, refuse: Callable[[EventError], None]) -> None:
        """Makes an item of the uncommitted sound; calls `refuse` if there is too little."""

        def commit() -> None:
            if self._uncommitted < _MIN_COMMIT * INPUT_RATE:
                ms = self._uncommitted * 1e3 / INPUT_RATE
                refuse(
                    EventError(
                        "input_audio_buffer_commit_empty",
                        f"The buffer holds {ms:.0f} ms of sound: at least 100 are needed.",
                    )
                )
                return
            self._turns.stop()
            self._events.commit()
            self._close_turn()

        self._in_order(commit)

    def clear(self) -> None:
        """Drops uncommitted sound, as far as the model has not heard it."""

        def clear() -> None:
            self._turns.stop()
            self._open, self._uncommitted = [], 0
            self._events.cleared()

        self._in_order(clear)

    def add_item(self, samples: Samples, item_id: str | None) -> None:
        """Adds a whole turn of the user's, float32 [n].

        Raises:
            EventError: too much waits.
        """
        self._check_space(samples)

        def add() -> None:
            self._committed.append(samples)
            self._events.add_item(item_id)
            if self._events.settings.live:
                self._release()

        self._in_order(add)

    def request_response(self) -> None:
        """Gives the model the committed sound, and silence until it speaks."""
        self._release()
        self._changed.notify()

    def cancel_response(self) -> None:
        """Stops giving the model silence to speak in."""
        self._patience = 0

    def update(self) -> None:
        """Looks again at the current response, which has begun, continued or ended."""
        self._changed.notify()

    async def run(self) -> None:
        """Feeds the model until it is cancelled. Run it in one task."""
        while True:
            ready = len(self._released) >= FRAME_SAMPLES
            if self._queue and not ready:
                self._take(self._queue.popleft())
                await asyncio.sleep(0)  # other sessions must not wait for a long queue
            elif ready or self._silence_is_due():
                await self._feed(self._next_frame())
            else:
                await self._changed.wait(
                    self._silence_at - self._clock() if self._expects_speech else None
                )

    @property
    def _expects_speech(self) -> bool:
        """Whether the model speaks, or is to."""
        return self._events.response is not None or self._patience > 0

    def _silence_is_due(self) -> bool:
        if not self._expects_speech:
            return False
        if self._events.settings.live:
            return self._clock() >= self._silence_at
        return True

    def _next_frame(self) -> Samples:
        """The model's next frame, padded with silence, float32 [1280]."""
        frame, self._released = self._released[:FRAME_SAMPLES], self._released[FRAME_SAMPLES:]
        now, whole = self._clock(), len(frame) == FRAME_SAMPLES
        if whole:
            self._silence_at = now + STALL
        else:
            self._silence_at = max(self._silence_at, now - STALL) + FRAME_SECONDS
        if not whole or (self._events.settings.live and not self._turns.speaking):
            self._use_patience()
        return np.pad(frame, (0, FRAME_SAMPLES - len(frame)))

    def _use_patience(self) -> None:
        """Counts a frame in which the model could have begun to speak."""
        response = self._events.response
        if response is not None and response.speaking:
            self._patience = 0
        elif self._patience:
            self._patience -= 1
            if not self._patience:
                self._events.end_silent_response()

    def _take(self, item: Samples | Callable[[], None]) -> None:
        self._changed.notify()
        if callable(item):
            item()
            return
        # One frame at a time: the model must not be ahead of the turns found.
        now, later = item[:FRAME_SAMPLES], item[FRAME_SAMPLES:]
        if len(later):
            self._queue.appendleft(later)
        self._queued -= len(now)
        self._examine(now)

    def _examine(self, samples: Samples) -> None:
        """Looks for turns in the next sound, and keeps it or releases it to the model."""
        settings = self._events.settings
        self._uncommitted += len(samples)
        if settings.live:
            self._released = np.concatenate([self._released, samples])
        else:
            self._open.append(samples)
        for event in self._turns.push(samples, settings.turn_detection):
            if isinstance(event, SpeechStarted):
                self._events.speech_started(event.ms)
            else:
                self._events.speech_stopped(event.ms)
                self._close_turn()
        if settings.turn_detection is not None and not settings.live and not self._turns.speaking:
            self._trim(settings.turn_detection.prefix_padding_ms)

    def _check_space(self, samples: Samples) -> None:
        waiting = self._uncommitted + len(self._released) + sum(map(len, self._committed))
        if waiting + self._queued + len(samples) > MAX_SECONDS * INPUT_RATE:
            raise EventError(
                "input_audio_buffer_full",
                f"{MAX_SECONDS:.0f} s of sound wait: ask for an answer, or clear the buffer.",
            )

    def _close_turn(self) -> None:
        """Commits the sound since the last commit."""
        self._committed += self._open
        self._open, self._uncommitted = [], 0
        if self._events.settings.live:
            self._release()

    def _release(self) -> None:
        self._released = np.concatenate([self._released, *self._committed])
        self._committed = []
        self._patience = round(PATIENCE / FRAME_SECONDS)

    def _trim(self, padding_ms: int) -> None:
        """Drops silence from before the padding of the next turn."""
        padding = padding_ms * INPUT_RATE // 1000
        while self._open and self._uncommitted - len(self._open[0]) >= padding:
            self._uncommitted -= len(self._open.pop(0))

    def _in_order(self, action: Callable[[], None]) -> None:
        """Runs an action once all sound before it was examined."""
        if self._queue:
            self._queue.append(action)
        else:
            action()
        self._changed.notify()
