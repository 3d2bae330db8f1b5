"""However and whenever a connection ends, nothing of its session is left.

Each seed is a conversation of its own with the real server on real sockets, killed at another step
of the event loop.
"""

from __future__ import annotations

import asyncio
import json
import random
import struct
from contextlib import suppress

import pytest
from websockets.asyncio.client import connect as raw_connect
from websockets.exceptions import ConnectionClosed, InvalidHandshake, InvalidMessage

from xyt_stream.bench.load_server import no_codec
from xyt_stream.protocol.messages import SUBPROTOCOL
from xyt_stream.server.admission.limits import Limits
from xyt_stream.server.app import running

from .quiet_model import Quiet

ROLES = ("loopback", "encode", "decode", "mic", "speaker", "user", "model")
WAYS = ("abort", "leave", "vanish", "cancel", "fail")


def messages(chance, role):
    """A hello and what follows it."""
    hello = {"type": "hello", "role": role, "resumable": chance.random() < 0.4}
    if role in ("mic", "speaker", "model") or (role == "user" and chance.random() < 0.5):
        hello["room"] = chance.choice("ab")
    yield json.dumps(hello)
    if role == "speaker":
        return
    codes = role in ("decode", "model")
    for seq in range(chance.randrange(30)):
        payload = bytes(10 * chance.randrange(3)) if codes else bytes(2 * chance.randrange(3000))
        yield struct.pack("<BBxxII", 1 + codes, 0, seq, 0) + payload
        if chance.random() < 0.2:
            yield '{"type":"ping","time":1}'
        if role in ("user", "model") and chance.random() < 0.1:
            yield '{"type":"clear"}'
    if chance.random() < 0.3:
        yield '{"type":"end"}'


def events(chance):
    """The same in the Realtime protocol."""
    yield '{"type":"session.update","session":{"type":"realtime"}}'
    for _ in range(chance.randrange(20)):
        yield (
            '{"type":"input_audio_buffer.append","audio":"' + "AAAA" * chance.randrange(900) + '"}'
        )
        if chance.random() < 0.2:
            yield '{"type":"response.create"}'


async def killed(server, seed):
    """One client, whose connection ends at a step and in a way that the seed says."""
    chance = random.Random(seed)
    realtime = chance.random() < 0.2
    way, steps, reads = chance.choice(WAYS), chance.randrange(60), chance.random() < 0.7
    url, subprotocol = server.url, SUBPROTOCOL
    if realtime:
        url, subprotocol = f"{url}/v1/realtime?model=any", "realtime"
    said = events(chance) if realtime else messages(chance, chance.choice(ROLES))
    with suppress(ConnectionClosed, OSError, InvalidHandshake, InvalidMessage, EOFError):
        client = await raw_connect(url, subprotocols=[subprotocol], compression=None)
        port = client.local_address[1]

        async def talk():
            for data in said:
                await client.send(data)
            while reads:
                await client.recv()

        talking = asyncio.create_task(talk())
        try:
            for _ in range(steps):
                await asyncio.sleep(0)
            await end(server, client, port, way)
        finally:
            talking.cancel()
            await asyncio.gather(talking, return_exceptions=True)
            client.transport.abort()


async def end(server, client, port, way):
    """Ends a connection from the client's side, or from the server's."""
    ours = [
        each
        for each in server.service.handshakes._open
        if each.transport is not None and each.remote_address and each.remote_address[1] == port
    ]
    if way == "leave":
        await client.close()
    elif way == "vanish":
        client.transport.close()
    elif way == "abort":
        client.transport.abort()
    elif ours and way == "fail":
        ours[0].transport.abort()
    elif ours:
        for task in asyncio.all_tasks():
            if task.get_coro().__name__ in ("protocol_handler", "_write"):
                local = task.get_coro().cr_frame
                if local is not None and ours[0] in local.f_locals.values():
                    task.cancel()


def held(server):
    """All that is left of sessions."""
    service = server.service
    return {
        "sessions": len(service._sessions),
        "slots": server.engine.slots - server.engine.free_slots,
        "conversations": service.runner._slots - len(service.runner._free),
        "rooms": len(service.rooms._rooms),
        "addresses": sum(each.sessions for each in service.gate._addresses.values()),
        "connections": len(service.handshakes._open),
        "handshakes": len(service.handshakes),
        "relayed": service.relayed.count,
        "bytes": service.memory.used,
        "suspended": sum(each.suspended for each in service._sessions.values()),
    }


@pytest.mark.parametrize(
    "seeds", [200, pytest.param(4000, marks=pytest.mark.slow)], ids=["short", "long"]
)
async def test_a_connection_killed_at_any_step_leaves_nothing(seeds, until):
    limits = Limits(load=0, address_joins=0, address_sessions=0, resume_time=0.2)
    options = {"max_sessions": 16, "duplex": Quiet, "limits": limits}
    async with running(no_codec(), **options) as server:
        for first in range(0, seeds, 8):
            await asyncio.gather(*(killed(server, seed) for seed in range(first, first + 8)))
        with suppress(asyncio.TimeoutError):
            await asyncio.wait_for(until(lambda: not any(held(server).values())), 60)
        assert not any(held(server).values()), held(server)


async def test_a_model_that_leaves_a_room_without_a_user_is_gone(codec, until):
    """Its reader waits for room in the queue, and its writer for something to say."""
    limits = Limits(load=0, keepalive=0)
    async with running(codec, max_sessions=2, limits=limits) as server:
        for count in (8, 64):
            client = await raw_connect(server.url, subprotocols=[SUBPROTOCOL], compression=None)
            await client.send('{"type":"hello","role":"model","room":"a"}')
            await client.recv()
            for seq in range(count):
                await client.send(struct.pack("<BBxxII", 2, 0, seq, 0) + bytes(10))
            client.transport.abort() if count == 8 else client.transport.close()
            with suppress(asyncio.TimeoutError):
                await asyncio.wait_for(until(lambda: not server.service._sessions), 20)
            assert not server.service._sessions
            assert not server.service.rooms._rooms
