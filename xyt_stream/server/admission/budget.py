"""Bounds what one connection may send and have computed, from its first byte on."""

from __future__ import annotations

import time
import types
from collections.abc import Awaitable, Callable, Generator
from typing import Any, Literal, TypeAlias, TypeVar

from xyt_stream.protocol.error_table import protocol_error
from xyt_stream.server.admission.limits import Limits

BURST = 10.0  # seconds' worth of a budget that may be spent at once
EASY = 0.2  # share of a budget that a client spends who is no flood
CALM = 1.0  # seconds' worth of that share that such a client may be ahead

Kind: TypeAlias = Literal["messages", "bytes", "work"]

_ERRORS: dict[Kind, str] = {
    "messages": "too_many_messages",
    "bytes": "too_many_bytes",
    "work": "too_much_work",
}

_T = TypeVar("_T")

Charge: TypeAlias = "Callable[[float], None]"  # takes seconds of processor time


class Budget:
    """Limits how much one connection may still spend. For the event loop's thread.

    Until `accept` it is a small share: a stranger needs one hello only.

    Args:
        limits: of messages, bytes and processor time per second.
        clock: seconds, monotonic.
    """

    def __init__(self, limits: Limits, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._rates: dict[Kind, float] = {
            "messages": limits.client_messages,
            "bytes": limits.client_bytes,
            "work": limits.client_work,
        }
        self._paid: dict[Kind, float] = {}
        self._easy: dict[Kind, float] = {}
        self._easy_until = 0.0
        share = limits.early_share
        # Work follows from messages and bytes, so before the hello these two suffice.
        early: dict[Kind, float] = {
            "messages": self._rates["messages"] * share,
            "bytes": self._rates["bytes"] * share,
            "work": self._rates["work"],
        }
        self._set(early)

    def accept(self) -> None:
        """Grants the whole budget: the client's token, if one is needed, was accepted."""
        self._set(self._rates)

    def spend(self, kind: Kind, amount: float) -> None:
        """Spends so many messages, bytes or seconds of processor time.

        Raises:
            ProtocolError: too_many_messages, too_many_bytes or too_much_work.
        """
        self._spend(kind, amount, self._clock())

    def spend_message(self, size: int, work: float) -> None:
        """Spends a message of `size` bytes and the seconds of processor time that it took.

        Raises:
            ProtocolError: see `spend`.
        """
        now = self._clock()
        self._spend("messages", 1, now)
        self._spend("bytes", size, now)
        self._spend("work", work, now)

    @property
    def calm(self) -> bool:
        """Whether the client spends no more than a part of each budget, but for a little.

        A client that spends a whole budget, and no more, is not closed: a few of them would still
        keep the event loop busy.
        """
        return self._easy_until - self._clock() < CALM

    def _spend(self, kind: Kind, amount: float, now: float) -> None:
        rate = self._rates_now[kind]
        if not rate:
            return
        seconds = amount / rate
        self._paid[kind] = paid = max(self._paid[kind], now) + seconds
        easy = max(self._easy[kind], now) + seconds / EASY
        self._easy[kind] = easy = min(easy, now + BURST)  # a flood that is over is soon forgotten
        if easy > self._easy_until:
            self._easy_until = easy
        if paid - now > BURST:
            raise protocol_error(_ERRORS[kind])

    def _set(self, rates: dict[Kind, float]) -> None:
        self._rates_now = rates
        self._easy_until = now = self._clock()
        self._paid = dict.fromkeys(rates, now)  # times until which they are paid
        self._easy = dict.fromkeys(rates, now)  # the same, of an easy client's share


def free(seconds: float) -> None:
    """Charges no connection, as for work that is done while none is attached."""


async def metered(work: Awaitable[_T], charge: Charge) -> _T:
    """Awaits `work` and charges the seconds of processor time that each of its steps takes."""
    return await _metered(work, charge)


@types.coroutine
def _metered(work: Awaitable[_T], charge: Charge) -> Generator[Any, Any, _T]:
    steps: Any = work.__await__()
    thrown: BaseException | None = None
    while True:
        began = time.thread_time()
        try:
            waits_for = next(steps) if thrown is None else steps.throw(thrown)
        except StopIteration as done:
            result: _T = done.value
            return result
        finally:
            charge(time.thread_time() - began)
        thrown = None
        try:
            yield waits_for
        except BaseException as error:
            thrown = error
