"""Holds the stream that a room gets from another node: its mic, or its user and its model."""

from __future__ import annotations

from collections.abc import Callable

from msgspec import UNSET

from xyt_stream.errors import CodeError, HandoverError, ProtocolError
from xyt_stream.protocol.payloads import OpaquePayload, Payload, PlainPayload
from xyt_stream.protocol.roles import Voice
from xyt_stream.server.cascade.feeder import Codes, Feeder, Skip
from xyt_stream.server.cascade.wire import Frame, Has, Interrupted, Over, Silent, Skipped
from xyt_stream.server.engine.slot_stream import Length
from xyt_stream.server.saved import SavedPosition
from xyt_stream.server.service import Service
from xyt_stream.server.sessions.room import Room

_SETTLE_TIME = 1.0  # seconds that the frames of a mic that comes here may still be on their way


class Voices:
    """The feeders of one stream, by voice. For the event loop's thread.

    Args:
        service: of this node.
        room: that they feed.
        on_busy: called if no slot is free to decode a voice; members that want its sound are to
            leave.
        on_over: called once the members have the end of all voices.

    Attributes:
        stream: id of the session of the mic or the user; None: none has begun.
        is_conversation: whether it has a user in place of a mic, and a model.
    """

    def __init__(
        self,
        service: Service,
        room: Room,
        *,
        on_busy: Callable[[ProtocolError, Voice], None],
        on_over: Callable[[], None],
    ) -> None:
        self.stream: str | None = None
        self.is_conversation = False
        self._on_over = on_over
        self._count = service.metrics.subscribed.labels("in").inc
        self._payload: Payload

        def feeder(voice: Voice) -> Feeder:
            return Feeder(
                service.engine,
                service.rooms.silence,
                room,
                voice,
                on_lost=service.metrics.subscribed.labels("lost").inc,
                on_busy=lambda error: on_busy(error, voice),
                on_over=self._over,
            )

        self._feeders: dict[Voice, Feeder] = {"user": feeder("user"), "model": feeder("model")}

    def begin(self, has: Has) -> None:
        """Begins a node's stream, or goes on with it."""
        plain = PlainPayload(has.model.codebooks, has.model.codebook_size)
        self._payload = OpaquePayload(plain) if has.sealed else plain
        self.stream, self.is_conversation = has.stream, has.is_conversation
        for feeder in self._fed.values():
            feeder.start(has.stream, is_conversation=has.is_conversation)

    def begin_at(self, position: SavedPosition) -> None:
        """Waits for the frames of a stream from this place on."""
        self.stream, self.is_conversation = position.stream, position.model is not UNSET
        for voice, feeder in self._fed.items():
            _, first = position.first(voice)
            feeder.start(position.stream, first, is_conversation=self.is_conversation)

    def may_be(self, has: Has) -> bool:
        """Whether a node's stream is this one; any may be before one has begun."""
        own = (self.stream, self.is_conversation)
        return self.stream is None or own == (has.stream, has.is_conversation)

    @property
    def begun(self) -> bool:
        """Whether the members were passed frames, here or at another node."""
        return any(each.next is not None for each in self._feeders.values())

    @property
    def expected(self) -> tuple[int | None, int | None]:
        """Index of the frame that is to come, of the mic or the user, and of the model."""
        return self._feeders["user"].expected, self._feeders["model"].expected

    @property
    def position(self) -> SavedPosition | None:
        """The place up to which the members were passed frames; None: they were passed none."""
        if self.stream is None or not self.begun:
            return None
        user, model = self._feeders["user"].next, self._feeders["model"].next
        if self.is_conversation:
            return SavedPosition(stream=self.stream, next=user, model=model)
        return SavedPosition(stream=self.stream, next=user)

    def take(self, item: Frame | Silent | Interrupted | Skipped) -> None:
        """Takes an item of the stream.

        Raises:
            HandoverError: it is none of this stream.
        """
        if isinstance(item, Frame):
            feeder = self._of(item.voice)
            self._count()
            try:
                codes = self._payload.unpack(item.payload)
            except CodeError as error:
                raise HandoverError(f"a frame of the other node is none: {error}") from None
            if codes.shape[1] != 1:
                raise HandoverError(f"the other node sends {codes.shape[1]} frames as one")
            feeder.put(Codes(item.index, codes[:, 0]))
        elif isinstance(item, Silent):
            self._of("model").put(Codes(item.index, None))
        elif isinstance(item, Interrupted):
            self._of("model").interrupt()
        else:
            self._of(item.voice).put(Skip(item.index, item.frames))

    def end(self, over: Over) -> bool:
        """Ends a voice: the user's first, and with the model's the conversation.

        Returns:
            Whether the node has nothing more of the stream.

        Raises:
            HandoverError: it is none of this stream.
        """
        feeder, length = self._of(over.voice), Length(over.samples, over.rate)
        if self.is_conversation and over.voice == "user":
            feeder.put(length)
            return False
        for each in self._fed.values():
            each.put(length)
        return True

    async def settle(self, stream: str, index: int, model: int) -> None:
        """Waits for the frames before these for a moment; see Feed."""
        if stream == self.stream:
            await self._feeders["user"].settle(index, _SETTLE_TIME)
            await self._feeders["model"].settle(model, _SETTLE_TIME)

    def stop(self) -> None:
        """Passes on nothing more; what waits is forgotten, and must come again."""
        for feeder in self._feeders.values():
            feeder.stop()

    def reset(self) -> None:
        """Closes the stream without an end: the next one is another."""
        for feeder in self._feeders.values():
            feeder.reset()
        self.stream, self.is_conversation = None, False

    @property
    def _fed(self) -> dict[Voice, Feeder]:
        """The feeders of the stream: "user" alone for a mic."""
        return self._feeders if self.is_conversation else {"user": self._feeders["user"]}

    def _of(self, voice: Voice) -> Feeder:
        feeder = self._fed.get(voice)
        if feeder is None:
            raise HandoverError("the other node sends a model's frames of a mic")
        return feeder

    def _over(self) -> None:
        if all(each.over for each in self._fed.values()):
            self._on_over()
