"""What a client sends, on its way to the model: as it comes, or turn by turn when it is asked for.

A model that may answer by itself hears everything at once, in frames; it is given silence where the
client sends nothing although the model is to speak. Otherwise what is said waits until it is
committed and an answer is asked for; then the model hears it as fast as it can, and then silence
until it has spoken.
"""

from __future__ import annotations

import asyncio
import collections
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress

import numpy as np

from xyt_stream.audio import FRAME_SAMPLES, FRAME_SECONDS, INPUT_RATE, Samples
from xyt_stream.errors import EventError
from xyt_stream.protocol.realtime.server_events import ServerEvents
from xyt_stream.server.realtime.turn_detector import Started, Turns

STALL = 0.24  # seconds that a live client may be late before the model is given silence
PATIENCE = 10.0  # seconds of silence that a model is given to begin its answer in
LONGEST = 120.0  # seconds of sound that may wait
MOST = 256  # events that may, too
_LEAST = 0.1  # seconds that can be committed


class Ear:
    """The sound of one session, 16 kHz.

    Args:
        dialogue: told of turns.
        turns: finds them.
        hear: the model hears float32 [1280]; waits until it may have more.
    """

    def __init__(
        self, dialogue: ServerEvents, turns: Turns, hear: Callable[[Samples], Awaitable[None]]
    ) -> None:
        self._dialogue = dialogue
        self._turns = turns
        self._hear = hear
        # What a live client sent and nobody has listened to; and what is to happen after it.
        self._inbox: collections.deque[Samples | Callable[[], None]] = collections.deque()
        self._unheard = 0  # samples in it
        self._open: list[Samples] = []  # said since the last commit, where the model is not live
        self._said = 0  # samples since the last commit
        self._committed: list[Samples] = []  # waits until an answer is asked for
        self._released = np.zeros(0, np.float32)  # the model hears it next
        self._patience = 0  # frames of silence that the model is still given to begin in
        self._silence_at = 0.0  # of the monotonic clock
        self._changed = asyncio.Event()

    async def room(self) -> None:
        """Waits while too much waits."""
        while self._unheard > LONGEST * INPUT_RATE or len(self._inbox) > MOST:
            await self._change()

    async def append(self, samples: Samples) -> None:
        """float32 [n] that the client said.

        Raises:
            EventError: too much waits.
        """
        if self._dialogue.settings.live:
            self._inbox.append(samples)
            self._unheard += len(samples)
            self._changed.set()
            return
        self._check_room(samples)
        for start in range(0, len(samples), FRAME_SAMPLES):
            self._listen(samples[start : start + FRAME_SAMPLES])
            await asyncio.sleep(0)  # others must not wait for a long piece

    def commit(self, refuse: Callable[[EventError], None]) -> None:
        """What was said becomes an item; or `refuse` is told why not."""

        def commit() -> None:
            if self._said < _LEAST * INPUT_RATE:
                ms = self._said * 1e3 / INPUT_RATE
                refuse(
                    EventError(
                        "input_audio_buffer_commit_empty",
                        f"The buffer holds {ms:.0f} ms of sound: at least 100 are needed.",
                    )
                )
                return
            self._turns.reset()
            self._dialogue.commit()
            self._close_turn()

        self._in_order(commit)

    def clear(self) -> None:
        """What was said and not committed is forgotten, as far as the model has not heard it."""

        def clear() -> None:
            self._turns.reset()
            self._open, self._said = [], 0
            self._dialogue.cleared()

        self._in_order(clear)

    def add(self, samples: Samples, item_id: str | None) -> None:
        """A whole turn of the user's, float32 [n].

        Raises:
            EventError: too much waits.
        """
        self._check_room(samples)

        def add() -> None:
            self._committed.append(samples)
            self._dialogue.add_item(item_id)
            if self._dialogue.settings.live:
                self._release()

        self._in_order(add)

    def answer(self) -> None:
        """The model is to speak, now that it hears what was committed."""
        self._release()
        self._changed.set()

    def hush(self) -> None:
        """The model need not speak any more."""
        self._patience = 0

    def notice(self) -> None:
        """The model has said something, or stopped."""
        self._changed.set()

    async def run(self) -> None:
        """Feeds the model. Never returns."""
        while True:
            ready = len(self._released) >= FRAME_SAMPLES
            if self._inbox and not ready:
                self._take(self._inbox.popleft())
                await asyncio.sleep(0)  # others must not wait for a long queue of little
            elif ready or self._silence_is_due():
                await self._hear(self._frame())
            else:
                late = self._silence_at - time.monotonic() if self._expects else None
                await self._change(late)

    @property
    def _expects(self) -> bool:
        """Whether the model speaks, or is to."""
        return self._dialogue.response is not None or self._patience > 0

    def _silence_is_due(self) -> bool:
        if not self._expects:
            return False
        if self._dialogue.settings.live:
            return time.monotonic() >= self._silence_at
        return True

    def _frame(self) -> Samples:
        """The next one for the model, filled up with silence."""
        frame, self._released = self._released[:FRAME_SAMPLES], self._released[FRAME_SAMPLES:]
        now, whole = time.monotonic(), len(frame) == FRAME_SAMPLES
        if whole:
            self._silence_at = now + STALL
        else:
            self._silence_at = max(self._silence_at, now - STALL) + FRAME_SECONDS
        if not whole or (self._dialogue.settings.live and not self._turns.speaking):
            self._lose_patience()
        return np.pad(frame, (0, FRAME_SAMPLES - len(frame)))

    def _lose_patience(self) -> None:
        """Another frame has passed in which the model could have begun."""
        reply = self._dialogue.response
        if reply is not None and reply.speaking:
            self._patience = 0
        elif self._patience:
            self._patience -= 1
            if not self._patience:
                self._dialogue.end_silent_response()

    def _take(self, item: Samples | Callable[[], None]) -> None:
        self._changed.set()
        if callable(item):
            item()
            return
        # A frame at a time: the model must not be ahead of what the turns are.
        now, later = item[:FRAME_SAMPLES], item[FRAME_SAMPLES:]
        if len(later):
            self._inbox.appendleft(later)
        self._unheard -= len(now)
        self._listen(now)

    def _listen(self, samples: Samples) -> None:
        """Sound in its place among the turns."""
        settings = self._dialogue.settings
        self._said += len(samples)
        if settings.live:
            self._released = np.concatenate([self._released, samples])
        else:
            self._open.append(samples)
        for event in self._turns.hear(samples, settings.turn_detection):
            if isinstance(event, Started):
                self._dialogue.speech_started(event.ms)
            else:
                self._dialogue.speech_stopped(event.ms)
                self._close_turn()
        if settings.turn_detection is not None and not settings.live and not self._turns.speaking:
            self._trim(settings.turn_detection.prefix_padding_ms)

    def _check_room(self, samples: Samples) -> None:
        waiting = self._said + len(self._released) + sum(map(len, self._committed))
        if waiting + self._unheard + len(samples) > LONGEST * INPUT_RATE:
            raise EventError(
                "input_audio_buffer_full",
                f"{LONGEST:.0f} s of sound wait: ask for an answer, or clear the buffer.",
            )

    def _close_turn(self) -> None:
        """What was said since the last turn is committed."""
        self._committed += self._open
        self._open, self._said = [], 0
        if self._dialogue.settings.live:
            self._release()

    def _release(self) -> None:
        self._released = np.concatenate([self._released, *self._committed])
        self._committed = []
        self._patience = round(PATIENCE / FRAME_SECONDS)

    def _trim(self, padding_ms: int) -> None:
        """Forgets silence before the padding of a turn that may come."""
        while self._open and self._said - len(self._open[0]) >= padding_ms * INPUT_RATE // 1000:
            self._said -= len(self._open.pop(0))

    def _in_order(self, action: Callable[[], None]) -> None:
        """Does it when all sound before it has been listened to."""
        if self._inbox:
            self._inbox.append(action)
        else:
            action()
        self._changed.set()

    async def _change(self, timeout: float | None = None) -> None:
        self._changed.clear()
        with suppress(asyncio.TimeoutError):
            await asyncio.wait_for(self._changed.wait(), timeout)
