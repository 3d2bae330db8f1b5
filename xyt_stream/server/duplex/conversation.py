"""Holds a conversation: a user and a model that hear each other, frame by frame, on one clock."""

from __future__ import annotations

import collections
from collections.abc import Callable
from contextlib import ExitStack

import msgspec
import numpy as np

from xyt_stream.audio import Samples
from xyt_stream.protocol.messages import Control, Notice, Playing
from xyt_stream.protocol.packing import CodeArray
from xyt_stream.protocol.signal import Signal
from xyt_stream.server.duplex.interruption import Interruption, PendingInterruptions
from xyt_stream.server.duplex.runner import DuplexHandle, DuplexRunner
from xyt_stream.server.engine.code_stream import CodeStream, load_stream
from xyt_stream.server.engine.fanout import InterruptibleListener
from xyt_stream.server.engine.slot_engine import SlotEngine
from xyt_stream.server.engine.slot_stream import (
    CallbackListener,
    Length,
    Listener,
    SlotStream,
)
from xyt_stream.server.engine.slots import RING
from xyt_stream.server.engine.speech_stream import SpeechStream
from xyt_stream.server.saved import SavedConversation, SavedInterruption
from xyt_stream.server.saved_arrays import array, codes_of

_REMEMBERED = 128  # frames; more than any client buffers


def _discard(message: Control) -> None:
    pass


