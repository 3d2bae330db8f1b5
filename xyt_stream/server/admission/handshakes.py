"""Bounds the connections without a session, so that silent ones do not keep other clients out."""

from __future__ import annotations

import collections
from collections.abc import Callable
from dataclasses import dataclass

from xyt_stream.server.admission.limits import network
from xyt_stream.server.admission.proxies import Proxies

RESERVE = 24  # descriptors for all else: files, threads, the pages' clients
_OWN = 40  # descriptors that a server holds without any client


@dataclass(frozen=True)
class _Waiting:
    """A connection without a session.

    Attributes:
        address: that it counts for; None: it comes from a proxy.
        drop: closes it at once.
        taken: called when a session takes it.
    """

    address: str | None
    drop: Callable[[], None]
    taken: Callable[[], None]


class Handshakes:
    """Connections from their first byte until a session takes them. For the event loop's thread.

    Args:
        per_address: of one address at once; 0: any number.
        proxies: whose connections come from many clients, and do not count for one address.
        most: connections in all; None: as many as there are descriptors, less a reserve.
    """

    def __init__(
        self, per_address: int, proxies: Proxies | None = None, most: int | None = None
    ) -> None:
        self._proxies = proxies or Proxies()
        self._most = _descriptors() if most is None else most
        # Some descriptors are left to other addresses, however few there are.
        self._per_address = min(per_address, max(1, self._most // 2))
        self._open: set[object] = set()  # connections in all
        self._waiting: dict[object, _Waiting] = {}  # oldest first
        self._of: collections.Counter[str] = collections.Counter()

    def enter(
        self,
        key: object,
        peer: str,
        drop: Callable[[], None],
        taken: Callable[[], None] = lambda: None,
    ) -> bool:
        """Counts a new connection; False: its address has too many, so close it.

        If there are too many in all, the oldest without a session is dropped.

        Args:
            key: of the connection.
            peer: address that it comes from.
            drop: closes the connection at once.
            taken: called when a session takes it.
        """
        address = None if self._proxies.trusts(peer) else network(peer)
        if address is not None and 0 < self._per_address <= self._of[address]:
            return False
        if len(self._open) >= self._most and self._waiting:
            oldest = next(iter(self._waiting))
            drop_oldest = self._waiting[oldest].drop
            self.leave(oldest)
            drop_oldest()
        elif len(self._open) >= self._most:
            return False
        self._open.add(key)
        self._waiting[key] = _Waiting(address, drop, taken)
        if address is not None:
            self._of[address] += 1
        return True

    def accept(self, key: object) -> None:
        """A session has taken the connection: it no longer counts for its address."""
        if (waiting := self._end_wait(key)) is not None:
            waiting.taken()

    def leave(self, key: object) -> None:
        """The connection is over."""
        self._end_wait(key)
        self._open.discard(key)

    def _end_wait(self, key: object) -> _Waiting | None:
        waiting = self._waiting.pop(key, None)
        if waiting is not None and (address := waiting.address) is not None:
            self._of[address] -= 1
            if not self._of[address]:
                del self._of[address]
        return waiting

    @property
    def connections(self) -> int:
        """Number of connections, those of sessions included."""
        return len(self._open)

    def __len__(self) -> int:
        """Number of connections that wait for a session."""
        return len(self._waiting)


def _descriptors() -> int:
    """Connections for which this process has descriptors, after a reserve."""
    try:
        import resource
    except ModuleNotFoundError:  # not on every platform
        return 1 << 20
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return 1 << 20 if soft == resource.RLIM_INFINITY else max(8, soft - _OWN - RESERVE)
