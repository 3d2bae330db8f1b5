"""A live server names the faults of clients that send anything, and goes on."""

from __future__ import annotations

import asyncio
import json
import struct
from contextlib import suppress

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from websockets.asyncio.client import connect as raw_connect
from websockets.exceptions import ConnectionClosed

from xyt_stream.protocol.error_table import BY_CLOSE_CODE, ERRORS
from xyt_stream.protocol.messages import SUBPROTOCOL
from xyt_stream.protocol.roles import ROLES
from xyt_stream.server.admission.limits import Limits
from xyt_stream.server.app import running

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=9),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=9), inner),
    max_leaves=6,
)
HELLO = st.fixed_dictionaries(
    {"type": st.just("hello"), "role": st.sampled_from([*ROLES, "singer"])},
    optional={
        "room": st.sampled_from(["a", "b", "", None]),
        "send": st.sampled_from(["pcm", "codes", "smell"]),
        "model_hash": st.sampled_from(["ab" * 32, "no hash"]),
        "codebooks": st.sampled_from([0, 1, 8, 64, 65]),
        "codebook_size": st.sampled_from([1, 2, 1024, 1 << 16, 1 << 40]),
        "receive": st.lists(st.sampled_from(["pcm", "codes", "smell"]), max_size=2),
        "send_rate": st.sampled_from([8000, 16_000, 44_100, 22_050, -1]),
        "receive_rate": st.sampled_from([16_000, 48_000, 0]),
        "resumable": st.booleans(),
        "resume": st.fixed_dictionaries({"token": st.text(max_size=5)}),
    },
)
CONTROL = st.one_of(
    st.just({"type": "end"}),
    st.builds(lambda time: {"type": "ping", "time": time}, st.floats(allow_nan=False)),
    st.builds(lambda seq: {"type": "ack", "received": seq}, st.integers(-2, 9)),
    st.builds(lambda name, rest: {**rest, "type": name}, st.text(max_size=6), st.just({})),
    JSON,
)
MEDIA = st.builds(
    lambda kind, flags, seq, frame, payload: (
        struct.pack("<BBxxII", kind, flags, seq, frame) + payload
    ),
    st.integers(0, 3),
    st.integers(0, 255),
    st.integers(0, 3),
    st.integers(0, 2**32 - 1),
    st.binary(max_size=64) | st.just(bytes(2560)) | st.just(bytes(20)),
)
SAID = st.one_of(MEDIA, CONTROL.map(json.dumps), st.text(max_size=20), st.binary(max_size=20))
FAIR = {None, 1000, *BY_CLOSE_CODE} - {ERRORS["internal"].close_code}
CONVERSATION = st.tuples(
    st.one_of(HELLO.map(json.dumps), HELLO.map(json.dumps), SAID), st.lists(SAID, max_size=12)
)


async def converse(url, first, rest):
    """Says it all, and gives the code that the server closes with; None if it goes on waiting."""
    websocket = await raw_connect(url, subprotocols=[SUBPROTOCOL], compression=None)
    try:
        for data in (first, *rest):
            await websocket.send(data)
        await websocket.send('{"type":"end"}')
        while True:
            await asyncio.wait_for(websocket.recv(), 0.05)
    except ConnectionClosed as closed:
        return closed.rcvd.code
    except asyncio.TimeoutError:
        return None
    finally:
        with suppress(ConnectionClosed):
            await websocket.close()


@pytest.mark.parametrize("relay", [False, True], ids=["codec", "relay"])
@pytest.mark.parametrize(
    "examples", [40, pytest.param(15_000, marks=pytest.mark.slow)], ids=["short", "long"]
)
async def test_random_messages_do_not_break_a_server(codec, until, examples, relay, caplog):
    """The long run says about 100,000 messages."""
    limits = Limits(address_joins=0, address_sessions=0, resume_time=0.1, load=0)
    async with running(None if relay else codec, max_sessions=4, limits=limits) as server:
        slots = server.engine.free_slots
        loop = asyncio.get_running_loop()

        @settings(
            max_examples=examples,
            derandomize=examples < 100,
            database=None,
            suppress_health_check=list(HealthCheck),
        )
        @given(CONVERSATION)
        def run(conversation):
            first, rest = conversation
            talk = asyncio.run_coroutine_threadsafe(converse(server.url, first, rest), loop)
            assert talk.result(120) in FAIR

        await asyncio.to_thread(run)
        await until(lambda: server.engine.free_slots == slots)
        await until(lambda: not server.service._sessions)
        assert server.service.relayed.count == 0
        assert not server.service.rooms._rooms
    assert not [record for record in caplog.records if record.exc_info]