class Conversation:
    """Takes the user's frames, has the model answer, and passes both on to their listeners.

    The clock counts the user's frames. In each of them the user hears one frame: the model's next
    one, or silence where it has none. A model in this process answers frame by frame, and each
    answer fills the next frame of the clock. A remote model's frames wait in a queue
    (`add_model_frames`); a frame of the clock that finds the queue empty can still be filled until
    the user's next frame comes.

    For the event loop's thread. It holds a slot of the engine for a user that sends sound, and one
    for each stream of codes that somebody wants to hear as sound, until both streams have been
    delivered to their end, or until `close`.

    Args:
        engine: encodes the user and decodes the model.
        silence: codes that the decoder gets while the model is silent, int64 [codebooks].
        user: receives the user's stream.
        model: receives the model's stream: sound in every frame, codes only while it speaks.
        from_codes: whether the user's frames are codes; otherwise they are sound.
        runner: of models in this process; None: a remote model answers.
        session: for logs.
        on_over: called when everything has been given back.

    Attributes:
        send_to_user: sends the user's client a control message.
        played: the model's frames that were heard, in all.

    Raises:
        ProtocolError: busy: no slots are free.
    """

    def __init__(
        self,
        engine: SlotEngine,
        silence: CodeArray,
        *,
        user: Listener,
        model: InterruptibleListener,
        from_codes: bool = False,
        runner: DuplexRunner | None = None,
        session: str = "",
        on_over: Callable[[], None] = lambda: None,
    ) -> None:
        self.played = 0
        self.send_to_user: Callable[[Control], None] = _discard
        self._send_to_model: Callable[[Control], None] = _discard
        self._engine = engine
        self._codebooks = len(silence)
        self._user_listener = user
        self._model_listener = model
        self._on_over = on_over
        # Frames of the clock, in the order in which they pass these points:
        self._pushed = 0  # pushed by the user
        self._encoded = 0  # encoded
        self._decided = 0  # what the user hears in them is decided
        self._heard = 0  # heard by the user
        # None is silence.
        self._undecoded: collections.deque[CodeArray | None] = collections.deque()  # decided
        self._remote: collections.deque[CodeArray] = collections.deque()  # a remote model's
        self._speaking_frames: set[int] = set()  # in which the model speaks, not heard yet
        self._heard_frames: collections.deque[int]  # in which it spoke, heard
        self._heard_frames = collections.deque(maxlen=_REMEMBERED)
        self._speaking = False
        self._interruptions = PendingInterruptions()
        self._user_ended = False
        self._model_ended = False
        self._closed = False
        self._moved = Signal()
        self._handle: DuplexHandle | None = None
        with ExitStack() as undo:
            callbacks = self._user_callbacks()
            self._user: SlotStream | CodeStream = (
                CodeStream(engine, callbacks)
                if from_codes
                else SlotStream(engine, callbacks, from_codes=False)
            )
            undo.callback(self._user.close)
            self._model = SpeechStream(
                engine,
                silence,
                model,
                on_step=self._on_model_step,
                on_heard=self._count_heard,
                on_over=self.close,
                on_error=self.on_error,
            )
            undo.callback(self._model.close)
            if runner is not None:
                self._handle = runner.open(session, self)
            undo.pop_all()

    # The user's sound or codes.

    def prime(self, samples: Samples) -> None:
        """Gives the encoder its lookahead; see SlotStream."""
        assert isinstance(self._user, SlotStream)
        self._user.prime(samples)

    async def push(self, frame: Samples) -> None:
        """Adds the user's next frame, float32 [frame_samples_in]; waits while too many wait."""
        assert isinstance(self._user, SlotStream)
        await self._begin_frame()
        self._user.push_nowait(frame)

    async def push_codes(self, frame: CodeArray) -> None:
        """Adds the next frame of a user that sends codes, int64 [codebooks]; waits likewise."""
        assert isinstance(self._user, CodeStream)
        await self._begin_frame()
        self._user.push_nowait(frame)

    async def _begin_frame(self) -> None:
        """Counts a frame of the user's; waits while the rings of user and model are full."""
        await self._moved.wait_for(lambda: self._unstepped < RING or self._closed)
        await self._user.drain()
        self._pushed += 1

    def skip(self, index: int, frames: int) -> None:
        """The user's frames before the clock's frame `index` were left out: nobody hears them.

        The model's listeners see a gap. The clock does not count what was left out.
        """
        self._model_listener.skip(index, frames)

    @property
    def _unstepped(self) -> int:
        """Number of frames that the user has pushed and the model's decoder has not taken."""
        return self._pushed - self._decided + len(self._undecoded) + self._model.waiting

    async def end(self, length: Length, left: int = 0, last: Samples | None = None) -> None:
        """Ends the user's stream, see SlotStream; the model is still heard to its end."""
        assert isinstance(self._user, SlotStream)
        await self._user.end(length, left, last)

    def end_codes(self, length: Length) -> None:
        """Ends the stream of a user that sends codes; the model is still heard to its end."""
        assert isinstance(self._user, CodeStream)
        self._user.end_codes(length)

    def end_early(self) -> None:
        """Ends the user's stream after its last whole frame."""
        self._user.end_early()

    # The model's codes.

    @property
    def has_local_model(self) -> bool:
        """Whether a model of this process answers."""
        return self._handle is not None

    def attach_model(self, send: Callable[[Control], None]) -> None:
        """A remote model has come; `send` sends its client a control message."""
        self._send_to_model = send
        self._notify_user("model_joined", "A model has come: it hears you.")

    def detach_model(self) -> None:
        """The remote model has gone; its queued frames are still heard."""
        self._send_to_model = _discard
        self._notify_user("model_left", "The model has gone: another may come.")

    def _notify_user(self, name: str, message: str) -> None:
        """Sends a notice, unless the user's input has ended."""
        if not self._user_ended:
            self.send_to_user(Notice(name=name, message=message))

    def add_model_frames(self, codes: CodeArray) -> None:
        """Adds a remote model's next frames, int64 [codebooks, frames]."""
        if not self._user_ended:
            self._remote.extend(codes.T)
            if self._decided < self._encoded:
                self._decide(self._remote.popleft())

    async def drain(self, most: int) -> None:
        """Waits until fewer than `most` frames of a remote model are queued."""
        await self._moved.wait_for(lambda: len(self._remote) < most or self._closed)

    def on_answer(self, codes: CodeArray | None) -> None:
        """Takes the local model's answer to a frame; see AnswerListener."""
        self._decide(codes if self._decided >= self._model.muted_until else None)
        self._end_model_if_done()

    def interrupt(self, dropped: int = 0, played: int | None = None) -> Interruption:
        """Drops all that the model has said and the user has not heard.

        A remote model is sent `cleared` after `report_unplayed`, or after a second without one.

        Args:
            dropped: the model's frames that were dropped before they reached the conversation.
            played: the model's frames that the user has heard in all; None: all that were sent.
        """
        dropped += len(self._remote) + len(self._speaking_frames)
        last = self._interruptions.last
        if last is not None and not dropped and last.played == self.played:
            return last  # the model has said nothing since
        until = self._decided if self._handle is None else self._encoded
        interruption = Interruption(
            until, self.played, dropped, self._heard, tuple(self._heard_frames)
        )
        self._remote.clear()
        self._speaking_frames.clear()
        self._undecoded = collections.deque([None] * len(self._undecoded))
        self._model.interrupt(until)
        if self._handle is not None:
            self._handle.clear(self.played if played is None else played)
        else:
            self._interruptions.add(interruption, self._send_to_model)
        self._moved.notify()
        return interruption

    def report_unplayed(self, frames: int) -> None:
        """The user's client dropped so many received frames at the last interruption."""
        self._interruptions.report(frames)

    # Both streams.

    async def settled(self) -> None:
        """Waits until all that was pushed is encoded, and all that is decided is decoded."""
        await self._user.settled()
        await self._moved.wait_for(lambda: not self._undecoded or self._closed)
        await self._model.settled()

    async def save(self) -> SavedConversation:
        """The state of a settled conversation with a remote model, for another server."""
        none = np.zeros((0, self._codebooks), np.int64)
        remote = np.stack(list(self._remote)) if self._remote else none
        return SavedConversation(
            pushed=self._pushed,
            encoded=self._encoded,
            decided=self._decided,
            heard=self._heard,
            played=self.played,
            remote=array(remote),
            speaking_frames=sorted(self._speaking_frames),
            heard_frames=list(self._heard_frames),
            speaking=self._speaking,
            muted_until=self._model.muted_until,
            user_ended=self._user_ended,
            model_ended=self._model_ended,
            interruptions=[SavedInterruption(**vars(each)) for each in self._interruptions.waiting],
            user=await self._user.save(),
            model=await self._model.save(),
        )

    async def load(self, saved: SavedConversation) -> None:
        """Goes on as the conversation of another server, before any frame was pushed.

        Raises:
            HandoverError: it does not fit.
        """
        await load_stream(self._user, saved.user)
        await self._model.load(saved.model)
        self._pushed, self._encoded, self._decided = saved.pushed, saved.encoded, saved.decided
        self._heard, self.played = saved.heard, saved.played
        self._remote.extend(codes_of(saved.remote, None, None))
        self._speaking_frames = set(saved.speaking_frames)
        self._heard_frames.extend(saved.heard_frames)
        self._speaking, self._model.muted_until = saved.speaking, saved.muted_until
        self._user_ended, self._model_ended = saved.user_ended, saved.model_ended
        for each in saved.interruptions:
            interruption = Interruption(**msgspec.structs.asdict(each))
            self._interruptions.add(interruption, self._send_to_model)
        self._moved.notify()

    def update_decoding(self) -> None:
        """Decodes what the listeners want now; see SlotStream."""
        self._user.update_decoding()
        self._model.update_decoding()

    def on_error(self) -> None:
        """Ends the conversation after a failure of the device or of the model."""
        if not self._closed:
            self.close()
            self._user_listener.on_error()
            self._model_listener.on_error()

    def close(self) -> None:
        """Gives everything back at once; the listeners receive nothing more."""
        if not self._closed:
            self._closed = True
            self._user.close()
            self._model.close()
            if self._handle is not None:
                self._handle.close()
            self._moved.notify()
            self._on_over()

    def _user_callbacks(self) -> CallbackListener:
        listener = self._user_listener
        return CallbackListener(
            listener, self._on_user_codes, listener.on_audio, self._on_user_end, self.on_error
        )

    def _on_user_codes(self, index: int, codes: CodeArray) -> None:
        self._encoded = index + 1
        self._user_listener.on_codes(index, codes)
        if self._handle is not None:
            self._handle.step(codes)
            return
        if self._decided < index:
            self._decide(None)  # no frame of the model's came in time
        if self._remote:
            self._decide(self._remote.popleft())

    def _on_user_end(self, tail: Samples, length: Length) -> None:
        self._user_ended = True
        self._user_listener.on_end(tail, length)
        if self._handle is None:
            if self._decided < self._encoded:
                self._decide(None)
            while self._remote:
                self._decide(self._remote.popleft())
        self._end_model_if_done()

    def _decide(self, codes: CodeArray | None) -> None:
        """Sets what the user hears in the clock's next undecided frame."""
        if (codes is not None) != self._speaking:
            self._speaking = codes is not None
            played = self.played + len(self._speaking_frames)
            self._send_to_model(
                Playing(frame=self._decided, played=played, speaking=self._speaking)
            )
        if codes is not None:
            self._speaking_frames.add(self._decided)
        self._decided += 1
        self._undecoded.append(codes)
        self._feed_decoder()
        self._moved.notify()

    def _feed_decoder(self) -> None:
        """Pushes as many decided frames as the decoder's ring holds."""
        while self._undecoded and self._model.waiting < RING:
            self._model.push_nowait(self._undecoded.popleft())

    def _on_model_step(self) -> None:
        """The decoder has taken a frame, or decodes no more."""
        self._moved.notify()
        self._feed_decoder()
        self._end_model_if_done()

    def _end_model_if_done(self) -> None:
        all_decided = self._decided >= self._encoded and not self._undecoded
        if self._user_ended and all_decided and not self._model_ended:
            self._model_ended = True
            codec = self._engine.codec
            samples = self._decided * codec.frame_samples_out
            self._model.end_codes(Length(samples, codec.output_rate))

    def _count_heard(self, index: int) -> None:
        self._heard = index + 1
        heard = {each for each in self._speaking_frames if each <= index}
        self._speaking_frames -= heard
        self._heard_frames.extend(sorted(heard))
        self.played += len(heard)
