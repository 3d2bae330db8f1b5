"""A user and a model that hear each other, frame by frame, on one clock."""

from __future__ import annotations

import asyncio
import collections
import dataclasses
from collections.abc import Callable
from contextlib import ExitStack

import numpy as np

from xyt_stream.audio import Samples
from xyt_stream.protocol.messages import Control, Notice, Playing
from xyt_stream.protocol.packing import CodeArray
from xyt_stream.server.duplex.interruption import Cutoff, Cutoffs
from xyt_stream.server.duplex.runner import Host, Seat
from xyt_stream.server.engine.engine import Engine
from xyt_stream.server.engine.fanout import Member
from xyt_stream.server.engine.slot_stream import Length, Listener, Sound, Voice
from xyt_stream.server.engine.slots import RING
from xyt_stream.streaming.codec import Codec

_REMEMBERED = 128  # frames, more than any loudspeaker holds back
_SETTLED = 8  # frames of silence after which its codes are the same for ever


def _to_nobody(message: Control) -> None:
    pass


def silence(codec: Codec) -> CodeArray:
    """A frame of digital silence in codes, int64 [codebooks]."""
    pcm = np.zeros(_SETTLED * codec.frame_samples_in, np.float32)
    codes: CodeArray = codec.encode(pcm)[:, -1].numpy()
    return codes


