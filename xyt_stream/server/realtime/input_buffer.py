"""Buffers the user's sound: finds turns in it and commits them."""

from __future__ import annotations

import asyncio
import collections
import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from xyt_stream.audio import FRAME_SAMPLES, INPUT_RATE, Samples
from xyt_stream.errors import EventError
from xyt_stream.protocol.realtime.error_events import buffer_too_small
from xyt_stream.protocol.realtime.server_events import ServerEvents
from xyt_stream.protocol.realtime.settings import ServerVad
from xyt_stream.protocol.signal import Signal
from xyt_stream.server.admission.ahead import AheadTurns, Headway
from xyt_stream.server.admission.memory import OBJECT
from xyt_stream.server.realtime.live_queue import LiveQueue
from xyt_stream.server.realtime.sample_queue import SampleQueue
from xyt_stream.server.realtime.turn_detector import SpeechStarted, SpeechStopped, TurnDetector
from xyt_stream.server.realtime.turn_framer import TurnFramer
from xyt_stream.server.sessions.lateness import Lateness

MAX_SECONDS = 90.0  # seconds of sound that may wait
SAMPLE_BYTES = 4  # of float32
_LEAST = 0.1  # seconds that can be committed
_LOUD = 0.05  # peak from which on a frame of an item counts as speech


@dataclass
class _Turn:
    """Sound of a turn in which no turns were looked for yet.

    Attributes:
        samples: the sound; a LiveQueue is the microphone's, which alone the detector follows.
    """

    samples: LiveQueue | SampleQueue

    @property
    def in_item(self) -> bool:
        """Whether the sound came in an item."""
        return isinstance(self.samples, SampleQueue)


