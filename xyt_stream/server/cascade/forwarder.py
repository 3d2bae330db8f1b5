"""Listens to a mic, or to one voice of a conversation, for another node."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack

from xyt_stream.audio import Samples
from xyt_stream.protocol.packing import CodeArray
from xyt_stream.protocol.payloads import OpaquePayload, Payload, PlainPayload
from xyt_stream.protocol.roles import Voice
from xyt_stream.server.cascade.wire import (
    Failed,
    Frame,
    Interrupted,
    Item,
    Over,
    Silent,
    Skipped,
)
from xyt_stream.server.engine.slot_stream import DecodedFrame, Length
from xyt_stream.server.sessions.room import Room


class Forwarder:
    """A listener that turns a voice's codes into items for one node. For the event loop's thread.

    Args:
        room: of the mic or the conversation.
        voice: "user" for a mic.
        number: the other node's, of the room.
        put: sends an item to that node.
        on_frame: called for each frame of codes.
        on_over: called when the voice's stream is over.

    Attributes:
        wants_sound: False.
    """

    wants_sound = False

    def __init__(
        self,
        room: Room,
        voice: Voice,
        number: int,
        put: Callable[[Item], None],
        on_frame: Callable[[], None],
        on_over: Callable[[], None],
    ) -> None:
        assert room.codec is not None
        plain = PlainPayload(room.codec.codebooks, room.codec.codebook_size)
        self._payload: Payload = OpaquePayload(plain) if room.sealed else plain
        self._room = room
        self._voice: Voice = voice
        self._number = number
        self._put = put
        self._on_frame = on_frame
        self._on_over = on_over
        self._joined = ExitStack()

    def start(self, first: int | None) -> None:
        """Joins the voice's listeners; begins with the frames that are kept from `first` on."""
        if first is not None:
            self._room.histories[self._voice].replay(first, self)
        fanouts = {"user": self._room.user_fanout, "model": self._room.model_fanout}
        self._joined.enter_context(fanouts[self._voice].join(self))

    def close(self) -> None:
        """Leaves the voice's listeners."""
        self._joined.close()

    def on_codes(self, index: int, codes: CodeArray) -> None:
        """Sends a frame; see Listener."""
        self._on_frame()
        self._put(Frame(self._number, index, self._payload.pack(codes[:, None]), self._voice))

    def on_silence(self, index: int) -> None:
        """Sends that a frame is silent; see InterruptibleListener."""
        self._put(Silent(self._number, index))

    def on_audio(self, frame: DecodedFrame) -> None:
        """Sends no sound."""

    def skip(self, index: int, frames: int) -> None:
        """Sends that frames were left out; see Listener."""
        self._put(Skipped(self._number, index, frames, self._voice))

    def on_end(self, tail: Samples, length: Length) -> None:
        """Sends the end; see Listener."""
        self._put(Over(self._number, length.samples, length.rate, self._voice))
        self._on_over()

    def on_error(self) -> None:
        """Sends the failure; see Listener."""
        self._put(Failed(self._number))
        self._on_over()

    def on_interruption(self) -> None:
        """Sends the interruption; see InterruptibleListener."""
        self._put(Interrupted(self._number))
