from __future__ import annotations

import asyncio
import gc
import json
from contextlib import suppress
from typing import ClassVar

import pytest

from xyt_stream.protocol.error_table import ERRORS
from xyt_stream.server import acceptor, connection
from xyt_stream.server.admission import sockets
from xyt_stream.server.admission.limits import Limits
from xyt_stream.server.admission.turns import Turns
from xyt_stream.server.app import running

HELLO = b'{"type":"hello","role":"loopback"}'
PING = bytes([0x89, 0x80]) + bytes(4)  # masked with zeros, empty
FRAGMENT = bytes([0x00, 0x80]) + bytes(4)  # empty, and more is to come


def text(message):
    """A masked frame of text; the mask is zeros."""
    return bytes([0x81, 0x80 | len(message)]) + bytes(4) + message


@pytest.fixture
async def server(codec):
    limits = Limits(load=0, resume_time=0.5, client_messages=200, early_share=0.05)
    async with running(codec, max_sessions=4, limits=limits) as server:
        yield server


async def opened(reader):
    """Reads `ready` to its end."""
    await reader.readuntil(b'"resume":null')
    await reader.readuntil(b"}")


async def closed_with(reader):
    """The name in the server's last message and its close code."""
    data = await asyncio.wait_for(reader.read(), 120)
    error = json.loads(data[data.index(b'{"type":"error"') : data.rindex(b"}") + 1])
    closing = data.rindex(b"\x88")
    assert int.from_bytes(data[closing + 2 : closing + 4], "big") == error["code"]
    return error["name"]


async def flood(reader, writer, data, times):
    """Sends it as fast as the server takes it, and reads what the server says meanwhile."""

    async def send():
        for _ in range(times):
            writer.write(data)
            await writer.drain()

    sending = asyncio.create_task(send())
    try:
        return await closed_with(reader)
    finally:
        sending.cancel()
        await asyncio.gather(sending, return_exceptions=True)
        writer.close()


@pytest.mark.usefixtures("neighbour")
@pytest.mark.parametrize("hello", [False, True], ids=["stranger", "client"])
async def test_a_flood_of_pings_is_ended_by_its_name(server, dial, hello):
    reader, writer = await dial(server.port)
    if hello:
        writer.write(text(HELLO))
        await opened(reader)
    assert await flood(reader, writer, 5_000 * PING, 200 if hello else 1) == "too_many_messages"


@pytest.mark.usefixtures("neighbour")
@pytest.mark.parametrize(
    "message",
    [text(b'{"type":"ping","time":1}'), text(b'{"type":"nothing known"}'), FRAGMENT],
    ids=["ping", "unknown", "fragments"],
)
async def test_a_flood_of_messages_is_ended_by_its_name(server, dial, message):
    reader, writer = await dial(server.port)
    writer.write(text(HELLO))
    await opened(reader)
    if message == FRAGMENT:
        writer.write(bytes([0x02, 0x80]) + bytes(4))
        writer.write(1000 * FRAGMENT)
        writer.write(bytes([0x80, 0x80]) + bytes(4))
        assert await closed_with(reader) == "bad_message"
        writer.close()
    else:
        assert await flood(reader, writer, 2_000 * message, 50) == "too_many_messages"


async def test_a_flood_of_bytes_is_ended_by_its_name(codec, dial):
    """Ten seconds' worth of a stranger's bytes is less here than its first message."""
    limits = Limits(load=0, early_share=0.02)
    async with running(codec, max_sessions=1, limits=limits) as server:
        reader, writer = await dial(server.port)
        large = bytes([0x82, 0xFF]) + (250_000).to_bytes(8, "big") + bytes(250_004)
        assert await flood(reader, writer, large, 20) == "too_many_bytes"


@pytest.mark.usefixtures("neighbour")
async def test_work_beyond_the_budget_is_ended_by_its_name(server, dial, until):
    reader, writer = await dial(server.port)
    writer.write(text(HELLO))
    await opened(reader)
    (socket,) = [
        each
        for each in server.service.handshakes._open
        if each.transport
        and not each.exceeded.done()
        and each.remote_address[1] == writer.get_extra_info("sockname")[1]
    ]
    socket.spend_work(6.0)
    assert await closed_with(reader) == "too_much_work"
    writer.close()


async def test_headers_without_end_are_cut_off(server):
    reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
    writer.write(b"GET / HTTP/1.1\r\n" + 200 * (b"X: " + 3000 * b"x" + b"\r\n"))
    with pytest.raises((ConnectionError, asyncio.IncompleteReadError)):
        await asyncio.wait_for(reader.readexactly(1), 120)
    writer.close()


