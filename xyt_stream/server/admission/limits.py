"""Limits what one client, one address and one room may use."""

from __future__ import annotations

import asyncio
import ipaddress
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from xyt_stream.protocol.error_table import protocol_error
from xyt_stream.protocol.messages import MAX_MESSAGE


def _limit(default: float, help: str, *, least: float = 0, option: str | None = None) -> Any:
    """A field that is also an option of the command line: its help, minimum and other name."""
    return field(default=default, metadata={"help": help, "min": least, "option": option})


@dataclass(frozen=True)
class Limits:
    """The limits of one server. Each field says in its help what it limits: `serve --help`."""

    message_bytes: int = _limit(MAX_MESSAGE, "Bytes of one message.", least=1024)
    queue: int = _limit(64, "Media messages queued for one client.", least=1)
    ahead: float = _limit(30.0, "Seconds of sound that a client may be ahead of real time.")
    load: float = _limit(
        0.95,
        "Share of real time that steps may take; above it, new clients are refused, and if it "
        "lasts, all sessions that do not fit are closed, the newest first; 0 for any.",
        option="--max-load",
    )
    address_sessions: int = _limit(64, "Sessions of one address at once; 0 for any number.")
    address_joins: float = _limit(
        50.0, "Connections a second of one address, twice as many in a burst; 0 for any number."
    )
    relayed: int = _limit(
        4096, "Sessions at once that carry codes only and take no slot; 0 for any number."
    )
    rooms: int = _limit(256, "Rooms at once.", least=1)
    members: int = _limit(64, "Members of one room.", least=1)
    hello_time: float = _limit(10.0, "Seconds for the handshake, and for the hello.", least=0.1)
    idle_time: float = _limit(600.0, "Seconds that a client may send nothing; 0 for any time.")
    session_time: float = _limit(0.0, "Seconds that a session may last; 0 for any time.")
    resume_time: float = _limit(
        30.0, "Seconds that a session waits for a disconnected client; 0: it ends at once."
    )
    keepalive: float = _limit(20.0, "Seconds between pings, and for the pong; 0 for none.")
    drain_time: float = _limit(5.0, "Seconds to send what is left at shutdown.")
    realtime_bytes: int = _limit(
        8 * MAX_MESSAGE, "Bytes of one event of the Realtime protocol, base64.", least=1024
    )
    client_messages: float = _limit(
        1000.0,
        "Frames that one connection may send per second, pings and fragments included, on average "
        "over ten seconds; 0 for any number.",
    )
    client_bytes: float = _limit(
        1e6, "Bytes that one connection may send per second, likewise; 0 for any number."
    )
    client_work: float = _limit(
        0.5, "Share of a processor that reading one connection may take, likewise; 0 for all."
    )
    early_share: float = _limit(
        0.01, "Share of these messages and bytes that a client has until it is admitted."
    )
    session_memory: float = _limit(
        8.0, "Megabytes that may wait in one session, both ways; 0 for any number."
    )
    server_memory: float = _limit(
        1024.0,
        "Megabytes that may wait in all sessions; new ones are refused before; 0 for any number.",
    )
    address_handshakes: int = _limit(
        64, "Connections of one address at once that have no session yet; 0 for any number."
    )


class Pace:
    """Real time with credit: `spend` waits while more was spent than time has passed.

    Args:
        credit: seconds that may be spent ahead.
        clock: seconds, monotonic.
    """

    def __init__(self, credit: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._credit = credit
        self._clock = clock
        self._paid_until = clock()

    def charge(self, seconds: float) -> float:
        """Spends so many seconds at once; returns the seconds until they are earned."""
        now = self._clock()
        self._paid_until = max(self._paid_until, now) + seconds
        return max(0.0, self._paid_until - now - self._credit)

    def spend_now(self, seconds: float) -> bool:
        """Spends so many seconds if they are earned; returns whether it did."""
        now = self._clock()
        paid_until = max(self._paid_until, now) + seconds
        if paid_until - now > self._credit:
            return False
        self._paid_until = paid_until
        return True

    @property
    def ahead(self) -> float:
        """Seconds that were spent and not earned yet."""
        return max(0.0, self._paid_until - self._clock())

    @property
    def settled(self) -> bool:
        """Whether all that was spent has been earned."""
        return self.ahead == 0

    async def spend(self, seconds: float) -> None:
        """Spends so many seconds and waits until they are earned."""
        if (wait := self.charge(seconds)) > 0:
            await asyncio.sleep(wait)


@dataclass
class _Address:
    sessions: int
    joins: Pace


class Gate:
    """Counts sessions and connections by address. For the event loop's thread.

    IPv6 is counted per /64, the smallest block a provider assigns to one customer.

    Args:
        sessions: of one address at once; 0: any number.
        joins: connections a second from one address; 0: any number.
        clock: seconds, monotonic.
    """

    def __init__(
        self, sessions: int, joins: float, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._sessions = sessions
        self._joins = joins
        self._clock = clock
        self._addresses: dict[str, _Address] = {}
        self._swept = clock()

    def admit(self, address: str) -> None:
        """Counts a new connection.

        Raises:
            ProtocolError: too_many: the address connects too often.
        """
        if not self._joins:
            return
        joins = self._at(address).joins
        if joins.charge(0) > 0:  # a refused connection costs nothing
            raise protocol_error("too_many", retry_after=1.0)
        joins.charge(1 / self._joins)

    @contextmanager
    def session(self, address: str) -> Iterator[None]:
        """Counts a session while the block runs.

        Raises:
            ProtocolError: too_many: the address has too many sessions.
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

    @property
    def count(self) -> int:
        """Number of sessions, of all addresses."""
        return sum(entry.sessions for entry in self._addresses.values())

    def _at(self, address: str) -> _Address:
        self._sweep()
        name = network(address)
        if name not in self._addresses:
            # Each join costs time; two seconds' worth of joins may come at once.
            self._addresses[name] = _Address(0, Pace(2.0, self._clock))
        return self._addresses[name]

    def _sweep(self) -> None:
        """Forgets addresses without sessions and without recent joins, once a minute."""
        now = self._clock()
        if now - self._swept > 60:
            self._swept = now
            self._addresses = {
                name: entry
                for name, entry in self._addresses.items()
                if entry.sessions or not entry.joins.settled
            }


def network(address: str) -> str:
    """The key that an address is counted under."""
    try:
        found = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return address
    return address if found.version == 4 else str(ipaddress.ip_network((found, 64), strict=False))
