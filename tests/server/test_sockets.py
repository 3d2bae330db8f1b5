from __future__ import annotations

import asyncio

import pytest

PING = bytes([0x89, 0xFD]) + bytes(4) + bytes(125)  # masked with zeros


@pytest.mark.usefixtures("neighbour")
async def test_who_pings_and_does_not_read_is_let_go(server, dial):
    reader, writer = await dial(server.port)
    reader._transport.pause_reading()

    async def flood():
        for _ in range(2_000):  # more than the kernel's buffers and the server's together
            writer.write(200 * PING)
            await writer.drain()

    with pytest.raises(ConnectionError):
        await asyncio.wait_for(flood(), 120)
    writer.close()


async def test_who_pings_and_reads_is_answered(server, dial):
    reader, writer = await dial(server.port)
    for _ in range(200):
        writer.write(200 * PING)
        answered = await asyncio.wait_for(reader.readexactly(200 * 127), 120)
    assert answered[:2] == bytes([0x8A, 125])
    writer.close()
