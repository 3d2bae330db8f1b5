"""Connects the members of one room: a mic to its speakers, or a user to a model, and listeners."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

import numpy as np

from xyt_stream.audio import INPUT_RATE
from xyt_stream.protocol.error_table import protocol_error
from xyt_stream.protocol.messages import Model
from xyt_stream.protocol.packing import CodeArray
from xyt_stream.protocol.roles import Voice
from xyt_stream.protocol.signal import Signal
from xyt_stream.server.duplex.conversation import Conversation
from xyt_stream.server.duplex.runner import DuplexRunner
from xyt_stream.server.engine.code_stream import CodeStream
from xyt_stream.server.engine.fanout import Fanout, InterruptibleListener
from xyt_stream.server.engine.slot_engine import SlotEngine
from xyt_stream.server.engine.slot_stream import Length, SlotStream
from xyt_stream.server.engine.speech_stream import SpeechStream
from xyt_stream.server.saved import SavedPosition
from xyt_stream.server.sessions.history import History
from xyt_stream.server.sessions.send_queue import SendQueue


class Feed(Protocol):
    """Feeds a room with the stream of a mic or a conversation at another node."""

    def pause(self) -> SavedPosition | None:
        """Feeds nothing more; returns the place up to which it fed, None before it began."""

    def resume(self) -> None:
        """Goes on from there."""

    async def settle(self, stream: str, index: int, model: int = 0) -> None:
        """Waits for a moment until it has fed all of this stream before these frames.

        Args:
            stream: id of the mic's session, or the user's.
            index: of a frame of the mic's, or the user's.
            model: index of a frame of the model's.
        """


class Room:
    """The members of a room and its fan-outs. Listeners may join before a stream begins, or later.

    Attributes:
        members: number of them.
        codec: the model of the codes, which all members share; None: the room is still empty.
        sealed: whether its members seal their codes, so that they cannot be decoded here.
        mic: the mic's stream, until its end.
        conversation: the user's, until its end.
        model: send queue of a remote model in the room, if there is one.
        user_fanout: passes on the mic or the user.
        model_fanout: passes on the model.
        has_sender: whether the mic's or the user's session is in the room.
        listeners: number of speakers that hear the mic, or would.
        default_fanout: passes on the mic or, in a conversation, the model.
        histories: the latest frames of the mic or the user, and of the model, here or elsewhere.
        feed: feeds the room where its mic or user is at another node; None: nothing does.
        fed: the streams that are fed, until their ends.
        fed_from: the place up to which another node has fed the members that came from there.
    """

    def __init__(self, on_change: Callable[[], None] = lambda: None) -> None:
        self._on_change = on_change
        self.histories: dict[Voice, History] = {"user": History(), "model": History()}
        self.feed: Feed | None = None
        self.fed: dict[Voice, SpeechStream] = {}
        self.fed_from: SavedPosition | None = None
        self.members = 0
        self.codec: Model | None = None
        self.sealed = False
        self.mic: SlotStream | CodeStream | None = None
        self.conversation: Conversation | None = None
        self.model: SendQueue | None = None
        self.user_fanout = Fanout(on_change=self._update_decoding)
        self.model_fanout = Fanout(on_change=self._update_decoding)
        self.default_fanout = Fanout(on_change=self._update_decoding)
        self.has_sender = False
        self.listeners = 0
        self._user_came = Signal()

    async def wait_for_user(self) -> Conversation:
        """Waits until there is a conversation, and returns it."""
        while self.conversation is None:
            await self._user_came.wait()
        return self.conversation

    @property
    def has_stream(self) -> bool:
        """Whether a mic or a user is heard, or its rest."""
        return self.mic is not None or self.conversation is not None

    @property
    def stream(self) -> str | None:
        """Id of the session of the latest mic or user; None before the first."""
        return self.histories["user"].stream

    @property
    def lacks_sender(self) -> bool:
        """Whether a mic, a user or a model may yet come, for its speakers to hear."""
        if not self.has_sender:
            return True
        talk = self.conversation
        return talk is not None and self.model is None and not talk.has_local_model

    def check_unused(self) -> None:
        """Raises ProtocolError, room_has_mic or room_has_user, if a mic or a user is there."""
        if self.mic is not None:
            raise protocol_error("room_has_mic")
        if self.conversation is not None:
            raise protocol_error("room_has_user")

    def open_mic(
        self, engine: SlotEngine, session: str, *, from_codes: bool
    ) -> SlotStream | CodeStream:
        """Opens the mic's stream to its fan-outs; see Rooms.add_mic.

        Raises:
            ProtocolError: busy.
        """
        self.histories["user"].begin(session)
        listener = Fanout(*self._listeners("user", is_conversation=False), on_over=self._on_over)
        if from_codes:
            self.mic = CodeStream(engine, listener)
        else:
            self.mic = SlotStream(engine, listener, from_codes=False)
        self._on_change()
        return self.mic

    def open_fed(
        self,
        engine: SlotEngine,
        silence: CodeArray,
        voice: Voice,
        stream: str,
        first: int,
        *,
        is_conversation: bool,
        on_over: Callable[[], None],
    ) -> SpeechStream:
        """Opens a stream to the fan-outs whose mic or user is at another node.

        Args:
            engine: decodes it for those that want sound.
            silence: codes of a silent frame, int64 [codebooks].
            voice: which of a conversation's; "user" for a mic.
            stream: id of the mic's session, or the user's.
            first: index of its first frame.
            is_conversation: whether it has a user in place of a mic.
            on_over: called when it has ended, or failed.

        Raises:
            ProtocolError: busy.
        """
        self.histories[voice].begin(stream)

        def over() -> None:
            self.fed.pop(voice, None)
            on_over()

        fanouts = self._listeners(voice, is_conversation=is_conversation)
        fed = SpeechStream(engine, silence, Fanout(*fanouts, on_over=over), first=first)
        self.fed[voice] = fed
        return fed

    def end_listeners(self, voice: Voice, *, is_conversation: bool) -> None:
        """Passes on the end of a stream of which no frame came."""
        for fanout in self._listeners(voice, is_conversation=is_conversation):
            fanout.on_end(np.zeros(0, np.float32), Length(0, INPUT_RATE))

    def interrupt_listeners(self, voice: Voice) -> None:
        """Passes on an interruption of a conversation of which no frame has come yet."""
        for fanout in self._listeners(voice, is_conversation=True):
            fanout.on_interruption()

    def catch_up(
        self, listener: InterruptibleListener, position: SavedPosition, voice: str | None
    ) -> None:
        """Passes a listener the frames that it has missed on its way here from another node."""
        heard, first = position.first(voice)
        history = self.histories[heard]
        if first is not None and history.stream == position.stream:
            history.replay(first, listener)

    async def settled(self) -> None:
        """Waits until its listeners have all that its streams have given out."""
        for fanout in (self.user_fanout, self.model_fanout, self.default_fanout):
            await fanout.settled()

    @property
    def wants_feed(self) -> bool:
        """Whether it has members, and no mic, user or model that it could hear."""
        return bool(self.members) and not self.has_stream and self.model is None

    def open_conversation(
        self,
        engine: SlotEngine,
        silence: CodeArray,
        runner: DuplexRunner | None,
        session: str,
        *,
        from_codes: bool,
    ) -> Conversation:
        """Opens a user's conversation to its fan-outs; see Conversation.

        Raises:
            ProtocolError: busy.
        """
        for history in self.histories.values():
            history.begin(session)
        self.conversation = Conversation(
            engine,
            silence,
            user=Fanout(*self._listeners("user", is_conversation=True)),
            model=Fanout(*self._listeners("model", is_conversation=True)),
            from_codes=from_codes,
            runner=runner,
            session=session,
            on_over=self._on_over,
        )
        if self.model is not None:
            self.conversation.attach_model(self.model.put_control)
        self._user_came.notify()
        self._on_change()
        return self.conversation

    def _listeners(self, voice: Voice, *, is_conversation: bool) -> list[InterruptibleListener]:
        fanouts = {"user": self.user_fanout, "model": self.model_fanout}
        found: list[InterruptibleListener] = [fanouts[voice], self.histories[voice]]
        if (voice == "model") == is_conversation:
            found.append(self.default_fanout)
        return found

    def _on_over(self) -> None:
        self.mic = self.conversation = None
        self._on_change()

    def _update_decoding(self) -> None:
        for stream in (self.mic, self.conversation, *self.fed.values()):
            if stream is not None:
                stream.update_decoding()
