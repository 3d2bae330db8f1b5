from __future__ import annotations

import asyncio

import pytest

HELLO = b'{"type":"hello","role":"loopback"}'
PING = bytes([0x89, 0xFD]) + bytes(4) + bytes(125)  # masked with zeros


async def cut_off(writer, data, times):
    """The server ends the connection before all of it is sent."""

    async def flood():
        for _ in range(times):
            writer.write(data)
            await writer.drain()

    with pytest.raises(ConnectionError):
        await asyncio.wait_for(flood(), 120)
    writer.close()


@pytest.mark.usefixtures("neighbour")
async def test_unread_pongs_end_the_connection(server, dial):
    reader, writer = await dial(server.port)
    reader._transport.pause_reading()

    # More than the kernel's buffers and the server's together.
    await cut_off(writer, 200 * PING, 2_000)


async def test_pings_are_answered(server, dial):
    reader, writer = await dial(server.port)
    for _ in range(200):
        writer.write(200 * PING)
        answered = await asyncio.wait_for(reader.readexactly(200 * 127), 120)
    assert answered[:2] == bytes([0x8A, 125])
    writer.close()


@pytest.mark.usefixtures("neighbour")
async def test_endless_fragments_end_the_connection(server, dial):
    _, writer = await dial(server.port)
    writer.write(bytes([0x02, 0x80]) + bytes(4))  # binary, empty, and more is to come
    await cut_off(writer, 100 * (bytes([0x00, 0x80]) + bytes(4)), 10_000)


async def test_a_fragmented_message_is_read(server, dial):
    reader, writer = await dial(server.port)
    for place, letter in enumerate(HELLO):
        first, last = place == 0, place == len(HELLO) - 1
        writer.write(bytes([0x80 * last | 0x01 * first, 0x81]) + bytes(4) + bytes([letter]))
    assert b'"ready"' in await asyncio.wait_for(reader.readuntil(b"}"), 120)
    writer.close()
