from __future__ import annotations

import asyncio
import base64
import json

import pytest
from realtime_models import Stubborn

from xyt_stream.errors import ProtocolError
from xyt_stream.server.admission.limits import Limits
from xyt_stream.server.realtime.input_buffer import MAX_QUEUED, MAX_SECONDS
from xyt_stream.server.realtime.session import RealtimeSession


def append(seconds):
    audio = base64.b64encode(bytes(round(seconds * 48_000))).decode()
    return json.dumps({"type": "input_audio_buffer.append", "audio": audio})


@pytest.fixture
def begin():
    def begin(server):
        service = server.service
        detector = service.detectors.take()
        return service.admit(
            lambda: RealtimeSession(service.resources, "here", detector), "realtime"
        )

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
        reading = asyncio.create_task(session.receive(append(0.1)))
        await settled(lambda: server.engine.timings.last_step)
        most = session.queued
        assert most < 50  # of 63: what was in flight when the queue was full still came
        assert not reading.done()  # it is not read either
        await drained(session, "response.output_audio.delta")
        while not reading.done():
            await session.next()
        session.close("left")
        assert server.engine.free_slots == server.engine.slots


async def test_uncommitted_sound_is_limited(talking, begin):
    async with talking(Stubborn) as server:
        session = begin(server)
        audio = {"input": {"turn_detection": None, "format": {"type": "audio/pcmu"}}}
        settings = {"type": "realtime", "audio": audio}
        await session.receive(json.dumps({"type": "session.update", "session": settings}))
        for _ in range(6):
            await session.receive(append(MAX_SECONDS / 6 / 6))  # bytes of u-law: six times as long
        await session.receive(append(1))
        await drained(session, "error")
        await session.receive('{"type": "input_audio_buffer.clear"}')
        await drained(session, "input_audio_buffer.cleared")
        await session.receive(append(1))
        assert session.queued == 0
        session.close("left")


async def test_events_queued_behind_sound_are_limited(talking, begin, until):
    """A second of sound may be heard at once, ten are there: what comes behind has a limit."""
    async with talking(Stubborn, limits=Limits(load=0, ahead=1.0)) as server:
        session = begin(server)
        await session.receive(append(10))

        async def flood():
            for _ in range(5000):
                await session.receive('{"type": "input_audio_buffer.clear"}')

        flooding = asyncio.create_task(flood())
        await until(lambda: len(session._input._queue) > MAX_QUEUED)
        await settled(lambda: len(session._input._queue))
        assert len(session._input._queue) <= MAX_QUEUED + 1
        assert not flooding.done()
        flooding.cancel()
        session.close("left")


async def test_wrong_events_are_answered_with_errors(talking, begin):
    """None of them ends the session."""
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


async def test_without_a_free_slot_a_session_is_refused(talking, begin):
    async with talking(Stubborn, max_sessions=2) as server:
        session = begin(server)
        with pytest.raises(ProtocolError, match="slots are taken"):
            begin(server)
        session.close("left")
        begin(server).close("left")
