from __future__ import annotations

import asyncio
import base64
import json

import pytest
from realtime_models import Mute, Stubborn

from xyt_stream.errors import ProtocolError
from xyt_stream.server.admission.limits import Limits
from xyt_stream.server.realtime.input_buffer import MAX_SECONDS
from xyt_stream.server.realtime.session import RealtimeSession


def append(seconds):
    audio = base64.b64encode(bytes(round(seconds * 48_000))).decode()
    return json.dumps({"type": "input_audio_buffer.append", "audio": audio})


@pytest.fixture
def begin():
    def begin(server):
        service = server.service
        return service.admit(lambda: RealtimeSession(service.resources, "here"), "realtime")

    return begin


async def settled(value):
    """Waits until a value has stayed the same for a while: frames follow each other quickly."""
    last, same = value(), 0
    while same < 50:
        await asyncio.sleep(0.01)
        last, same = (last, same + 1) if value() == last else (value(), 0)


async def drained(session, kind):
    async def drain():
        while json.loads(await session.next())["type"] != kind:
            pass

    await asyncio.wait_for(drain(), 120)


async def test_a_client_that_does_not_read_gets_no_more_output(talking, begin, until):
    """And it is heard to its end when it reads on."""
    async with talking(Stubborn, limits=Limits(queue=8)) as server:
        session = begin(server)
        await session.receive(append(5))
        await until(lambda: session.queued >= 8)
        await settled(lambda: server.engine.timings.last_step)
        assert session.queued < 50  # of 63: what was in flight when the queue was full still came

        async def ask():
            for _ in range(100):
                await session.receive('{"type": "session.update", "session": {"type": "realtime"}}')

        asking = asyncio.create_task(ask())
        await settled(lambda: session.queued)
        assert session.queued < 50 + 16  # it is not read either
        assert not asking.done()
        while not asking.done():
            await session.next()
        session.close("left")
        assert server.engine.free_slots == server.engine.slots


async def test_large_events_that_are_not_read_are_bounded(talking, begin):
    async with talking(Stubborn) as server:
        session = begin(server)
        content = [{"type": "input_text", "text": "x" * 120_000}]
        item = {"type": "message", "role": "user", "content": content}
        create = json.dumps({"type": "conversation.item.create", "item": item})

        async def flood():
            for _ in range(100):
                await session.receive(create)

        flooding = asyncio.create_task(flood())
        await settled(lambda: session.queued)
        assert session.queued < 12
        flooding.cancel()
        session.close("left")


def update(turn_detection, form="audio/pcm"):
    audio = {"input": {"turn_detection": turn_detection, "format": {"type": form}}}
    session = {"type": "realtime", "audio": audio}
    return json.dumps({"type": "session.update", "session": session})


@pytest.mark.parametrize("turn_detection", [None, {}])
async def test_sound_that_waits_has_a_limit(talking, begin, turn_detection):
    async with talking(Stubborn, limits=Limits(load=0, ahead=0)) as server:
        session = begin(server)
        await session.receive(update(turn_detection, "audio/pcmu"))
        for _ in range(7):
            await session.receive(append(MAX_SECONDS / 6 / 6))  # bytes of u-law: six times as long
        await drained(session, "error")
        await session.receive('{"type": "input_audio_buffer.clear"}')
        await drained(session, "input_audio_buffer.cleared")
        await session.receive(append(1))
        await session.receive('{"type": "session.update", "session": {"type": "realtime"}}')
        await drained(session, "session.updated")
        session.close("left")


@pytest.mark.parametrize("turn_detection", [None, {}, {"create_response": False}])
async def test_control_never_waits_behind_sound(talking, begin, turn_detection):
    """A tenth of a second may be heard at once, and 24 s are there, in pieces of 20 ms."""
    async with talking(Stubborn, limits=Limits(load=0, ahead=0.1)) as server:
        session = begin(server)
        await session.receive(update(turn_detection))
        for _ in range(1200):
            await session.receive(append(0.02))

        async def ask():
            for message, expected in (
                ({"type": "response.create"}, "response.created"),
                ({"type": "response.cancel"}, "response.done"),
                ({"type": "response.cancel"}, "error"),
                ({"type": "session.update", "session": {"type": "realtime"}}, "session.updated"),
                ({"type": "conversation.item.delete", "item_id": "x"}, "error"),
                ({"type": "input_audio_buffer.commit"}, "input_audio_buffer.committed"),
                ({"type": "input_audio_buffer.clear"}, "input_audio_buffer.cleared"),
            ):
                await session.receive(json.dumps(message))
                await drained(session, expected)

        asking = asyncio.create_task(ask())
        heard = session._feed._fed
        while not asking.done():
            await asyncio.sleep(0.01)
            assert session._feed._fed < heard + 100  # frames, 8 s of the 24
        await asking
        session.close("left")


async def test_every_event_is_refused_or_done(talking, begin):
    """Nothing that a client sends is a fault of the server's."""
    async with talking(Stubborn) as server:
        session = begin(server)
        await drained(session, "session.created")
        for message in (
            "",
            "null",
            b"\x00",
            '{"type": "conversation.item.create", "item": {"type": "message"}}',
            '{"type": "conversation.item.create", "item": {"type": "function_call_output"}}',
            '{"type": "conversation.item.truncate", "item_id": "x", "audio_end_ms": 1}',
            '{"type": "conversation.item.delete", "item_id": "x"}',
            '{"type": "conversation.item.retrieve", "item_id": "x"}',
            '{"type": "input_audio_buffer.commit"}',
            '{"type": "response.cancel"}',
            '{"type": "session.update", "session": {}}',
            append(0.1)[:-5] + '"}',
        ):
            await session.receive(message)
            event = json.loads(await session.next())
            assert event["type"] == "error", message
            assert event["error"]["type"] == "invalid_request_error"
        session.close("left")


async def test_no_room_for_two(talking, begin):
    async with talking(Stubborn, max_sessions=2) as server:
        session = begin(server)
        with pytest.raises(ProtocolError, match="slots are taken"):
            begin(server)
        session.close("left")
        begin(server).close("left")


async def test_a_session_charges_its_connection_what_its_own_tasks_take(talking, begin, until):
    """Turns are looked for in a task of the session's, not in the connection's."""
    async with talking(Mute) as server:
        session, charged = begin(server), []
        with session.attach(charge=charged.append):
            await asyncio.sleep(0)
            before = len(charged)
            await session.receive(append(5))
            await until(lambda: not session._buffer.has_arrivals)
            assert len(charged) - before >= 5 / 0.08
            assert sum(charged) > 0
        session.close("left")
