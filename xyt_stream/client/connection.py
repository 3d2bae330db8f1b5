"""One session with a server, over as many websockets as it takes."""

from __future__ import annotations

import asyncio
import collections
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager, suppress
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt
from websockets.asyncio.client import ClientConnection
from websockets.exceptions import ConnectionClosed

from xyt_stream.audio import to_int16
from xyt_stream.client.link import failures, open_link, persist, refusal
from xyt_stream.errors import AudioError, ConnectionFailedError, ProtocolError
from xyt_stream.protocol.closing import close
from xyt_stream.protocol.error_table import protocol_error
from xyt_stream.protocol.machine import ClientMachine, Event
from xyt_stream.protocol.messages import (
    MAX_MESSAGE,
    Ack,
    Cleared,
    End,
    Error,
    Hello,
    Notice,
    Ping,
    Ready,
    Resume,
)
from xyt_stream.protocol.outbox import WINDOW, Outbox, Receipts
from xyt_stream.protocol.packing import CodeArray

RESUME_SECONDS = 30.0
KEEPALIVE = 20.0  # seconds

# What goes into one message; longer pieces are sent as several.
_MOST_SAMPLES = MAX_MESSAGE // 4
_MOST_FRAMES = MAX_MESSAGE // 256
_QUEUE = 64  # events that may wait to be iterated over; then the server is held back


@asynccontextmanager
async def connect(
    url: str,
    role: str,
    *,
    room: str | None = None,
    receive: Sequence[str] | None = None,
    send_rate: int | None = None,
    receive_rate: int | None = None,
    voice: str | None = None,
    token: str | None = None,
    resume: float = RESUME_SECONDS,
    keepalive: float | None = KEEPALIVE,
) -> AsyncIterator[Connection]:
    """A session that has begun; leaving the block closes it.

    Args:
        url: ws://host:port or wss://host:port.
        role: "loopback", "encode", "decode", "mic", "speaker", "user" or "model".
        room: to meet the others in; a user may do without, see docs/duplex.md.
        receive: "pcm", "codes" or both; None: what the role is for.
        send_rate, receive_rate: Hz of the sound; None: the codec's own.
        voice: whom a speaker hears in a conversation: "user" or "model"; None: the model.
        token: what the server asks for, if it does.
        resume: seconds to try to take the session up again when its connection is lost; 0: it ends.
        keepalive: seconds between pings, and for the answer to one; None: no pings.

    Raises:
        ConnectionFailedError: the server cannot be reached, or went away.
        ProtocolError: the server refused the session, or cut it off: see its name.
    """
    hello = Hello(
        role=role,
        room=room,
        receive=None if receive is None else tuple(receive),
        send_rate=send_rate,
        receive_rate=receive_rate,
        voice=voice,
        token=token,
        resumable=resume > 0,
    )
    machine = ClientMachine()
    websocket, ready = await open_link(url, hello, machine, keepalive)
    connection = Connection(url, hello, machine, websocket, ready, resume, keepalive)
    try:
        yield connection
    finally:
        await connection.close()


