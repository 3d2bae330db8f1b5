"""Gathers the parts of a server that its sessions use, and defines the interface of sessions."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Protocol

from xyt_stream.errors import ProtocolError
from xyt_stream.protocol.messages import Delay, Model
from xyt_stream.server.admission.ahead import AheadTurns
from xyt_stream.server.admission.budget import Charge, free
from xyt_stream.server.admission.limits import Gate, Limits
from xyt_stream.server.admission.memory import Memory
from xyt_stream.server.admission.relayed import Relayed
from xyt_stream.server.duplex.runner import DuplexRunner
from xyt_stream.server.engine.slot_engine import CodecShape, SlotEngine
from xyt_stream.server.metrics import Metrics
from xyt_stream.server.sessions.flush import DirectWriter, Flush
from xyt_stream.server.sessions.rooms import Rooms


class AnySession(Protocol):
    """A session of either protocol, as its connection and the service see it.

    All methods are for the event loop's thread.

    Attributes:
        id: for logs and for support.
        key: unique; a client that knows it may resume the session.
        began: seconds of the monotonic clock.
        moving: whether it goes to another server, where its client is to come back.
        sends: whether the client sends media, which take steps; speakers do not.
        closed: set when the session has given everything back.
        failure: done, with the reason, when the session must end.
    """

    id: str
    key: str
    began: float
    moving: bool
    sends: bool
    closed: asyncio.Event
    failure: asyncio.Future[ProtocolError]

    @property
    def suspended(self) -> bool:
        """Whether it waits for a disconnected client."""

    @property
    def queued(self) -> int:
        """Number of messages queued for the client."""

    def attach(
        self, writer: DirectWriter | None = None, charge: Charge = free
    ) -> AbstractContextManager[asyncio.Future[None]]:
        """Serves a connection while the block runs, until the future that it gives is done.

        Args:
            writer: of the connection; None: all that is sent comes from `next`.
            charge: takes the processor time of the session's own tasks meanwhile.
        """

    def receive_now(self, data: str | bytes) -> bool:
        """Takes a message as `receive` does if it can without waiting; returns whether it did.

        Raises:
            ProtocolError: the client breaks the protocol: the session must end.
        """

    async def receive(self, data: str | bytes) -> None:
        """Takes a message of the client's; waits until the next one may be read.

        Raises:
            ProtocolError: the client breaks the protocol: the session must end.
        """

    async def next(self) -> str | bytes | None:
        """Waits for the next message to the client; None: all was sent, so close the connection.

        Call it again once the message is written.

        Raises:
            ProtocolError: the session must end.
        """

    def check(self, now: float) -> None:
        """Ends the session if a time limit has passed; `now` is of the monotonic clock."""

    def drain(self, error: ProtocolError) -> None:
        """Ends the session with `error` once the client was sent what is left."""

    def abort(self, error: ProtocolError) -> None:
        """Ends the session with `error` now."""

    def fail(self, error: ProtocolError) -> list[str]:
        """Closes the session; returns the last messages for the client, `error` among them."""

    def disconnected(self) -> None:
        """The connection was lost: the session is suspended, or closed."""

    def close(self, reason: str) -> None:
        """Gives everything back; `reason` is for the log."""


@dataclass(frozen=True)
class Resources:
    """The parts of a server that its sessions share.

    Attributes:
        engine: steps all streams.
        rooms: connects sessions.
        gate: counts sessions by address.
        relayed: counts sessions that carry codes only.
        limits: of everything.
        memory: counts what waits in sessions.
        ahead: gives Realtime sessions that are ahead of real time turns to be heard.
        flush: writes to connections that are idle.
        metrics: of the server.
        node: name of the server among others.
        model: as `ready` describes it to clients.
        delay: likewise.
        runner: of models in this process; None without one.
        load: returns the share of real time that steps take, see Shedding.
        on_closed: called by each session when it has given everything back, with the reason.
    """

    engine: SlotEngine
    rooms: Rooms
    gate: Gate
    relayed: Relayed
    limits: Limits
    memory: Memory
    ahead: AheadTurns
    flush: Flush
    metrics: Metrics
    node: str
    model: Model
    delay: Delay
    runner: DuplexRunner | None
    load: Callable[[], float]
    on_closed: Callable[[AnySession, str], None]


def model_of(codec: CodecShape) -> Model:
    """Describes a codec to clients."""
    return Model(
        name=codec.name,
        hash=codec.hash,
        codebooks=codec.num_codebooks,
        codebook_size=codec.codebook_size,
        input_rate=codec.input_rate,
        output_rate=codec.output_rate,
        causal=codec.causal,
    )