@pytest.mark.usefixtures("neighbour")
async def test_unread_pongs_delay_no_other_client(server, dial, until):
    """The client reads no pong, and its connection ends although it never reads why."""
    before = len(server.service.handshakes._open)
    reader, writer = await dial(server.port)
    reader._transport.pause_reading()

    async def flood():
        for _ in range(2_000):
            writer.write(1_000 * PING)
            await writer.drain()

    with suppress(ConnectionError):  # or all of it was thrown away
        await asyncio.wait_for(flood(), 120)
    await until(lambda: len(server.service.handshakes._open) == before)
    writer.close()


async def test_pings_are_answered(server, dial):
    reader, writer = await dial(server.port)
    for _ in range(20):
        writer.write(4 * PING)
        answered = await asyncio.wait_for(reader.readexactly(4 * 2), 120)
    assert answered[:2] == bytes([0x8A, 0])
    writer.close()


async def test_endless_fragments_end_the_connection(codec, dial):
    limits = Limits(load=0, client_messages=0)
    async with running(codec, max_sessions=1, limits=limits) as server:
        reader, writer = await dial(server.port)
        writer.write(text(HELLO))
        await opened(reader)
        writer.write(bytes([0x02, 0x80]) + bytes(4) + 4_200 * FRAGMENT)
        with pytest.raises((ConnectionError, asyncio.IncompleteReadError)):
            await asyncio.wait_for(reader.readexactly(1), 120)
        writer.close()


async def test_a_fragmented_message_is_read(server, dial):
    reader, writer = await dial(server.port)
    for place, letter in enumerate(HELLO):
        first, last = place == 0, place == len(HELLO) - 1
        writer.write(bytes([0x80 * last | 0x01 * first, 0x81]) + bytes(4) + bytes([letter]))
    assert b'"ready"' in await asyncio.wait_for(reader.readuntil(b"}"), 120)
    writer.close()


async def test_all_that_arrives_at_once_is_read_in_order(server, dial):
    """More frames than the library queues, and one frame in many slices."""
    reader, writer = await dial(server.port)
    writer.write(text(b'{"type":"hello","role":"encode"}'))
    await opened(reader)
    media = b""
    for seq in range(300):
        size = 12 + 2 * (seq % 50)
        header = bytes([1, 0, 0, 0]) + seq.to_bytes(4, "little") + bytes(4)
        media += bytes([0x82, 0x80 | size]) + bytes(4) + header + bytes(size - 12)
    header = bytes([1, 0, 0, 0]) + (300).to_bytes(4, "little") + bytes(4)
    media += bytes([0x82, 0xFE]) + (60_012).to_bytes(2, "big") + bytes(4) + header + bytes(60_000)
    writer.write(media + text(b'{"type":"end"}'))
    data = await asyncio.wait_for(reader.read(), 120)
    assert b'"type":"end"' in data
    samples = sum(seq % 50 for seq in range(300)) + 30_000
    assert f'"frames":{-(-samples // 1280)}'.encode() in data
    writer.close()


def test_every_budget_has_an_error():
    assert {"too_many_messages", "too_many_bytes", "too_much_work", "too_much_memory"} <= set(
        ERRORS
    )


class Charged(Turns):
    """Adds up what its readers take; of a server: for calm ones, floods and newcomers."""

    made: ClassVar[list[Charged]] = []

    def __init__(self, **options):
        super().__init__(**options)
        self.seconds = 0.0
        self.made.append(self)

    def charge(self, seconds):
        self.seconds += seconds
        super().charge(seconds)


@pytest.fixture
async def charged(codec, monkeypatch):
    """A server, and what connections without a session take in it."""
    monkeypatch.setattr(acceptor, "Turns", Charged)
    async with running(codec, max_sessions=4, limits=Limits(load=0)) as server:
        yield server, Charged.made[-1]


