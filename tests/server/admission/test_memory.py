from __future__ import annotations

import asyncio
import base64
import json
import struct
from contextlib import suppress

import pytest
from websockets.asyncio.client import connect as raw_connect
from websockets.exceptions import ConnectionClosed

from xyt_stream.client import connect
from xyt_stream.errors import ProtocolError
from xyt_stream.protocol.messages import SUBPROTOCOL
from xyt_stream.server.admission.limits import Limits
from xyt_stream.server.admission.memory import Account, Memory
from xyt_stream.server.app import running

from ..quiet_model import Quiet


def test_a_session_is_told_once_that_it_holds_too_much():
    calls = []
    memory = Memory(100, 1000)
    account = Account(memory, lambda: calls.append(account.used))
    account.set("input", 60)
    account.set("output", 40)
    assert calls == []
    account.set("output", 41)
    account.set("output", 90)
    assert calls == [101]
    account.set("input", 0)
    assert memory.used == account.used == 90
    account.close()
    account.close()
    account.set("input", 50)
    assert memory.used == 0


def test_a_server_is_full_before_its_number_is_reached():
    calls = []
    memory = Memory(100, 250)
    accounts = [Account(memory, lambda: calls.append(True)) for _ in range(3)]
    accounts[0].set("input", 100)
    assert not memory.full
    accounts[1].set("input", 51)
    assert memory.full
    accounts[1].close()
    assert not memory.full
    accounts[2].set("input", 100)
    assert not calls
    accounts[0].set("replay", 0)
    accounts[0].set("output", 0)
    Account(memory, lambda: calls.append("late")).set("input", 60)
    assert calls == ["late"]


def test_zero_is_any_number():
    memory = Memory(0, 0)
    Account(memory, pytest.fail).set("input", 1 << 40)
    assert not memory.full


async def last_of(websocket):
    """The name in the last message and the close code."""
    last = ""
    try:
        while True:
            last = await asyncio.wait_for(websocket.recv(), 60)
    except ConnectionClosed as closed:
        return json.loads(last), closed.rcvd.code


async def test_a_session_that_holds_too_much_is_ended_by_its_name(codec, until):
    """Sound sent ahead of real time waits here, and so does unread output."""
    limits = Limits(load=0, session_memory=0.1, resume_time=0)
    async with running(codec, max_sessions=2, limits=limits) as server:
        websocket = await raw_connect(server.url, subprotocols=[SUBPROTOCOL], compression=None)
        await websocket.send('{"type":"hello","role":"mic","room":"a"}')
        await websocket.recv()
        for seq in range(4):
            await websocket.send(struct.pack("<BBxxII", 1, 0, seq, 0) + bytes(200_000))
        error, code = await last_of(websocket)
        assert (error["name"], code) == ("too_much_memory", 4435)
        await until(lambda: server.service.memory.used == 0 and server.engine.free_slots == 2)


@pytest.mark.parametrize(
    "event",
    [
        {"type": "input_audio_buffer.append", "audio": base64.b64encode(bytes(96_000)).decode()},
        {
            "type": "conversation.item.create",
            "item": {
                "type": "message",
                "role": "system",
                "content": [{"type": "input_text", "text": 20_000 * "x"}],
            },
        },
    ],
    ids=["sound", "items"],
)
async def test_a_realtime_session_is_bounded_alike(codec, until, event):
    limits = Limits(load=0, session_memory=0.5)
    async with running(codec, max_sessions=2, duplex=Quiet, limits=limits) as server:
        url = f"{server.url}/v1/realtime?model=any"
        websocket = await raw_connect(url, subprotocols=["realtime"], compression=None)
        reading = asyncio.create_task(last_of(websocket))
        with suppress(ConnectionClosed):
            for _ in range(200):
                await websocket.send(json.dumps(event))
                await asyncio.sleep(0)
        error, code = await reading
        assert (error["error"]["code"], code) == ("too_much_memory", 4435)
        await until(lambda: server.service.memory.used == 0)


async def test_new_sessions_are_refused_before_the_server_is_full(codec):
    limits = Limits(load=0, session_memory=8, server_memory=9)
    async with running(codec, max_sessions=2, limits=limits) as server:
        account = Account(server.service.memory, pytest.fail)
        account.set("input", 1_500_000)
        with pytest.raises(ProtocolError) as caught:
            async with connect(server.url, "encode"):
                pass
        assert caught.value.name == "busy"
        account.close()
        async with connect(server.url, "encode"):
            pass


async def test_what_was_counted_is_given_back(codec, clip, hear, until):
    async with running(codec, max_sessions=2, limits=Limits(load=0)) as server:
        async with connect(server.url, "loopback", receive=("pcm", "codes")) as connection:
            await connection.send_pcm(clip)
            await connection.end()
            await hear(connection)
        await until(lambda: not server.service._sessions)
        assert server.service.memory.used == 0
