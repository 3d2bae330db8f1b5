"""Passes one stream on to any number of listeners that come and go.

A listener takes 20 microseconds for a frame's sound, and the first at its rate, which has it
resampled for all of them, a third of a millisecond. So many listeners get a frame in turns of a
millisecond, and others run in between.
"""

from __future__ import annotations

import asyncio
import collections
import dataclasses
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Protocol, TypeAlias

from xyt_stream.audio import Samples
from xyt_stream.protocol.packing import CodeArray
from xyt_stream.protocol.signal import Signal
from xyt_stream.server.engine.shared_resampler import SharedResamplers
from xyt_stream.server.engine.slot_stream import DecodedFrame, Length, Listener

_TURN = 0.001  # seconds of the event loop after which other work comes first
_FEW = 4  # listeners that need no turns
_WAITING = 32  # calls that may wait for a turn


class InterruptibleListener(Listener, Protocol):
    """Receives a stream that can be silent, and interrupted."""

    def on_silence(self, index: int) -> None:
        """Takes a frame without codes, in which its sender is silent."""

    def on_interruption(self) -> None:
        """Drops what was received and not played yet."""


_Call: TypeAlias = Callable[[InterruptibleListener], None]


class Fanout:
    """A listener that passes everything on to other listeners. For the event loop's thread.

    Args:
        listeners: present from the beginning.
        on_change: called when a listener has joined or left.
        on_over: called when the stream has ended or failed.
        clock: seconds, monotonic.
    """

    def __init__(
        self,
        *listeners: InterruptibleListener,
        on_change: Callable[[], None] = lambda: None,
        on_over: Callable[[], None] = lambda: None,
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        self._clock = clock
        self._listeners = set(listeners)
        # Calls that wait, each with the listeners that it has not reached yet.
        self._calls: collections.deque[tuple[_Call, Iterator[InterruptibleListener]]]
        self._calls = collections.deque()
        self._scheduled = False  # whether `_run` is about to run
        self._emptied = Signal()  # notified when no call waits any more
        self._resamplers = SharedResamplers()
        self._on_change = on_change
        self._on_over = on_over

    @contextmanager
    def join(self, listener: InterruptibleListener) -> Iterator[None]:
        """Passes the stream on to `listener` while the block runs.

        Raises:
            ProtocolError: busy: it wants sound, and no slot is free to decode.
        """
        self._listeners.add(listener)
        try:
            self._on_change()
            yield
        finally:
            self._listeners.remove(listener)
            self._on_change()

    @property
    def wants_sound(self) -> bool:
        """Whether any listener wants sound."""
        return any(listener.wants_sound for listener in self._listeners)

    def on_codes(self, index: int, codes: CodeArray) -> None:
        """Passes codes on; see Listener."""
        self._pass_on(lambda listener: listener.on_codes(index, codes))

    def on_silence(self, index: int) -> None:
        """Passes a silent frame on; see InterruptibleListener."""
        self._pass_on(lambda listener: listener.on_silence(index))

    def on_audio(self, frame: DecodedFrame) -> None:
        """Passes sound on; see Listener."""
        shared = dataclasses.replace(frame, resamplers=self._resamplers)
        self._pass_on(lambda listener: listener.on_audio(shared))

    def skip(self, index: int, frames: int) -> None:
        """Passes on that frames were left out; see Listener."""
        self._pass_on(lambda listener: listener.skip(index, frames))

    def on_end(self, tail: Samples, length: Length) -> None:
        """Passes the end on; see Listener."""
        self._over()
        self._pass_on(lambda listener: listener.on_end(tail, length))

    def on_interruption(self) -> None:
        """Passes an interruption on; see InterruptibleListener."""
        self._pass_on(lambda listener: listener.on_interruption())

    def on_error(self) -> None:
        """Passes a failure on; see Listener."""
        self._over()
        self._pass_on(lambda listener: listener.on_error())

    async def settled(self) -> None:
        """Waits until all listeners have what came so far."""
        await self._emptied.wait_for(lambda: not self._calls)

    def _over(self) -> None:
        """The stream is over; another one may follow, whose frames go on with nothing of it."""
        self._resamplers = SharedResamplers()
        self._on_over()

    def _pass_on(self, call: _Call) -> None:
        """Calls all listeners of now, in their turn behind what waits."""
        self._calls.append((call, iter(tuple(self._listeners))))
        if not self._scheduled or len(self._calls) > _WAITING:
            self._take_turn()

    def _run(self) -> None:
        self._scheduled = False
        self._take_turn()

    def _take_turn(self) -> None:
        """Calls listeners for a while; the rest is called in later passes of the event loop."""
        end = self._clock() + _TURN
        try:
            while self._calls and (self._at_once or self._clock() < end):
                call, listeners = self._calls[0]
                listener = next(listeners, None)
                if listener is None:
                    self._calls.popleft()
                elif listener in self._listeners:  # it may have left meanwhile
                    call(listener)
        finally:
            if not self._calls:
                self._emptied.notify()
            elif not self._scheduled:
                self._scheduled = True
                asyncio.get_running_loop().call_soon(self._run)

    @property
    def _at_once(self) -> bool:
        """Whether all that waits is passed on at once, or too much waits for turns."""
        return len(self._listeners) <= _FEW or len(self._calls) > _WAITING