@pytest.mark.parametrize("path", ["/", "/metrics", "/nothing", "/handover"])
async def test_a_page_is_charged_to_the_share_of_those_without_a_session(charged, path):
    server, newcomers = charged
    for _ in range(3):
        before = newcomers.seconds
        reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
        writer.write(f"GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
        assert (await asyncio.wait_for(reader.read(), 120)).startswith(b"HTTP/1.1 ")
        writer.close()
        assert newcomers.seconds > before


async def test_a_session_is_charged_until_it_is_open(charged, dial):
    server, newcomers = charged
    reader, writer = await dial(server.port)
    handshake = newcomers.seconds
    writer.write(text(HELLO))
    await opened(reader)
    opening = newcomers.seconds
    assert 0 < handshake < opening
    before = None
    while newcomers.seconds != before:  # a second later it is a session's alone
        before = newcomers.seconds
        await asyncio.sleep(0.02)  # it is no flood
        writer.write(text(b'{"type":"ping","time":1}'))
        await asyncio.wait_for(reader.readuntil(b'"pong"'), 120)
    writer.close()


async def test_a_flood_is_charged_to_the_share_of_floods_from_its_first_second_on(charged, dial):
    server, _ = charged
    floods = Charged.made[-2]
    reader, writer = await dial(server.port)
    writer.write(text(HELLO))
    await opened(reader)
    assert floods.seconds == 0
    writer.write(400 * text(b'{"type":"ping","time":1}'))
    for _ in range(400):
        await asyncio.wait_for(reader.readuntil(b'"pong"'), 120)
    assert floods.seconds > 0
    writer.close()


async def test_a_calm_clients_message_waits_for_no_flood(charged, dial, monkeypatch):
    """Its reading is cut off after the first slice, and floods have minutes to work off."""
    server, _ = charged
    Charged.made[-2].charge(60)
    monkeypatch.setattr(sockets, "_AT_ONCE", 0)
    reader, writer = await dial(server.port)
    writer.write(text(b'{"type":"hello","role":"encode"}'))
    await opened(reader)
    header = bytes([1, 0, 0, 0]) + bytes(8)
    writer.write(bytes([0x82, 0xFE]) + (12 + 2 * 12_800).to_bytes(2, "big") + bytes(4) + header)
    writer.write(bytes(2 * 12_800) + text(b'{"type":"end"}'))
    data = await asyncio.wait_for(reader.read(), 120)
    assert b'"frames":10' in data
    writer.close()


async def test_a_client_that_becomes_a_flood_waits_among_floods(charged, dial, until):
    server, _ = charged
    calm, floods, _ = Charged.made[-3:]
    floods.charge(60)
    reader, writer = await dial(server.port)
    writer.write(text(HELLO))
    await opened(reader)
    writer.write(4_000 * text(b'{"type":"ping","time":1}'))
    await until(lambda: floods.waiting == 1)
    assert calm.waiting == 0
    writer.close()


async def test_others_run_while_all_that_was_kept_is_sent_again():
    """A resumed session may be sent thousands of messages, and its client reads them all."""
    passes, left = 0, 1000

    class Resumed:
        async def next(self):
            nonlocal left
            left -= 1
            return None if left < 0 else b"kept"

    class Reader:
        async def send(self, data):
            """Takes it at once."""

    async def others():
        nonlocal passes
        while True:
            passes += 1
            await asyncio.sleep(0)

    running = asyncio.create_task(others())
    await connection._write(Resumed(), Reader())
    running.cancel()
    assert passes > 20


async def test_those_without_a_session_wait_and_all_get_their_turn(charged):
    server, newcomers = charged
    newcomers.charge(0.3)

    async def page():
        reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
        writer.write(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n")
        try:
            return (await asyncio.wait_for(reader.read(), 120))[:12]
        finally:
            writer.close()

    assert set(await asyncio.gather(*(page() for _ in range(40)))) == {b"HTTP/1.1 200"}


async def _ask_for_a_page(server, dial):
    reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
    writer.write(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n")
    assert b"200" in await reader.read()
    return writer


async def _be_refused(server, dial):
    reader, writer = await dial(server.port)
    writer.write(text(b'{"type":"hello","role":"nobody"}'))
    await closed_with(reader)
    return writer


async def _go_at_once(server, dial):
    return (await dial(server.port))[1]


async def _leave_a_session(server, dial):
    reader, writer = await dial(server.port)
    writer.write(text(HELLO))
    await opened(reader)
    return writer


@pytest.mark.parametrize("end", [_ask_for_a_page, _be_refused, _go_at_once, _leave_a_session])
async def test_a_connection_that_has_ended_holds_nothing_until_garbage_is_collected(
    server, until, dial, end
):
    """Collecting the garbage of many connections stops the event loop for long."""

    def full():
        found = (each for each in gc.get_objects() if type(each) is sockets.Socket)
        return {id(each) for each in found if vars(each)}

    gc.collect()
    gc.disable()
    before = full()  # of earlier tests
    try:
        for _ in range(3):
            (await end(server, dial)).transport.abort()
        await until(lambda: not server.service.handshakes.connections)
        await until(lambda: full() <= before)
    finally:
        gc.enable()