class Conversation:
    """Feed it with the user's frames; it has the model answer, and both heard.

    The clock counts the user's frames. In each of them the user hears one frame: the model's next
    one, or silence where it has none. A model in this process answers a frame with what is heard in
    that frame of the clock. What comes from elsewhere (`say`) waits in a queue; a frame that finds
    it empty is the model's until the user's next one is there.

    For the event loop's thread; holds two slots of the engine until both voices have been heard to
    their end, or `close`.

    Args:
        engine: encodes the one and decodes the other.
        silence: what the decoder is given where the model says nothing, int64 [codebooks].
        user: hears the user.
        model: hears the model: `hear` in every frame, `read` only in those in which it speaks.
        host: of models in this process, if one is to answer.
        session: for logs.
        over: told when all is over.

    Attributes:
        tell_user: takes notices for the user.
        played: frames of the model's that were heard, in all.

    Raises:
        ProtocolError: busy.
    """

    def __init__(
        self,
        engine: Engine,
        silence: CodeArray,
        *,
        user: Listener,
        model: Member,
        host: Host | None = None,
        session: str = "",
        over: Callable[[], None] = lambda: None,
    ) -> None:
        self.played = 0
        self.tell_user: Callable[[Control], None] = _to_nobody
        self._tell_model: Callable[[Control], None] = _to_nobody
        self._engine = engine
        self._silence = silence
        self._hears_user = user
        self._hears_model = model
        self._on_over = over
        self._pushed = 0  # frames that the user has spoken
        self._ticks = 0  # and those that were encoded
        self._decided = 0  # frames of the clock of which is known what the user hears in them
        self._voiced = 0  # and those that the engine has taken
        self._passed = 0  # and those that were heard
        self._due: collections.deque[CodeArray | None] = collections.deque()  # decided, not put
        self._queue: collections.deque[CodeArray] = collections.deque()
        self._spoken: set[int] = set()  # frames in which the model speaks, not heard yet
        self._latest: collections.deque[int] = collections.deque(maxlen=_REMEMBERED)  # and heard
        self._speaking = False
        self._cutoffs = Cutoffs()
        self._mute_before = 0
        self._user_over = False
        self._ended = False
        self._closed = False
        self._moved = asyncio.Event()
        self._seat: Seat | None = None
        with ExitStack() as undo:
            self._user = Voice(engine, _User(self), from_codes=False)
            undo.callback(self._user.close)
            self._model = Voice(engine, _Model(self), from_codes=True)
            undo.callback(self._model.close)
            if host is not None:
                self._seat = host.open(session, self)
            undo.pop_all()

    # What feeds a voice feeds a conversation with the user's sound.

    def prime(self, samples: Samples) -> None:
        """What the encoder hears before the first frame: see Voice."""
        self._user.prime(samples)

    async def push(self, frame: Samples) -> None:
        """One frame of the user's, float32 [frame_samples_in]; waits while many wait."""
        while self._pushed - self._voiced >= RING and not self._closed:
            await self._move()
        self._pushed += 1
        await self._user.push(frame)

    async def finish(self, length: Length, left: int = 0, last: Samples | None = None) -> None:
        """The user has said all, see Voice; what the model has said is heard to its end."""
        await self._user.finish(length, left, last)

    def break_off(self) -> None:
        """The same at once, with the user's last whole frame."""
        self._user.break_off()

    # What the model says.

    @property
    def has_own_model(self) -> bool:
        """Whether a model of this process answers."""
        return self._seat is not None

    def join(self, tell: Callable[[Control], None]) -> None:
        """A model elsewhere has come, and takes control messages."""
        self._tell_model = tell
        self._notice("model_joined", "A model has come: it hears you.")

    def part(self) -> None:
        """It has gone; what it has said is heard to its end."""
        self._tell_model = _to_nobody
        self._notice("model_left", "The model has gone: another may come.")

    def _notice(self, name: str, message: str) -> None:
        """Who has said all only listens to the rest: who comes then comes for the next user."""
        if not self._user_over:
            self.tell_user(Notice(name=name, message=message))

    def say(self, codes: CodeArray) -> None:
        """The next frames of a model elsewhere, int64 [codebooks, frames]."""
        if not self._user_over:
            self._queue.extend(codes.T)
            if self._decided < self._ticks:
                self._put(self._queue.popleft())

    async def room(self, most: int) -> None:
        """Waits until fewer frames of a model elsewhere wait to be heard."""
        while len(self._queue) >= most and not self._closed:
            await self._move()

    def answered(self, codes: CodeArray | None) -> None:
        self._put(codes if self._decided >= self._mute_before else None)
        self._end_if_all_is_said()

    def clear(self, dropped: int = 0, played: int | None = None) -> Cutoff:
        """What the model has said so far and nobody has heard is dropped.

        A model elsewhere is told when `unheard` says what became of it, or nobody has in time.

        Args:
            dropped: frames of the model's that have not come as far as this.
            played: frames of the model's that the user has heard in all; None: all that were sent.
        """
        dropped += len(self._queue) + len(self._spoken)
        last = self._cutoffs.last
        if last is not None and not dropped and last.played == self.played:
            return last  # there was nothing since
        self._mute_before = self._decided if self._seat is None else self._ticks
        cutoff = Cutoff(self._mute_before, self.played, dropped, self._passed, tuple(self._latest))
        self._queue.clear()
        self._spoken.clear()
        self._hears_model.clear()
        if self._seat is not None:
            self._seat.clear(self.played if played is None else played)
        else:
            self._cutoffs.add(cutoff, self._tell_model)
        self._moved.set()
        return cutoff

    def unheard(self, frames: int) -> None:
        """So many frames had reached the user and were not played, when the model was cut off."""
        self._cutoffs.answered(frames)

    # Both.

    def refresh(self) -> None:
        """Those who hear them may want sound now, or no more."""
        self._user.refresh()
        self._model.refresh()

    def fail(self) -> None:
        """Cuts both off, and says so to all who hear them."""
        if not self._closed:
            self.close()
            self._hears_user.failed()
            self._hears_model.failed()

    def close(self) -> None:
        """Gives everything back at once; nobody hears the rest."""
        if not self._closed:
            self._closed = True
            self._user.close()
            self._model.close()
            if self._seat is not None:
                self._seat.close()
            self._moved.set()
            self._on_over()

    def _user_read(self, index: int, codes: CodeArray) -> None:
        self._ticks = index + 1
        self._hears_user.read(index, codes)
        if self._seat is not None:
            self._seat.step(codes)
            return
        if self._decided < index:
            self._put(None)  # nothing came in time
        if self._queue:
            self._put(self._queue.popleft())

    def _user_is_over(self, tail: Samples, length: Length) -> None:
        self._user_over = True
        self._hears_user.over(tail, length)
        if self._seat is None:
            if self._decided < self._ticks:
                self._put(None)
            while self._queue:
                self._put(self._queue.popleft())
        self._end_if_all_is_said()

    def _put(self, codes: CodeArray | None) -> None:
        """What the user hears in the next frame of the clock."""
        if (codes is not None) != self._speaking:
            self._speaking = codes is not None
            played = self.played + len(self._spoken)
            message = Playing(frame=self._decided, played=played, speaking=self._speaking)
            self._tell_model(message)
        if codes is not None:
            self._spoken.add(self._decided)
        self._decided += 1
        self._due.append(codes)
        self._pump()
        self._moved.set()

    def _pump(self) -> None:
        """As many frames as fit go to the engine."""
        while self._due and self._decided - len(self._due) - self._voiced < RING:
            codes = self._due.popleft()
            self._model.put(self._silence if codes is None else codes)

    def _end_if_all_is_said(self) -> None:
        if self._user_over and not self._due and self._decided >= self._ticks and not self._ended:
            self._ended = True
            codec = self._engine.codec
            self._model.end(Length(self._decided * codec.frame_samples_out, codec.output_rate))

    def _model_read(self, index: int, codes: CodeArray) -> None:
        self._voiced = index + 1
        self._moved.set()
        if index in self._spoken:
            self._hears_model.read(index, codes)
        if not self._hears_model.wants_sound:
            self._pass(index)
        self._pump()
        self._end_if_all_is_said()

    def _model_hear(self, sound: Sound) -> None:
        if sound.index < self._mute_before:  # it was on its way when that was cleared
            sound = dataclasses.replace(sound, samples=np.zeros_like(sound.samples))
        self._pass(sound.index)
        self._hears_model.hear(sound)

    def _pass(self, index: int) -> None:
        self._passed = index + 1
        heard = {each for each in self._spoken if each <= index}
        self._spoken -= heard
        self._latest.extend(sorted(heard))
        self.played += len(heard)

    def _model_is_over(self, tail: Samples, length: Length) -> None:
        self._hears_model.over(tail, length)
        self.close()

    async def _move(self) -> None:
        self._moved.clear()
        await self._moved.wait()


class _User:
    """Hears the user's voice for the conversation."""

    def __init__(self, conversation: Conversation) -> None:
        self._conversation = conversation
        self.read = conversation._user_read
        self.over = conversation._user_is_over
        self.failed = conversation.fail

    @property
    def wants_sound(self) -> bool:
        return self._conversation._hears_user.wants_sound

    def hear(self, sound: Sound) -> None:
        self._conversation._hears_user.hear(sound)


class _Model:
    """Hears the model's voice for the conversation."""

    def __init__(self, conversation: Conversation) -> None:
        self._conversation = conversation
        self.read = conversation._model_read
        self.hear = conversation._model_hear
        self.over = conversation._model_is_over
        self.failed = conversation.fail

    @property
    def wants_sound(self) -> bool:
        return self._conversation._hears_model.wants_sound
