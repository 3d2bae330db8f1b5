"""Queues the media that a client has sent until the server has taken them in."""

from __future__ import annotations

import asyncio
import collections
import math
import time
from collections.abc import Callable
from contextlib import nullcontext

import msgspec

from xyt_stream.audio import FRAME_SECONDS
from xyt_stream.errors import HandoverError
from xyt_stream.protocol.error_table import protocol_error
from xyt_stream.protocol.machine import Codes, Pcm
from xyt_stream.protocol.messages import Ack, End, Notice
from xyt_stream.protocol.replay_buffer import MAX_UNACKNOWLEDGED, MESSAGE_OVERHEAD, AckPolicy
from xyt_stream.protocol.signal import Signal
from xyt_stream.server.admission.limits import Pace
from xyt_stream.server.saved import SavedReceiveQueue
from xyt_stream.server.sessions.framing import AnswerFramer, CodeFramer, Framer
from xyt_stream.server.sessions.lateness import MAX_LATE, Lateness
from xyt_stream.server.sessions.moving import load_message, save_message
from xyt_stream.server.sessions.queued_messages import size_of
from xyt_stream.server.sessions.send_queue import SendQueue

_TOO_SLOW = Notice(
    name="too_slow",
    message="The server's computer is too slow for the codec: it leaves out the oldest sound.",
)
_TELL_AGAIN = 30.0  # seconds between two messages to a client that loses media
_MAX_MESSAGES = 4  # queued messages from which on a client without acknowledgements is not read
_MAX_LIVE_SECONDS = 2 * MAX_LATE  # of queued media from which on a live client is not read either
_MAX_BYTES = 2 * MAX_UNACKNOWLEDGED  # queued bytes from which on a client with them is refused


