"""Listens to a mic for another node."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack

from xyt_stream.audio import Samples
from xyt_stream.protocol.packing import CodeArray
from xyt_stream.protocol.payloads import OpaquePayload, Payload, PlainPayload
from xyt_stream.server.cascade.wire import Failed, Frame, Item, Moved, Over, Skipped
from xyt_stream.server.engine.slot_stream import DecodedFrame, Length
from xyt_stream.server.sessions.room import Room


class Forwarder:
    """A listener that turns a mic's codes into items for one node. For the event loop's thread.

    Args:
        room: of the mic.
        number: the other node's, of the room.
        put: sends an item to that node.
        on_frame: called for each frame.
        on_over: called when the stream is over.

    Attributes:
        wants_sound: False.
    """

    wants_sound = False

    def __init__(
        self,
        room: Room,
        number: int,
        put: Callable[[Item], None],
        on_frame: Callable[[], None],
        on_over: Callable[[], None],
    ) -> None:
        assert room.codec is not None
        plain = PlainPayload(room.codec.codebooks, room.codec.codebook_size)
        self._payload: Payload = OpaquePayload(plain) if room.sealed else plain
        self._room = room
        self._number = number
        self._put = put
        self._on_frame = on_frame
        self._on_over = on_over
        self._joined = ExitStack()

    def start(self, first: int | None) -> None:
        """Joins the mic's listeners; begins with the frames that are kept from `first` on."""
        if first is not None:
            for index, codes in self._room.history.since(first):
                self.on_codes(index, codes)
        self._joined.enter_context(self._room.user_fanout.join(self))

    def close(self) -> None:
        """Leaves the mic's listeners."""
        self._joined.close()

    def moved(self) -> None:
        """The mic goes on at another node."""
        self._put(Moved(self._number))
        self._on_over()

    def on_codes(self, index: int, codes: CodeArray) -> None:
        """Sends a frame; see Listener."""
        self._on_frame()
        self._put(Frame(self._number, index, self._payload.pack(codes[:, None])))

    def on_audio(self, frame: DecodedFrame) -> None:
        """Sends no sound."""

    def skip(self, index: int, frames: int) -> None:
        """Sends that frames were left out; see Listener."""
        self._put(Skipped(self._number, index, frames))

    def on_end(self, tail: Samples, length: Length) -> None:
        """Sends the end; see Listener."""
        self._put(Over(self._number, length.samples, length.rate))
        self._on_over()

    def on_error(self) -> None:
        """Sends the failure; see Listener."""
        self._put(Failed(self._number))
        self._on_over()

    def on_interruption(self) -> None:
        """Does nothing: a mic cannot be interrupted."""
