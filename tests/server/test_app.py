"""Bad clients and faults on real sockets; a neighbour's session must not change."""

from __future__ import annotations

import asyncio
import json
import socket
import struct

import pytest
from websockets.asyncio.client import ClientConnection
from websockets.asyncio.client import connect as raw_connect
from websockets.exceptions import ConnectionClosed

from xyt_stream.client import connect
from xyt_stream.errors import ConnectionFailedError, ServeError
from xyt_stream.protocol.error_table import ERRORS
from xyt_stream.protocol.messages import SUBPROTOCOL
from xyt_stream.server.admission.limits import Limits
from xyt_stream.server.app import running
from xyt_stream.server.engine.engine import Engine

HELLO = '{"type":"hello","role":"loopback"}'
DECODE = '{"type":"hello","role":"decode"}'


def media(kind: int, payload: bytes, seq: int = 0) -> bytes:
    return struct.pack("<BBxxII", kind, 0, seq, 0) + payload


async def refusal(url: str, *sent: str | bytes, subprotocol: str | None = SUBPROTOCOL) -> str:
    """The name of the error that the server answers with, after checking all it says about it."""
    websocket = await raw_connect(
        url, subprotocols=None if subprotocol is None else [subprotocol], compression=None
    )
    error = None
    try:
        for data in sent:
            await websocket.send(data)
        while True:
            message = json.loads(await asyncio.wait_for(websocket.recv(), 120))
            if message["type"] == "error":
                error = message
    except ConnectionClosed as closed:
        code = closed.rcvd.code
    if error is None:
        return next(row.name for row in ERRORS.values() if row.close_code == code)
    assert error["code"] == code == ERRORS[error["name"]].close_code
    assert error["message"]
    return error["name"]


async def exhaust(websocket: ClientConnection) -> None:
    while True:
        await asyncio.wait_for(websocket.recv(), 120)


@pytest.mark.parametrize(
    ("name", "sent"),
    [
        ("unknown_role", ['{"type":"hello","role":"singer"}']),
        ("bad_message", ["hello?"]),
        ("bad_message", [b"\1"]),
        ("bad_message", [HELLO, "{"]),
        ("hello_expected", [media(1, b"\0\0")]),
        ("hello_expected", ['{"type":"end"}']),
        ("unsupported_format", ['{"type":"hello","role":"loopback","send_rate":22050}']),
        ("cannot_resume", ['{"type":"hello","role":"loopback","resume":{"token":"x"}}']),
        ("bad_audio", [HELLO, media(1, b"\0\0\0")]),
        ("bad_codes", [DECODE, media(2, bytes(9))]),
        ("not_allowed", [HELLO, media(2, bytes(10))]),
        ("not_allowed", [HELLO, HELLO]),
        ("not_allowed", [HELLO, '{"type":"end"}', media(1, b"\0\0")]),
        ("bad_sequence", [HELLO, media(1, b"\0\0"), media(1, b"\0\0", seq=2)]),
        ("too_large", [HELLO, bytes(100_000_000)]),
        ("too_large", [bytes(100_000_000)]),
    ],
)
@pytest.mark.usefixtures("neighbour")
async def test_bad_messages_get_their_error(server, name, sent):
    assert await refusal(server.url, *sent) == name


@pytest.mark.parametrize("subprotocol", [None, "xyt.v0"])
@pytest.mark.usefixtures("neighbour")
async def test_a_wrong_subprotocol_gets_its_error(server, subprotocol):
    assert await refusal(server.url, HELLO, subprotocol=subprotocol) == "wrong_subprotocol"


async def test_a_client_without_a_hello_is_refused(codec):
    async with running(codec, max_sessions=1, limits=Limits(hello_time=1.0)) as server:
        assert await refusal(server.url) == "hello_timeout"


@pytest.mark.usefixtures("neighbour")
async def test_clients_that_vanish_leave_nothing_behind(server, clip, until):
    """Connections cut without a word, at every stage of a session."""
    for round_ in range(30):
        websocket = await raw_connect(server.url, subprotocols=[SUBPROTOCOL])
        stages = [HELLO, media(1, clip[:5000].tobytes()), '{"type":"end"}']
        for data in stages[: round_ % 4]:
            await websocket.send(data)
        if round_ % 4 and round_ % 8 < 4:
            await websocket.recv()
        websocket.transport.abort()
        await until(lambda: server.engine.free_slots >= 2)
    await until(lambda: server.engine.free_slots == server.engine.slots - 1)


@pytest.mark.usefixtures("neighbour")
async def test_other_protocols_on_the_port_do_no_harm(server, capfd):
    for junk in (b"", b"GET / HTTP/1.1\r\n\r\n", b"\x16\x03\x01junk", bytes(100_000)):
        with socket.create_connection(("127.0.0.1", server.port)) as stranger:
            stranger.sendall(junk)
    reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
    writer.write(b"GET /nothing HTTP/1.1\r\nHost: x\r\n\r\n")
    assert (await reader.readline()).startswith(b"HTTP/1.1 4")
    writer.close()
    assert capfd.readouterr().err == ""


async def test_a_port_in_use_is_an_error_before_the_model_is_used(server):
    with pytest.raises(ServeError, match=f"port {server.port} is in use"):
        async with running(None, port=server.port, max_sessions=1):
            pass


async def test_clients_wait_while_the_model_warms_up(codec, monkeypatch):
    """Its connection is there, and is answered once the server is ready."""
    early = []
    warm_up = Engine.warm_up

    def slowly(engine):
        early.append(socket.create_connection(("127.0.0.1", port), 5))
        early[0].sendall(b"GET /readyz HTTP/1.1\r\nHost: x\r\n\r\n")
        warm_up(engine)
        early[0].setblocking(False)
        with pytest.raises(BlockingIOError):
            early[0].recv(1)

    monkeypatch.setattr(Engine, "warm_up", slowly)
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    async with running(codec, port=port, max_sessions=1):
        reader, writer = await asyncio.open_connection(sock=early[0])
        assert await asyncio.wait_for(reader.readline(), 120) == b"HTTP/1.1 200 OK\r\n"
        writer.close()


async def test_a_failed_start_frees_the_port(codec):
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    with pytest.raises(ServeError, match="somewhere"):
        async with running(codec, port=port, proxies=["somewhere"]):
            pass
    async with running(codec, port=port, max_sessions=1) as server:
        assert server.port == port


async def test_a_foreign_address_is_an_error(codec):
    with pytest.raises(ServeError, match=r"cannot listen on 192\.0\.2\.1"):
        async with running(codec, host="192.0.2.1", max_sessions=1, public=True):
            pass


async def test_shutdown_reaches_all_clients(codec, clip):
    async with running(codec, max_sessions=2) as server:
        websocket = await raw_connect(server.url, subprotocols=[SUBPROTOCOL])
        await websocket.send(HELLO)
        await websocket.recv()
        await websocket.send(media(1, clip.tobytes()))
    with pytest.raises(ConnectionClosed) as caught:
        await exhaust(websocket)
    assert caught.value.rcvd.code == 1012
    with pytest.raises(ConnectionFailedError, match="cannot reach a server"):
        async with connect(server.url, "loopback"):
            pass
