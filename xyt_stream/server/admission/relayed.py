"""Counts and bounds the sessions that carry codes only, which take no slot of the engine."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from xyt_stream.protocol.error_table import protocol_error

_RETRY = 5.0  # seconds after which a refused client may ask again


class Relayed:
    """The relayed sessions of one server. For the event loop's thread.

    Args:
        limit: of them at once; 0: any number.

    Attributes:
        count: of them now.
    """

    def __init__(self, limit: int) -> None:
        self.count = 0
        self._limit = limit

    @contextmanager
    def session(self) -> Iterator[None]:
        """Counts a session while the block runs.

        Raises:
            ProtocolError: busy: there are too many.
        """
        if self._limit and self.count >= self._limit:
            raise protocol_error(
                "busy",
                f"All {self._limit} places of relayed sessions are taken: try again later.",
                retry_after=_RETRY,
            )
        self.count += 1
        try:
            yield
        finally:
            self.count -= 1