class ReceiveQueue:
    """Passes messages to a framer in order, as fast as it takes them and as limits allow.

    For the event loop's thread.

    Args:
        framer: of the session's role; None if the client only listens.
        send_queue: the client's own; while it is full, nothing is taken in.
        rate: Hz of the client's sound.
        pace: limits how far the client may be ahead of real time.
        acknowledges: whether the client gets acknowledgements; then it is always read.
        lateness: of a client that is heard live: where the server cannot keep up, it loses the
            oldest media; None: it loses nothing.
        changed: notified whenever a message is taken in.
        on_ack: called when an acknowledgement is due.
        on_size: called with the bytes of memory that wait, whenever they change.
        on_late: called with the number of frames that are dropped.
    """

    def __init__(
        self,
        framer: Framer | None,
        send_queue: SendQueue,
        *,
        rate: int,
        pace: Pace,
        acknowledges: bool,
        lateness: Lateness | None = None,
        changed: Signal | None = None,
        on_ack: Callable[[], None] = lambda: None,
        on_size: Callable[[int], None] = lambda size: None,
        on_late: Callable[[int], None] = lambda frames: None,
    ) -> None:
        self._on_size = on_size
        self._memory = 0  # bytes that the queued messages take
        self._framer = framer
        self._send_queue = send_queue
        self._rate = rate
        self._pace = pace
        self._acknowledges = acknowledges
        self._lateness = lateness
        self._on_late = on_late
        self._changed = changed or Signal()
        self._added = Signal()
        self._on_ack = on_ack
        self._waits = False  # whether `run` waits for the next message
        # Each message with its bytes, the client's last sequence number at that time, and the
        # time at which it is due.
        self._queue: collections.deque[tuple[Pcm | Codes | End, int, int | None, float]]
        self._queue = collections.deque()
        self._emptied = 0  # messages at the front that `drop_codes` has emptied
        self._bytes = 0
        self._waiting = 0.0  # seconds of queued media
        self._told_at = -math.inf  # when the client was told that it loses media
        self._taken: int | None = None  # sequence number of the last message taken in
        self._ack_policy = AckPolicy()
        self._charged = False  # whether the first message's seconds were spent
        self._moved = False  # whether `run` goes on where another one was cancelled
        self._held = False  # whether the framer holds the first message, in part at least

    def __len__(self) -> int:
        """Number of queued messages."""
        return len(self._queue)

    async def drain(self) -> None:
        """Waits until the client may be read on."""
        await self._changed.wait_for(lambda: self._may_read_on)

    @property
    def _may_read_on(self) -> bool:
        if self._acknowledges or len(self._queue) < _MAX_MESSAGES:
            return True
        # Unread media wait in the network, where the oldest cannot be dropped.
        live = self._lateness is not None
        return live and self._waiting < _MAX_LIVE_SECONDS and self._bytes < _MAX_BYTES

    def put(self, message: Pcm | Codes | End, size: int, received: int | None) -> None:
        """Adds a message.

        Args:
            message: media or their end.
            size: its bytes.
            received: the client's last sequence number, this message included.

        Raises:
            ProtocolError: not_allowed: the client does not wait for acknowledgements.
        """
        if self._bytes > _MAX_BYTES and not isinstance(message, End):
            raise protocol_error("not_allowed", "Too much was sent without an acknowledgement.")
        self._bytes += size + MESSAGE_OVERHEAD
        seconds, due = self._seconds(message), 0.0
        if self._lateness is not None:
            due = self._lateness.arrived(seconds, first=not self._queue)
        self._waiting += seconds
        self._queue.append((message, size, received, due))
        self._count(size_of(message))
        self._added.notify()

    def drop_codes(self) -> int:
        """Empties the queued codes messages; returns the number of frames dropped."""
        dropped = 0
        # Those before the last that was emptied are empty, too: many interruptions cost no more.
        for index in range(self._emptied, len(self._queue)):
            message, size, seq, due = self._queue[index]
            if isinstance(message, Codes):
                dropped += message.codes.shape[1]
                empty = msgspec.structs.replace(message, codes=message.codes[:, :0].copy())
                self._count(size_of(empty) - size_of(message))
                self._waiting -= self._seconds(message)
                self._queue[index] = (empty, size, seq, due)
        self._emptied = len(self._queue)
        return dropped

    def take_ack(self) -> Ack | None:
        """The acknowledgement for what was taken in, if one is due; None otherwise."""
        if self._taken is None or not (self._acknowledges and self._ack_policy.due):
            return None
        self._ack_policy.reset()
        return Ack(received=self._taken)

    async def run(self) -> None:
        """Takes messages in until the client's end. Run it in one task."""
        if self._framer is not None and self._moved:
            await self._framer.go_on()
        while True:
            await self._wait_for_message()
            message, _, _, due = self._queue[0]
            if isinstance(message, End):
                if self._framer is None:
                    self._send_queue.end()
                else:
                    await self._framer.finish()
                return
            if self._framer is not None:
                # A model keeps its user's pace.
                if not isinstance(self._framer, AnswerFramer) and not self._charged:
                    self._charged = True
                    await self._pace.spend(self._seconds(message))
                await self._wait_for_client()
                message = self._queue[0][0]  # again: an interruption may have emptied it
                assert not isinstance(message, End)
                if self._lateness is None or not self._lateness.is_too_late(due):
                    self._held = not isinstance(self._framer, AnswerFramer)
                    await self._framer.take(message)
                else:
                    self._drop(message)
            self._pop()
            await asyncio.sleep(0)  # other sessions must not wait for a long queue

    async def _wait_for_message(self) -> None:
        self._waits = True
        try:
            await self._added.wait_for(lambda: bool(self._queue))
        finally:
            self._waits = False

    def take_now(self, codes: Codes, size: int, received: int | None) -> bool:
        """Takes codes in at once if nothing has to be waited for; returns whether it did.

        Args:
            codes, size, received: see `put`, which is for what is not taken here.
        """
        framer, late = self._framer, self._lateness is not None and self._lateness.dropping
        if not self._waits or self._queue or late or not isinstance(framer, CodeFramer):
            return False
        if not framer.may_take(codes) or not self._send_queue.has_room:
            return False
        if not self._pace.spend_now(self._seconds(codes)):
            return False
        framer.take_now(codes)
        self._count_taken(size, received)
        return True

    def _count_taken(self, size: int, seq: int | None) -> None:
        self._taken = seq
        self._ack_policy.count(size)
        if self._acknowledges and self._ack_policy.due:
            self._on_ack()

    def _pop(self) -> None:
        """Counts the first message as taken in."""
        message, size, seq, _ = self._queue.popleft()
        self._charged = self._held = False
        self._emptied = max(0, self._emptied - 1)
        self._count(-size_of(message))
        self._waiting -= self._seconds(message)
        self._bytes -= size + MESSAGE_OVERHEAD
        self._count_taken(size, seq)
        self._changed.notify()

    def save(self, *, over: bool) -> SavedReceiveQueue:
        """Returns the state that lets another server continue; `run` was cancelled or is over."""
        if self._held:
            self._pop()
        self._moved = True
        now = 0.0 if self._lateness is None else self._lateness.now
        waiting = [] if over else self._queue
        return SavedReceiveQueue(
            messages=[
                msgspec.structs.replace(
                    save_message(message), size=size, received=seq, due=due - now
                )
                for message, size, seq, due in waiting
            ],
            emptied=self._emptied,
            charged=self._charged,
            ahead=self._pace.ahead,
            taken=self._taken,
            ack_messages=self._ack_policy.messages,
            ack_bytes=self._ack_policy.bytes,
            over=over,
            framer=None if self._framer is None else self._framer.save(),
        )

    def load(self, saved: SavedReceiveQueue) -> None:
        """Goes on as the queue of another server, before `run`.

        Raises:
            HandoverError: it does not fit.
        """
        if (saved.framer is None) != (self._framer is None):
            raise HandoverError("a session's role does not fit what it sends")
        self._moved = True
        now = 0.0 if self._lateness is None else self._lateness.now
        for each in saved.messages:
            message = load_message(each)
            if not isinstance(message, Pcm | Codes | End):
                raise HandoverError("a client's message is of no kind that waits")
            self.put(message, max(0, each.size), each.received)
            self._queue[-1] = (*self._queue[-1][:3], now + each.due)
        self._emptied, self._charged = min(saved.emptied, len(self._queue)), saved.charged
        self._pace.charge(max(0.0, saved.ahead))
        self._taken = saved.taken
        self._ack_policy.messages = saved.ack_messages
        self._ack_policy.bytes = saved.ack_bytes
        if self._framer is not None and saved.framer is not None:
            self._framer.load(saved.framer)

    def _count(self, grown: int) -> None:
        self._memory += grown
        self._on_size(self._memory)

    async def _wait_for_client(self) -> None:
        """Waits until the client has read enough to be sent more."""
        with nullcontext() if self._lateness is None else self._lateness.holding():
            await self._send_queue.drain()

    def _drop(self, media: Pcm | Codes) -> None:
        """Leaves media out, and tells the client so from time to time."""
        assert self._framer is not None
        assert not isinstance(self._framer, AnswerFramer)
        self._on_late(self._framer.drop(media))
        now = time.monotonic()
        if now - self._told_at > _TELL_AGAIN:
            self._told_at = now
            self._send_queue.put_control(_TOO_SLOW)

    def _seconds(self, media: Pcm | Codes | End) -> float:
        if isinstance(media, End):
            return 0.0
        if isinstance(media, Pcm):
            return len(media.samples) / self._rate
        return int(media.codes.shape[1]) * FRAME_SECONDS