class Connection:
    """Made by `connect`. Iterating gives what the server sends: Pcm, Codes, Notice, Pong, End.

    In a conversation also Clear (drop what has not been played, and say so with `cleared`), and to
    a model Playing and Cleared.

    End is the last; without it iteration ends in ConnectionFailedError or ProtocolError. While a
    lost connection is being replaced, sending waits; a Notice named "interrupted" tells when that
    begins and one named "resumed" when it is over. Nothing is lost and nothing comes twice.

    Attributes:
        ready: what the server said about the session: rates, delays, the model.
    """

    def __init__(
        self,
        url: str,
        hello: Hello,
        machine: ClientMachine,
        websocket: ClientConnection,
        ready: Ready,
        resume: float,
        keepalive: float | None,
    ) -> None:
        self.ready = ready
        self._url = url
        self._hello = hello
        self._machine = machine
        self._websocket = websocket
        self._resume_seconds = resume
        self._keepalive = keepalive
        self._resumable = ready.resume is not None and resume > 0
        self._outbox = Outbox(WINDOW if self._resumable else 0)
        self._receipts = Receipts()
        self._samples_sent = 0
        self._frames_sent = 0
        # Who makes a message sends it before the next is made, and on the websocket of that moment.
        self._sending = asyncio.Lock()
        self._events: collections.deque[Event] = collections.deque()
        self._failure: Exception | None = None
        self._ended = False  # by the server
        self._changed = asyncio.Event()
        self._resending: asyncio.Task[None] | None = None
        self._acknowledging: asyncio.Task[None] | None = None
        self._reader = asyncio.create_task(self._read())

    async def send_pcm(self, samples: npt.NDArray[Any]) -> None:
        """Sound at `ready.send_rate`: int16, or float full scale at +-1, [samples].

        Raises:
            AudioError: samples are NaN, infinite or of another shape.
            ProtocolError: not_allowed, or what the server has cut the session off with.
            ConnectionFailedError: the server went away.
        """
        samples = np.asarray(samples)
        if samples.ndim != 1 or (samples.dtype != np.int16 and samples.dtype.kind != "f"):
            shape = list(samples.shape)
            raise AudioError(f"sound must be int16 or float [samples], not {samples.dtype} {shape}")
        if samples.dtype != np.int16:
            if not np.isfinite(samples).all():
                raise AudioError("the sound holds samples that are not numbers (NaN or infinite)")
            samples = to_int16(samples)
        for start in range(0, len(samples), _MOST_SAMPLES):
            await self._send_media(samples[start : start + _MOST_SAMPLES])

    async def send_codes(self, codes: CodeArray) -> None:
        """Codes, int64 [codebooks, frames]; a model's that come when its user has ended go nowhere.

        Raises:
            CodeError: they are not this codec's.
            ProtocolError, ConnectionFailedError: as `send_pcm`.
        """
        with self._unless_over():
            for start in range(0, codes.shape[-1], _MOST_FRAMES):
                await self._send_media(codes[..., start : start + _MOST_FRAMES], codes=True)

    async def clear(self) -> None:
        """In a conversation: what the model has said and the user has not heard is dropped.

        Lost if the connection is; a Cleared tells the model what became of it.
        """
        with self._unless_over():
            self._check()
            await self._try_to_send(self._websocket, self._machine.clear())

    async def cleared(self, unplayed: int) -> None:
        """Answers a Clear: so many samples, at `ready.receive_rate`, were dropped unheard."""
        with self._unless_over():
            self._check()
            answer = self._machine.control(Cleared(unplayed=unplayed))
            await self._try_to_send(self._websocket, answer)

    async def ping(self, time: float) -> None:
        """Asks for a Pong with the same time; it is lost if the connection is."""
        self._check()
        await self._try_to_send(self._websocket, self._machine.control(Ping(time=time)))

    async def end(self) -> None:
        """Nothing more will be sent; what is on its way still comes, and then End."""
        with self._unless_over():
            async with self._sending:
                self._check()
                websocket, data = self._websocket, self._machine.end()
                with suppress(ConnectionClosed):
                    await websocket.send(data)
                    return
            await self._replaced(websocket)

    async def close(self) -> None:
        """Ends the session at once, as leaving the block does."""
        tasks = [self._reader, self._resending, self._acknowledging]
        running = [task for task in tasks if task is not None]
        for task in running:
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)
        await close(self._websocket)

    def __aiter__(self) -> AsyncIterator[Event]:
        return self._iterate()

    async def _iterate(self) -> AsyncIterator[Event]:
        while True:
            while not self._events:
                self._check()
                await self._change()
            event = self._events.popleft()
            self._tell()
            yield event
            if isinstance(event, End):
                return

    async def _send_media(self, media: npt.NDArray[Any], *, codes: bool = False) -> None:
        await self._room()
        async with self._sending:
            self._check()
            websocket = self._websocket
            if codes:
                data = self._machine.codes(self._frames_sent, media)
                self._frames_sent += media.shape[-1]
            else:
                frame = self._samples_sent // self.ready.frame_samples
                data = self._machine.pcm(frame, media)
                self._samples_sent += len(media)
            self._outbox.add(data)
            with suppress(ConnectionClosed):
                await websocket.send(data)
                return
        await self._replaced(websocket)  # by then it has been sent again

    @contextmanager
    def _unless_over(self) -> Iterator[None]:
        """A model's user may end at any time: what the model still sends then is no fault."""
        try:
            yield
        except ProtocolError:
            if not self._ended or self._machine.sending_over:
                raise

    async def _room(self) -> None:
        """Waits until the server has acknowledged enough."""
        while self._outbox.full:
            self._check()
            await self._change()

    async def _replaced(self, websocket: ClientConnection) -> None:
        """Waits for another websocket, or for what there is to say instead."""
        while self._websocket is websocket:
            self._check()
            await self._change()

    def _check(self) -> None:
        if self._failure is not None:
            raise self._failure

    async def _change(self) -> None:
        self._changed.clear()
        await self._changed.wait()

    def _tell(self) -> None:
        self._changed.set()

    def _put(self, event: Event) -> None:
        self._events.append(event)
        self._tell()

    async def _read(self) -> None:
        """Reads until the end, over as many websockets as it takes."""
        try:
            while not await self._read_on(self._websocket):
                await self._resume()
        except Exception as error:  # whatever it is, those who wait for us must hear of it
            self._failure = error
            self._tell()

    async def _read_on(self, websocket: ClientConnection) -> bool:
        """Whether the session has ended; if not, the websocket was lost."""
        machine = self._machine
        while True:
            while len(self._events) >= _QUEUE:
                await self._change()
            try:
                with failures():
                    data = await websocket.recv()
            except ConnectionFailedError:
                if not self._resumable:
                    raise
                return False
            event = machine.receive(data)
            if isinstance(event, Error):
                raise refusal(event)
            if isinstance(event, Ack):
                self._outbox.acknowledged(event.received)
                self._tell()
            elif event is not None:
                self._put(event)
            if isinstance(event, End):
                self._ended = True
                self._failure = protocol_error("not_allowed", "The session has ended already.")
                return True
            if isinstance(data, bytes) and self._resumable:
                self._receipts.took(len(data))
                self._acknowledge(websocket)

    async def _resume(self) -> None:
        """Takes the session up again on another websocket.

        Raises:
            ConnectionFailedError: the server was not reached in time.
            ProtocolError: it does not have the session any more.
        """
        self._put(Notice(name="interrupted", message="The connection was lost: trying again."))
        await self._sending.acquire()
        try:
            self._machine.interrupted()
            websocket, ready = await persist(self._link, self._resume_seconds)
        except BaseException:
            self._sending.release()
            raise
        assert ready.resume is not None
        self._outbox.acknowledged(ready.resume.received)
        again: list[bytes | str] = [*self._outbox.unsent()]
        if self._machine.sending_over and not ready.resume.ended:
            again.append(self._machine.control(End()))
        self._websocket = websocket
        # Reading goes on meanwhile: a server that is full takes nothing before something is read.
        self._resending = asyncio.create_task(self._resend(websocket, again))
        self._put(Notice(name="resumed", message="The connection is back: nothing was lost."))

    async def _resend(self, websocket: ClientConnection, again: list[bytes | str]) -> None:
        """Sends what the server has not got; the lock on sending is ours until then."""
        try:
            with suppress(ConnectionClosed):  # it is `_read_on` that notices
                for data in again:
                    await websocket.send(data)
        finally:
            self._sending.release()

    def _acknowledge(self, websocket: ClientConnection) -> None:
        """Tells the server what has come, without waiting: it may be full, see `_resume`."""
        busy = self._acknowledging is not None and not self._acknowledging.done()
        received = self._machine.received
        if self._receipts.due and not busy and received is not None:
            self._receipts.said()
            ack = self._machine.control(Ack(received=received))
            self._acknowledging = asyncio.create_task(self._try_to_send(websocket, ack))

    @staticmethod
    async def _try_to_send(websocket: ClientConnection, data: str) -> None:
        with suppress(ConnectionClosed):
            await websocket.send(data)

    async def _link(self) -> tuple[ClientConnection, Ready]:
        assert self.ready.resume is not None
        resume = Resume(token=self.ready.resume.token, received=self._machine.received)
        hello = msgspec.structs.replace(self._hello, resume=resume)
        return await open_link(self._url, hello, self._machine, self._keepalive)
