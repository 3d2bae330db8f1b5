"""What a client has sent and the server has not taken in yet."""

from __future__ import annotations

import asyncio
import collections
import dataclasses

from xyt_stream.audio import FRAME_SECONDS
from xyt_stream.protocol.error_table import protocol_error
from xyt_stream.protocol.machine import Codes, Pcm
from xyt_stream.protocol.messages import Ack, End
from xyt_stream.protocol.replay_buffer import MAX_UNACKNOWLEDGED, MESSAGE_OVERHEAD, AckPolicy
from xyt_stream.server.admission.limits import Pace
from xyt_stream.server.sessions.framing import AnswerIntake, Intake
from xyt_stream.server.sessions.send_queue import Outlet

_MESSAGES = 4  # that wait for room in the engine, if nothing is acknowledged
_MOST = 2 * MAX_UNACKNOWLEDGED  # bytes that wait for it, if all is


class Inbox:
    """Takes in messages in order, as fast as there is room and as the client may.

    Args:
        intake: of the client's role; None if it only hears.
        outlet: the client's own; full, it holds its client back.
        rate: Hz of the client's sound.
        ahead: seconds that the client may be ahead of real time.
        acknowledges: whether the client is told what was taken in, and is always read.
    """

    def __init__(
        self, intake: Intake | None, outlet: Outlet, *, rate: int, ahead: float, acknowledges: bool
    ) -> None:
        self._intake = intake
        self._outlet = outlet
        self._rate = rate
        self._pace = Pace(ahead)
        self._acknowledges = acknowledges
        # Each with its bytes, and the last sequence number by then.
        self._waiting: collections.deque[tuple[Pcm | Codes | End, int, int | None]]
        self._waiting = collections.deque()
        self._bytes = 0
        self._taken: int | None = None  # sequence number of what was taken in last
        self._ack_policy = AckPolicy()
        self._changed = asyncio.Event()

    def __len__(self) -> int:
        return len(self._waiting)

    async def room(self) -> None:
        """Waits until the client may be read on."""
        while not self._acknowledges and len(self._waiting) >= _MESSAGES:
            await self._change()

    def put(self, message: Pcm | Codes | End, size: int, received: int | None) -> None:
        """A message of so many bytes; `received` is the last sequence number by then.

        Raises:
            ProtocolError: not_allowed: these are media, and the client does not wait for
                acknowledgements.
        """
        if self._bytes > _MOST and not isinstance(message, End):
            raise protocol_error("not_allowed", "Too much was sent without an acknowledgement.")
        self._bytes += size + MESSAGE_OVERHEAD
        self._waiting.append((message, size, received))
        self._changed.set()

    def void(self) -> int:
        """Codes that wait are not to be said; how many frames they are."""
        dropped = 0
        for index, (message, size, seq) in enumerate(self._waiting):
            if isinstance(message, Codes):
                dropped += message.codes.shape[1]
                void = dataclasses.replace(message, codes=message.codes[:, :0])
                self._waiting[index] = (void, size, seq)
        return dropped

    async def acknowledgement(self) -> Ack:
        """What to tell the client that was taken in, when it is time for that."""
        while not self._ack_policy.due or self._taken is None:
            await self._change()
        self._ack_policy.reset()
        return Ack(received=self._taken)

    async def take_in(self) -> None:
        """Until the client's end."""
        while True:
            while not self._waiting:
                await self._change()
            message, size, seq = self._waiting[0]
            if isinstance(message, End):
                if self._intake is None:
                    self._outlet.stop()
                else:
                    await self._intake.finish()
                return
            if self._intake is not None:
                if not isinstance(self._intake, AnswerIntake):  # that one goes by its user
                    await self._pace.spend(self._seconds(message))
                await self._outlet.room()
                await self._intake.take(message)
            self._waiting.popleft()
            self._bytes -= size + MESSAGE_OVERHEAD
            self._taken = seq
            self._ack_policy.count(size)
            self._changed.set()
            await asyncio.sleep(0)  # others must not wait for a long queue of little

    def _seconds(self, media: Pcm | Codes) -> float:
        if isinstance(media, Pcm):
            return len(media.samples) / self._rate
        return int(media.codes.shape[1]) * FRAME_SECONDS

    async def _change(self) -> None:
        self._changed.clear()
        await self._changed.wait()
