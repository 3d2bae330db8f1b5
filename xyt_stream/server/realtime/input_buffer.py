"""What a client sends: listened to for turns, committed, and cut into frames for the model."""

from __future__ import annotations

import asyncio
import collections
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from xyt_stream.audio import FRAME_SAMPLES, INPUT_RATE, Samples
from xyt_stream.errors import EventError
from xyt_stream.protocol.realtime.error_events import buffer_too_small
from xyt_stream.protocol.realtime.server_events import ServerEvents
from xyt_stream.protocol.realtime.settings import ServerVad
from xyt_stream.protocol.signal import Signal
from xyt_stream.server.realtime.sample_queue import SampleQueue
from xyt_stream.server.realtime.turn_detector import (
    SpeechStarted,
    SpeechStopped,
    TurnDetector,
)

MAX_SECONDS = 120.0  # seconds of sound that may wait
_LEAST = 0.1  # seconds that can be committed
_LOUD = 0.05  # from which on sound in an item counts as speech
_PADDING = 4  # frames of silence before speech that are kept while a response goes on


@dataclass(frozen=True)
class InputFrame:
    """A frame on its way to the model.

    Attributes:
        samples: float32 [1280].
        turn: number of the turn that it belongs to.
        speech: whether the user speaks in it.
    """

    samples: Samples
    turn: int
    speech: bool


@dataclass
class _Turn:
    """Sound of a turn that nobody has listened to.

    Attributes:
        in_item: it comes in an item: the detector, which follows the microphone, does not hear it.
    """

    samples: SampleQueue
    in_item: bool = False