class InputBuffer:
    """The sound of one session, 16 kHz. For the event loop's thread.

    Args:
        events: sends the client events about turns; holds the settings and the current response.
        detector: finds the user's turns.
        on_turn: called when a turn is committed.
        lateness: of a session that loses the oldest live sound where the server cannot keep up;
            None: it loses nothing.
        on_late: called with the number of frames, not always whole, that are lost.
        turns: of all sessions, in and ahead of real time; None: their sound waits for none.

    Attributes:
        frames: the model gets them next; the consumer notifies `changed` when it takes one.
        changed: notified when sound arrives or a frame is ready.
    """

    def __init__(
        self,
        events: ServerEvents,
        detector: TurnDetector,
        on_turn: Callable[[], None],
        *,
        lateness: Lateness | None = None,
        on_late: Callable[[float], None] = lambda frames: None,
        turns: AheadTurns | None = None,
    ) -> None:
        self._framer = TurnFramer()
        self.frames = self._framer.frames
        self.changed = Signal()
        self._events = events
        self._detector = detector
        self._detects = events.settings.turn_detection is not None
        self._on_turn = on_turn
        self._lateness = lateness
        self._on_late = on_late
        self._turns = turns
        self._headway = Headway()
        self._arrived = collections.deque([self._new_turn()])  # the last: not committed yet
        self._waiting = 0  # samples in those
        self._turn = 0  # number of the turn at `_arrived[0]`
        self._said = 0  # samples since the last commit

    @property
    def committed(self) -> int:
        """Number of turns committed; their numbers are lower than this."""
        return self._turn + len(self._arrived) - 1

    @property
    def heard_speech(self) -> bool:
        """Whether the user is in the middle of a turn, as far as the sound was examined."""
        return self._detector.speaking

    def has_unheard(self, turns: int) -> bool:
        """Whether sound of turns with lower numbers than `turns` is still here."""
        return self._turn < turns or bool(self.frames and self.frames[0].turn < turns)

    @property
    def has_arrivals(self) -> bool:
        """Whether there is sound that was not examined yet."""
        return len(self._arrived) > 1 or len(self._arrived[0].samples) > 0

    def check_space(self, seconds: float) -> None:
        """Raises EventError if the buffer has no space for so many seconds of sound."""
        waiting = self._waiting + len(self.frames) * FRAME_SAMPLES
        if waiting / INPUT_RATE + seconds > MAX_SECONDS:
            raise EventError(
                "input_audio_buffer_full",
                f"{MAX_SECONDS:.0f} s of sound may wait: send more slowly, or clear the buffer.",
            )

    @property
    def size(self) -> int:
        """Bytes of memory that all that waits takes: a turn takes a frame, however short it is."""
        frames = len(self.frames) + len(self._arrived)
        return self._waiting * SAMPLE_BYTES + frames * (FRAME_SAMPLES * SAMPLE_BYTES + OBJECT)

    def append(self, samples: Samples) -> None:
        """Adds sound of the microphone, float32 [n]."""
        self._arrived[-1].samples.push(samples)
        self._waiting += len(samples)
        self._said += len(samples)
        self.changed.notify()

    def commit(self) -> None:
        """Makes an item of the sound since the last commit, examined or not.

        Raises:
            EventError: it is shorter than 100 ms.
        """
        if self._said < _LEAST * INPUT_RATE:
            raise buffer_too_small(self._said / INPUT_RATE, _LEAST)
        self._said = 0
        self._arrived.append(self._new_turn())
        self._events.commit()
        self._on_turn()
        if len(self._arrived[0].samples) == 0:
            self._end_turn()
        self.changed.notify()

    def clear(self) -> None:
        """Drops uncommitted sound that the model has not got yet."""
        dropped = self._arrived[-1].samples.clear()
        self._waiting -= dropped
        if len(self._arrived) == 1:
            dropped += self._framer.clear(self._turn)
            self._detector.stop()
        self._detector.skip(dropped)
        self._said = 0
        self._events.cleared()
        self.changed.notify()

    def add_turn(self, samples: Samples) -> None:
        """Adds a whole turn from an item, float32 [n], n > 0."""
        turn = _Turn(SampleQueue())
        turn.samples.push(samples)
        self._waiting += len(samples)
        self._arrived.insert(len(self._arrived) - 1, turn)
        self._on_turn()
        self.changed.notify()

    def settings_changed(self) -> None:
        """Applies changed settings of turn detection."""
        detects = self._events.settings.turn_detection is not None
        if detects != self._detects:
            self._detects = detects
            self._detector.stop()
        self.changed.notify()

    def take_rest(self) -> Samples:
        """Takes the incomplete last frame, float32 [1280], padded with silence."""
        return self._framer.take_rest()

    async def listen(self) -> None:
        """Examines sound as it arrives. Never returns."""
        while True:
            if not self._may_listen:
                await self.changed.wait()
            elif self._turns is None:
                self._listen_to_next()
                await asyncio.sleep(0)  # lets other sessions run during a long queue
            elif not (ahead := self._headway.seconds):
                async with self._turns.in_time:
                    if self._may_listen:
                        self._listen_to_next()
                    await asyncio.sleep(0)
            else:
                await self._turns.wait(ahead)
                began = time.thread_time()
                if self._may_listen:  # it may have been cleared meanwhile
                    self._listen_to_next()
                self._turns.charge(time.thread_time() - began)

    @property
    def _may_listen(self) -> bool:
        """Whether the next sound can be examined.

        A live model gets each frame right after it was examined: turn events stay in step.
        """
        return self.has_arrivals and not (self._events.settings.live and self.frames)

    def _listen_to_next(self) -> None:
        """Examines the next sound of the first turn that waits, at most a frame."""
        turn = self._arrived[0]
        settings = self._events.settings.turn_detection
        if turn.in_item:
            samples = turn.samples.pop()
            self._waiting -= len(samples)
            self._framer.push(samples, self._turn, float(np.abs(samples).max()) > _LOUD)
        elif self._is_late(turn):
            lost = len(turn.samples.pop())
            self._waiting -= lost
            self._detector.skip(lost)
            self._on_late(lost / FRAME_SAMPLES)
        elif len(turn.samples):
            samples = turn.samples.pop()
            self._waiting -= len(samples)
            self._headway.add(len(samples) / INPUT_RATE)
            found = self._detector.push(samples, settings or ServerVad())
            self._framer.push(samples, self._turn, self._detector.is_speech)
            # A committed turn stays one turn.
            if len(self._arrived) == 1 and settings is not None:
                for event in found:
                    self._report(event)
        if len(self._arrived) > 1 and not len(turn.samples):
            self._end_turn()
        answering = self._events.response is not None and not self._events.settings.live
        # Pauses of a committed turn are part of it, however long after its commit they are found.
        if answering and len(self._arrived) == 1 and not self._detector.speaking:
            self._framer.drop_silence(self._turn)
        self.changed.notify()

    def _new_turn(self) -> _Turn:
        return _Turn(LiveQueue(self._lateness))

    def _is_late(self, turn: _Turn) -> bool:
        """Whether a turn's next sound is lost: a live conversation goes on without it."""
        live = self._events.settings.live and len(self._arrived) == 1
        return live and isinstance(turn.samples, LiveQueue) and turn.samples.is_late

    def _report(self, event: SpeechStarted | SpeechStopped) -> None:
        """Sends the client a turn's beginning or its end, which also commits the turn."""
        if isinstance(event, SpeechStarted):
            self._events.speech_started(event.ms)
            return
        self._events.speech_stopped(event.ms)
        self._said = len(self._arrived[0].samples)
        self._next_turn()
        self._on_turn()

    def _end_turn(self) -> None:
        """Goes on to the next turn: all sound of this one, committed, was examined."""
        if not self._arrived.popleft().in_item:
            self._detector.stop()
        self._next_turn()

    def _next_turn(self) -> None:
        # A live model gets unbroken sound.
        self._framer.end_turn(self._turn, pad=not self._events.settings.live)
        self._turn += 1
