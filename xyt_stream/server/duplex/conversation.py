"""Holds a conversation: a user and a model that hear each other, frame by frame, on one clock."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack

from xyt_stream.audio import Samples
from xyt_stream.protocol.messages import Control, Notice
from xyt_stream.protocol.packing import CodeArray
from xyt_stream.protocol.signal import Signal
from xyt_stream.server.duplex.interruption import Interruption
from xyt_stream.server.duplex.model_track import ModelTrack
from xyt_stream.server.duplex.remote_model import RemoteModel, discard
from xyt_stream.server.duplex.runner import DuplexHandle, DuplexRunner
from xyt_stream.server.engine.code_stream import CodeStream, load_stream
from xyt_stream.server.engine.fanout import InterruptibleListener
from xyt_stream.server.engine.slot_engine import SlotEngine
from xyt_stream.server.engine.slot_stream import CallbackListener, Length, Listener, SlotStream
from xyt_stream.server.engine.slots import RING
from xyt_stream.server.saved import SavedConversation


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
        self.send_to_user: Callable[[Control], None] = discard
        self._user_listener = user
        self._model_listener = model
        self._on_over = on_over
        self._pushed = 0  # frames of the clock that the user has pushed
        self._encoded = 0  # those that are encoded
        self._remote = RemoteModel(len(silence))
        self._user_ended = False
        self._closed = False
        self._moved = Signal()
        self._handle: DuplexHandle | None = None
        with ExitStack() as undo:
            callbacks = CallbackListener(
                user, self._on_user_codes, user.on_audio, self._on_user_end, self.on_error
            )
            self._user: SlotStream | CodeStream = (
                CodeStream(engine, callbacks)
                if from_codes
                else SlotStream(engine, callbacks, from_codes=False)
            )
            undo.callback(self._user.close)
            self._model = ModelTrack(
                engine,
                silence,
                model,
                on_playing=self._remote.send,
                on_step=self._on_model_step,
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
        """Tells the model's listeners of a gap: so many of the user's frames were left out.

        They would have come before frame `index` of the clock, which does not count them.
        """
        self._model_listener.skip(index, frames)

    @property
    def _unstepped(self) -> int:
        """Number of frames that the user has pushed and the model's decoder has not taken."""
        return self._pushed - self._model.decided + self._model.undecoded

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
    def played(self) -> int:
        """Number of the model's frames that were heard, in all."""
        return self._model.played

    @property
    def has_local_model(self) -> bool:
        """Whether a model of this process answers."""
        return self._handle is not None

    def attach_model(self, send: Callable[[Control], None]) -> None:
        """A remote model has come; `send` sends its client a control message."""
        self._remote.attach(send)
        self._notify_user("model_joined", "A model has come: it hears you.")

    def detach_model(self) -> None:
        """The remote model has gone; its queued frames are still heard."""
        self._remote.detach()
        self._notify_user("model_left", "The model has gone: another may come.")

    def _notify_user(self, name: str, message: str) -> None:
        """Sends a notice, unless the user's input has ended."""
        if not self._user_ended:
            self.send_to_user(Notice(name=name, message=message))

    def add_model_frames(self, codes: CodeArray) -> None:
        """Adds a remote model's next frames, int64 [codebooks, frames]."""
        if not self._user_ended:
            self._remote.add(codes)
            if self._model.decided < self._encoded:
                self._decide(self._remote.pop())

    async def drain(self, most: int) -> None:
        """Waits until fewer than `most` frames of a remote model are queued."""
        await self._moved.wait_for(lambda: len(self._remote) < most or self._closed)

    def on_answer(self, codes: CodeArray | None) -> None:
        """Takes the local model's answer to a frame; see AnswerListener."""
        self._decide(None if self._model.is_muted() else codes)
        self._end_model_if_done()

    def interrupt(self, dropped: int = 0, played: int | None = None) -> Interruption:
        """Drops all that the model has said and the user has not heard.

        A remote model is sent `cleared` after `report_unplayed`, or after a second without one.

        Args:
            dropped: the model's frames that were dropped before they reached the conversation.
            played: the model's frames that the user has heard in all; None: all that were sent.
        """
        dropped += len(self._remote) + self._model.unheard
        last = self._remote.last_interruption
        if last is not None and not dropped and last.played == self.played:
            return last  # the model has said nothing since
        until = self._encoded if self.has_local_model else self._model.decided
        interruption = self._model.interrupt(until, dropped)
        if self._handle is not None:
            self._handle.clear(self.played if played is None else played)
        else:
            self._remote.interrupt(interruption)
        self._moved.notify()
        return interruption

    def report_unplayed(self, frames: int) -> None:
        """The user's client dropped so many received frames at the last interruption."""
        self._remote.report_unplayed(frames)

    # Both streams.

    async def settled(self) -> None:
        """Waits until all that was pushed is encoded, and all that is decided is decoded."""
        await self._user.settled()
        await self._moved.wait_for(lambda: not self._model.unpushed or self._closed)
        await self._model.settled()

    async def save(self) -> SavedConversation:
        """The state of a settled conversation with a remote model, for another server."""
        return SavedConversation(
            pushed=self._pushed,
            encoded=self._encoded,
            remote=self._remote.save_frames(),
            user_ended=self._user_ended,
            interruptions=self._remote.save_interruptions(),
            user=await self._user.save(),
            **await self._model.save(),
        )

    async def load(self, saved: SavedConversation) -> None:
        """Goes on as the conversation of another server, before any frame was pushed.

        Raises:
            HandoverError: it does not fit.
        """
        await load_stream(self._user, saved.user)
        await self._model.load(saved)
        self._pushed, self._encoded = saved.pushed, saved.encoded
        self._user_ended = saved.user_ended
        self._remote.load(saved)
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

    def _on_user_codes(self, index: int, codes: CodeArray) -> None:
        self._encoded = index + 1
        self._user_listener.on_codes(index, codes)
        if self._handle is not None:
            self._handle.step(codes)
            return
        if self._model.decided < index:
            self._decide(None)  # no frame of the model's came in time
        if len(self._remote):
            self._decide(self._remote.pop())

    def _on_user_end(self, tail: Samples, length: Length) -> None:
        self._user_ended = True
        self._user_listener.on_end(tail, length)
        if self._handle is None:
            if self._model.decided < self._encoded:
                self._decide(None)
            while len(self._remote):
                self._decide(self._remote.pop())
        self._end_model_if_done()

    def _decide(self, codes: CodeArray | None) -> None:
        """Sets what the user hears in the clock's next undecided frame."""
        self._model.decide(codes)
        self._moved.notify()

    def _on_model_step(self) -> None:
        """The decoder has taken a frame, or decodes no more."""
        self._moved.notify()
        self._end_model_if_done()

    def _end_model_if_done(self) -> None:
        if self._user_ended and self._model.decided >= self._encoded and not self._model.unpushed:
            self._model.end()