class InputBuffer:
    """The sound of one session, 16 kHz. For the event loop's thread.

    Args:
        events: told of turns.
        detector: finds them.
        on_turn: called when a turn of the user's is committed.

    Attributes:
        frames: that the model hears next; whoever takes one notifies `changed`.
        changed: notified when there is more of anything.
    """

    def __init__(
        self, events: ServerEvents, detector: TurnDetector, on_turn: Callable[[], None]
    ) -> None:
        self.frames: collections.deque[InputFrame] = collections.deque()
        self.changed = Signal()
        self._events = events
        self._detector = detector
        self._on_turn = on_turn
        self._arrived = collections.deque([_Turn(SampleQueue())])  # the last: not committed yet
        self._turn = 0  # number of the one listened to
        self._joining = SampleQueue()  # listened to, less than a frame
        self._speech = False  # whether the user speaks in that
        self._said = 0  # samples since the last commit

    @property
    def committed(self) -> int:
        """How many turns were committed: their numbers are lower."""
        return self._turn + len(self._arrived) - 1

    @property
    def heard_speech(self) -> bool:
        """Whether the user was in the middle of a turn when it was last listened to."""
        return self._detector.speaking

    def has_unheard(self, turns: int) -> bool:
        """Whether something of the turns of lower numbers is still here."""
        return self._turn < turns or bool(self.frames and self.frames[0].turn < turns)

    @property
    def has_arrivals(self) -> bool:
        """Whether there is sound that nobody has listened to."""
        return len(self._arrived) > 1 or len(self._arrived[0].samples) > 0

    def check_space(self, seconds: float) -> None:
        """Raises EventError if so much more sound would be too much to wait."""
        waiting = (
            sum(len(turn.samples) for turn in self._arrived) + len(self.frames) * FRAME_SAMPLES
        )
        if waiting / INPUT_RATE + seconds > MAX_SECONDS:
            raise EventError(
                "input_audio_buffer_full",
                f"{MAX_SECONDS:.0f} s of sound may wait: send more slowly, or clear the buffer.",
            )

    def append(self, samples: Samples) -> None:
        """The client sends float32 [n]."""
        self._arrived[-1].samples.push(samples)
        self._said += len(samples)
        self.changed.notify()

    def commit(self) -> None:
        """What was sent becomes an item.

        Raises:
            EventError: it is too little.
        """
        if self._said < _LEAST * INPUT_RATE:
            raise buffer_too_small(self._said / INPUT_RATE, _LEAST)
        self._said = 0
        self._arrived.append(_Turn(SampleQueue()))
        self._events.commit()
        self._on_turn()
        if len(self._arrived[0].samples) == 0:
            self._end_turn()
        self.changed.notify()

    def clear(self) -> None:
        """What was sent and not committed is forgotten, as far as the model has not heard it."""
        dropped = self._arrived[-1].samples.clear()
        if len(self._arrived) == 1:
            dropped += self._joining.clear()
            self._speech = False
            while self.frames and self.frames[-1].turn == self._turn:
                self.frames.pop()
            self._detector.stop()
        self._detector.skip(dropped)
        self._said = 0
        self._events.cleared()
        self.changed.notify()

    def add_turn(self, samples: Samples) -> None:
        """A whole turn of the user's, float32 [n], comes in an item."""
        turn = _Turn(SampleQueue(), in_item=True)
        turn.samples.push(samples)
        self._arrived.insert(len(self._arrived) - 1, turn)
        self._on_turn()
        self.changed.notify()

    def settings_changed(self) -> None:
        """The turn detection may be another."""
        if self._events.settings.turn_detection is None:
            self._detector.stop()
        self.changed.notify()

    def take_rest(self) -> Samples:
        """The frame that is not complete yet, float32 [1280], filled up with silence."""
        return self._joining.pop_padded()

    async def listen(self) -> None:
        """Listens for turns. Never returns."""
        while True:
            # A model that may answer by itself must not be ahead of what the turns are, nor behind.
            if self.has_arrivals and not (self._events.settings.live and self.frames):
                self._listen_to_next()
                await asyncio.sleep(0)  # others must not wait for a long queue of little
            else:
                await self.changed.wait()

    def _listen_to_next(self) -> None:
        turn = self._arrived[0]
        settings = self._events.settings.turn_detection
        if turn.in_item:
            samples = turn.samples.pop()
            self._join(samples, float(np.abs(samples).max()) > _LOUD)
        elif len(turn.samples):
            samples = turn.samples.pop()
            found = self._detector.push(samples, settings or ServerVad())
            self._join(samples, self._detector.is_speech)
            # In a turn that was committed as it is, no others are looked for.
            if len(self._arrived) == 1 and settings is not None:
                for event in found:
                    self._tell(event)
        if len(self._arrived) > 1 and not len(turn.samples):
            self._end_turn()
        if self._events.response is not None and not self._events.settings.live:
            self._forget_silence()
        self.changed.notify()

    def _tell(self, event: SpeechStarted | SpeechStopped) -> None:
        if isinstance(event, SpeechStarted):
            self._events.speech_started(event.ms)
            return
        self._events.speech_stopped(event.ms)
        self._said = len(self._arrived[0].samples)
        self._cut()
        self._turn += 1
        self._on_turn()

    def _end_turn(self) -> None:
        """All of a committed turn has been listened to."""
        if not self._arrived.popleft().in_item:
            self._detector.stop()
        self._cut()
        self._turn += 1

    def _join(self, samples: Samples, speech: bool) -> None:
        self._speech = self._speech or speech
        self._joining.push(samples)
        while (frame := self._joining.pop_frame()) is not None:
            self.frames.append(InputFrame(frame, self._turn, self._speech))
            self._speech = speech

    def _cut(self) -> None:
        """The turn's last frame is filled up with silence, unless its sound goes on."""
        if not self._events.settings.live and len(self._joining):
            self.frames.append(InputFrame(self._joining.pop_padded(), self._turn, self._speech))
        self._speech = False

    def _forget_silence(self) -> None:
        """The model, which speaks, does not hear later what was no speech while it did."""
        waiting = 0
        for frame in reversed(self.frames):
            if frame.turn != self._turn or frame.speech:
                break
            waiting += 1
        if waiting > _PADDING and not self._detector.speaking:
            del self.frames[-waiting]
