"""One client from its hello to its end."""

from __future__ import annotations

import asyncio
import hmac
import logging
import secrets
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import TypeAlias

import msgspec
from websockets.asyncio.server import ServerConnection
from websockets.exceptions import ConnectionClosed

from xyt_stream.audio import FRAME_SECONDS
from xyt_stream.errors import ProtocolError
from xyt_stream.protocol.closing import close
from xyt_stream.protocol.error_table import protocol_error
from xyt_stream.protocol.machine import Codes, Pcm, ServerMachine
from xyt_stream.protocol.messages import (
    SUBPROTOCOL,
    Delay,
    End,
    Hello,
    Model,
    Notice,
    Ping,
    Pong,
    Ready,
)
from xyt_stream.protocol.roles import ROLES
from xyt_stream.server.engine import Engine
from xyt_stream.server.intake import CodesIntake, SoundIntake
from xyt_stream.server.outlet import Outlet
from xyt_stream.server.rooms import Rooms
from xyt_stream.server.voice import Voice

FAREWELL = 2.0  # seconds that a client in error gets to read why

_log = logging.getLogger(__name__)

Intake: TypeAlias = SoundIntake | CodesIntake


@dataclass
class Service:
    """What all sessions share.

    Attributes:
        token: what `hello` must bring; None lets everybody in.
        hello_timeout: seconds that a client has for its hello.
    """

    engine: Engine
    token: str | None = None
    hello_timeout: float = 10.0
    rooms: Rooms = field(init=False)

    def __post_init__(self) -> None:
        self.rooms = Rooms(self.engine)


class Session:
    """One websocket. `run` returns when the session is over and its slot is free."""

    def __init__(self, service: Service, socket: ServerConnection) -> None:
        self._service = service
        self._socket = socket
        self._machine = ServerMachine()

    async def run(self) -> None:
        try:
            await self._converse()
            await close(self._socket)
        except ConnectionClosed:
            pass
        except ProtocolError as error:
            await self._refuse(error)
        except Exception:
            _log.exception("a session failed")
            await self._refuse(protocol_error("internal"))

    async def _converse(self) -> None:
        if self._socket.subprotocol != SUBPROTOCOL:
            raise protocol_error("wrong_subprotocol")
        hello = await self._hello()
        ready = self._answer(hello)
        outlet = Outlet(
            ready.receive,
            ready.receive_rate,
            ready.model.output_rate,
            lossy=hello.role == "speaker",
        )
        with self._intake(ready, outlet) as intake:
            await self._socket.send(self._machine.ready(ready))
            reading = asyncio.create_task(self._read(intake, outlet))
            writing = asyncio.create_task(self._write(outlet))
            try:
                await asyncio.wait({reading, writing}, return_when=asyncio.FIRST_COMPLETED)
            finally:
                for task in (reading, writing):
                    task.cancel()
                ended = await asyncio.gather(reading, writing, return_exceptions=True)
        for error in ended:
            # Both may have failed: what the client did wrong comes before a socket that closed.
            if isinstance(error, Exception):
                raise error

    async def _hello(self) -> Hello:
        try:
            data = await asyncio.wait_for(self._socket.recv(), self._service.hello_timeout)
        except asyncio.TimeoutError:
            raise protocol_error("hello_timeout") from None
        hello = self._machine.receive(data)
        assert isinstance(hello, Hello)
        token = self._service.token
        if token is not None and not hmac.compare_digest(
            token.encode(), (hello.token or "").encode()
        ):
            raise protocol_error("unauthorized")
        if hello.resume is not None:
            raise protocol_error("cannot_resume")
        return hello

    def _answer(self, hello: Hello) -> Ready:
        codec = self._service.engine.codec
        role = ROLES[hello.role]
        encoder_delay, decoder_delay = self._service.engine.delays
        return Ready(
            session=secrets.token_hex(4),
            role=role.name,
            room=hello.room,
            send=role.sends,
            receive=role.default_receive if hello.receive is None else hello.receive,
            send_rate=hello.send_rate or codec.input_rate,
            receive_rate=hello.receive_rate or codec.output_rate,
            frame_ms=FRAME_SECONDS * 1e3,
            delay_ms=Delay(encode=encoder_delay * 1e3, decode=decoder_delay * 1e3),
            model=Model(
                name=codec.name,
                hash=codec.hash,
                codebooks=codec.num_codebooks,
                codebook_size=codec.codebook_size,
                input_rate=codec.input_rate,
                output_rate=codec.output_rate,
                causal=codec.causal,
            ),
        )

    @contextmanager
    def _intake(self, ready: Ready, outlet: Outlet) -> Iterator[Intake | None]:
        """What takes in what the client sends; None for who only hears."""
        engine, rooms, codec = self._service.engine, self._service.rooms, self._service.engine.codec

        def sound(voice: Voice) -> SoundIntake:
            return SoundIntake(voice, ready.send_rate, codec.input_rate, codec.frame_samples_in)

        if ready.role == "speaker":
            assert ready.room is not None
            with rooms.join(ready.room, outlet):
                yield None
        elif ready.role == "mic":
            assert ready.room is not None
            with rooms.speak(ready.room, outlet) as voice:
                yield sound(voice)
        else:
            voice = Voice(engine, outlet, from_codes=ready.send == "codes")
            try:
                if ready.send == "codes":
                    yield CodesIntake(voice, codec.output_rate, codec.frame_samples_out)
                else:
                    yield sound(voice)
            finally:
                voice.close()

    async def _read(self, intake: Intake | None, outlet: Outlet) -> None:
        async for data in self._socket:
            message = self._machine.receive(data)
            if isinstance(message, Ping):
                await self._socket.send(self._machine.control(Pong(time=message.time)))
            elif isinstance(message, End):
                if intake is None:
                    outlet.stop()
                else:
                    await intake.finish()
            elif isinstance(message, Pcm | Codes) and intake is not None:
                await outlet.room()
                await intake.take(message)

    async def _write(self, outlet: Outlet) -> None:
        while True:
            message = await outlet.next()
            if isinstance(message, End):
                break
            if message.gap:
                notice = Notice(name="dropped", message="You read too slowly: sound was left out.")
                await self._socket.send(self._machine.control(notice))
            if isinstance(message, Pcm):
                data = self._machine.pcm(message.frame, message.samples, gap=message.gap)
            else:
                data = self._machine.codes(message.frame, message.codes, gap=message.gap)
            await self._socket.send(data)
        end = msgspec.structs.replace(message, step_ms=self._service.engine.step_ms())
        await self._socket.send(self._machine.end(end))

    async def _refuse(self, error: ProtocolError) -> None:
        # A client that does not read is not waited for; the close frame queues behind the rest.
        with suppress(ConnectionClosed, asyncio.TimeoutError):
            await asyncio.wait_for(self._socket.send(self._machine.error(error)), FAREWELL)
        await close(self._socket, error.close_code, error.name)
