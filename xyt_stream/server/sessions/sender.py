"""Encodes the messages to one client, and keeps its media until they are acknowledged."""

from __future__ import annotations

import collections
from collections.abc import Callable

import msgspec

from xyt_stream.errors import HandoverError, ProtocolError
from xyt_stream.protocol.error_table import protocol_error
from xyt_stream.protocol.machine import Codes, Pcm
from xyt_stream.protocol.messages import Ack, End, Notice, Pong
from xyt_stream.protocol.replay_buffer import ReplayBuffer
from xyt_stream.protocol.server_machine import ServerMachine
from xyt_stream.protocol.signal import Signal
from xyt_stream.server.admission.memory import TOLD_STEP
from xyt_stream.server.engine.timings import Timings
from xyt_stream.server.saved import SavedSender
from xyt_stream.server.sessions.flush import DirectWriter, Flush
from xyt_stream.server.sessions.send_queue import SendQueue

_MAX_PONGS = 16  # pongs waiting to be sent from which on the client is not read


class Sender:
    """The messages to one client, in order. For the event loop's thread.

    Args:
        machine: of the session.
        send_queue: holds media and control messages that are not encoded yet.
        replay_bytes: of media kept for a resumed session; 0: none.
        take_ack: returns an acknowledgement if one is due.
        timings: of the engine, for `end`.
        flush: writes to connections that are idle.
        on_written: called with each media message once it is written; None: that matters to nobody.
        on_size: called with the bytes that are kept for a resumed session, whenever they have
            changed by a few thousand.

    Attributes:
        going_away: the error that is raised in place of `end`; None: `end` is sent.
    """

    def __init__(
        self,
        machine: ServerMachine,
        send_queue: SendQueue,
        *,
        replay_bytes: int,
        take_ack: Callable[[], Ack | None],
        timings: Timings,
        flush: Flush,
        on_written: Callable[[Pcm | Codes], None] | None,
        on_size: Callable[[int], None] = lambda size: None,
    ) -> None:
        self.going_away: ProtocolError | None = None
        self._machine = machine
        self._send_queue = send_queue
        self._replay_buffer = ReplayBuffer(replay_bytes)
        self._take_ack = take_ack
        self._timings = timings
        self._flush = flush
        self._writer: DirectWriter | None = None  # of the connection; None: there is none
        self._woken = Signal()  # for the only task in `next`
        self._waits = False  # whether that task waits
        self._flushed = True  # whether `_write_now` is not about to run
        self._pong_taken = Signal()
        self._on_written = on_written
        self._on_size = on_size
        self._told = 0  # bytes that `on_size` was called with
        self._drained = False  # whether nothing more was there when `_take` was called last
        # Encoded messages, each with the media it holds.
        self._encoded: collections.deque[tuple[str | bytes, Pcm | Codes | None]]
        self._encoded = collections.deque()
        self._pongs: collections.deque[str] = collections.deque()
        self._returned: Pcm | Codes | None = None  # the media that `next` has returned last
        self._ended = False

    def restart(self, ready: str, writer: DirectWriter | None) -> None:
        """Begins on a new connection, with `ready` and all media that are kept.

        Args:
            writer: of the connection; None: all that is sent comes from `next`.
        """
        self._writer = writer
        self._encoded = collections.deque([(ready, None)])
        self._encoded.extend((data, None) for data in self._replay_buffer.unacknowledged())
        self._pongs.clear()
        self._returned = None
        self._ended = False

    def rewind(self, received: int | None) -> None:
        """Prepares for a client that has all media up to this sequence number and none beyond.

        Raises:
            ProtocolError: cannot_resume: the media that follow are no longer kept.
        """
        most = -1 if self._machine.sent is None else self._machine.sent
        first = self._replay_buffer.first
        least = most if first is None else first - 1
        if not least <= (-1 if received is None else received) <= most:
            raise protocol_error("cannot_resume")
        self._replay_buffer.acknowledge(received)

    def save(self) -> SavedSender:
        """Returns the state that lets another server continue."""
        machine = self._machine
        return SavedSender(
            sent=0 if machine.sent is None else machine.sent + 1,
            received=0 if machine.received is None else machine.received + 1,
            receiving_over=machine.receiving_over,
            kept=self._replay_buffer.unacknowledged(),
        )

    def load(self, saved: SavedSender) -> None:
        """Goes on as the sender of another server.

        Raises:
            HandoverError: it does not fit.
        """
        if not len(saved.kept) <= saved.sent or saved.received < 0:
            raise HandoverError("the numbers of a session's messages do not fit")
        self._machine.restore(
            sent=saved.sent, received=saved.received, receiving_over=saved.receiving_over
        )
        self._replay_buffer.restore(saved.kept, saved.sent)
        self._tell_size()

    def acknowledge(self, received: int) -> None:
        """The client has all media up to this sequence number."""
        held_back = self._replay_buffer.full
        self._replay_buffer.acknowledge(received)
        self._tell_size()
        if held_back:
            self.wake()

    def wake(self) -> None:
        """Sends what there may be now: the send queue has grown, or an acknowledgement is due."""
        if self._writer is None:
            self._woken.notify()
        elif self._waits and self._flushed:
            self._flushed = False
            self._flush.add(self._write_now)

    def _write_now(self) -> None:
        """Writes as much as the connection takes; `next` does the rest, and all that is unusual."""
        self._flushed = True
        writer = self._writer
        if not self._waits:
            return
        assert writer is not None
        may_write, failed = writer.may_write, False
        try:
            while may_write and (data := self._take()) is not None:
                writer.write(data)
                self._report_written()
                if self._drained:
                    return
                may_write = writer.may_write
        except ProtocolError:  # `next` finds it, too
            failed = True
        if failed or self._ended or not may_write:
            self._woken.notify()

    async def pong(self, pong: Pong) -> None:
        """Adds a pong; waits while too many wait to be sent."""
        self._pongs.append(self._machine.control(pong))
        self.wake()
        await self._pong_taken.wait_for(lambda: len(self._pongs) < _MAX_PONGS)

    async def next(self) -> str | bytes | None:
        """Waits for the next message; None: `end` was the last. The last one must be written.

        Raises:
            ProtocolError: the session must end: the device has failed, or the server goes away.
        """
        self._report_written()
        while (data := self._take()) is None and not self._ended:
            self._waits = True
            try:
                await self._woken.wait()
            finally:
                self._waits = False
        return data

    def _report_written(self) -> None:
        if self._returned is not None:
            returned, self._returned = self._returned, None
            if self._on_written is not None:
                self._on_written(returned)

    def _take(self) -> str | bytes | None:
        """The next message, if there is one now: encoded ones, then control, then media."""
        self._drained = False
        if self._encoded:
            data, self._returned = self._encoded.popleft()
            return data
        if self._pongs:
            self._pong_taken.notify()
            return self._pongs.popleft()
        if (ack := self._take_ack()) is not None:
            return self._machine.control(ack)
        if self._ended or self._replay_buffer.full:
            return None
        return self._encode()

    def _encode(self) -> str | bytes | None:
        """Encodes the next queued message, if there is one, and keeps it if it holds media.

        Nothing waits in between: media that are taken are media that are kept.
        """
        message, machine = self._send_queue.take(), self._machine
        if message is None:
            return None
        if isinstance(message, Codes):
            data = machine.codes(message.frame, message.codes, gap=message.gap)
        elif isinstance(message, Pcm):
            data = machine.pcm(message.frame, message.samples, gap=message.gap)
        elif isinstance(message, End):
            if self.going_away is not None:
                raise self.going_away
            self._ended = True
            return machine.end(msgspec.structs.replace(message, step_ms=self._timings.step_ms()))
        else:
            return machine.control(message)
        self._replay_buffer.add(data)
        self._tell_size()
        if self._send_queue.lost:
            notice = Notice(name="dropped", message="You read too slowly: sound was left out.")
            self._encoded.append((data, message))
            return machine.control(notice)
        self._returned = message
        self._drained = self._send_queue.idle
        return data

    def _tell_size(self) -> None:
        size = self._replay_buffer.size
        if abs(size - self._told) >= TOLD_STEP:
            self._told = size
            self._on_size(size)
