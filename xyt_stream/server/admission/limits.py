"""How much of everything: what one client, one address and one room may take."""

from __future__ import annotations

import asyncio
import ipaddress
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from xyt_stream.protocol.error_table import protocol_error
from xyt_stream.protocol.messages import MAX_MESSAGE


@dataclass(frozen=True)
class Limits:
    """Of a server. Times are seconds; 0 is no limit where it says so.

    Attributes:
        message_bytes: of one message; a larger one is refused unread.
        realtime_bytes: of one event of the Realtime protocol, whose sound is base64.
        queue: media messages that may wait for one client's connection.
        load: share of real time that steps may take; beyond, nobody new is let in, and if it lasts
            the newest session has to go; 0: any.
        ahead: of sound that a client may be ahead of real time; beyond, it is read at real time.
        address_sessions: that one address may have at once; 0: any number.
        address_joins: connections a second from one address, twice as many in a burst; 0: any.
        rooms: that there may be at once.
        members: in one room.
        hello_time: for the websocket's handshake, and for the hello.
        idle_time: that a client may send nothing at all; 0: for ever.
        session_time: that a session may last; 0: for ever.
        resume_time: that a session waits for its client; 0: none can be resumed.
        keepalive: between pings, and for the pong; 0: none.
        drain_time: that sessions have at shutdown to be sent what is left.
    """

    message_bytes: int = MAX_MESSAGE
    realtime_bytes: int = 8 * MAX_MESSAGE  # 32 s of sound at 24 kHz
    queue: int = 64
    load: float = 0.95
    ahead: float = 30.0
    address_sessions: int = 64
    address_joins: float = 50.0
    rooms: int = 256
    members: int = 64
    hello_time: float = 10.0
    idle_time: float = 600.0
    session_time: float = 0.0
    resume_time: float = 30.0
    keepalive: float = 20.0
    drain_time: float = 5.0


class Pace:
    """Real time with credit: `spend` waits while more was spent than time has passed.

    Args:
        credit: seconds that may be spent ahead.
        clock: seconds.
    """

    def __init__(self, credit: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._credit = credit
        self._clock = clock
        self._paid_until = clock()

    def owed(self, seconds: float) -> float:
        """Spends so many seconds, and tells how long to wait for them to be earned."""
        now = self._clock()
        self._paid_until = max(self._paid_until, now) + seconds
        return max(0.0, self._paid_until - now - self._credit)

    @property
    def rested(self) -> bool:
        """Whether all that was spent has been earned."""
        return self._paid_until <= self._clock()

    async def spend(self, seconds: float) -> None:
        """Waits until so many seconds may be spent."""
        if (wait := self.owed(seconds)) > 0:
            await asyncio.sleep(wait)


@dataclass
class _Address:
    sessions: int
    joins: Pace


class Gate:
    """Who comes from where, and how often.

    IPv6 addresses count by their first 64 bits: all others are whose who has these.

    Args:
        sessions: of one address at once; 0: any number.
        joins: a second from one address; 0: any number.
        clock: seconds.
    """

    def __init__(
        self, sessions: int, joins: float, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._sessions = sessions
        self._joins = joins
        self._clock = clock
        self._addresses: dict[str, _Address] = {}
        self._swept = clock()

    def knock(self, address: str) -> None:
        """A connection has come.

        Raises:
            ProtocolError: too_many.
        """
        if not self._joins:
            return
        joins = self._at(address).joins
        if joins.owed(0) > 0:  # who is refused pays nothing
            raise protocol_error("too_many", retry_after=1.0)
        joins.owed(1 / self._joins)

    @contextmanager
    def session(self, address: str) -> Iterator[None]:
        """A session begins and ends.

        Raises:
            ProtocolError: too_many.
        """
        entry = self._at(address)
        if self._sessions and entry.sessions >= self._sessions:
            raise protocol_error(
                "too_many", f"{self._sessions} sessions from one address are enough.", retry_after=5
            )
        entry.sessions += 1
        try:
            yield
        finally:
            entry.sessions -= 1

    def _at(self, address: str) -> _Address:
        self._sweep()
        name = _network(address)
        if name not in self._addresses:
            # Joins are paid for with time; two seconds' worth of them may come at once.
            self._addresses[name] = _Address(0, Pace(2.0, self._clock))
        return self._addresses[name]

    def _sweep(self) -> None:
        """Forgets addresses that have had nothing to do with us for long."""
        now = self._clock()
        if now - self._swept > 60:
            self._swept = now
            self._addresses = {
                name: entry
                for name, entry in self._addresses.items()
                if entry.sessions or not entry.joins.rested
            }


def _network(address: str) -> str:
    """What an address counts as."""
    try:
        found = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return address
    return address if found.version == 4 else str(ipaddress.ip_network((found, 64), strict=False))
