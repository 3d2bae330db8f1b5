"""The work for a client's messages grows no faster than their number, however small they are.

Work is counted in calls of functions in the event loop's thread, which no other process disturbs.
"""

from __future__ import annotations

import asyncio
import dataclasses
import itertools
import json
import struct
import sys

import pytest

from xyt_stream.bench.load_server import no_codec
from xyt_stream.protocol.messages import Hello
from xyt_stream.server.admission.limits import Limits
from xyt_stream.server.app import running
from xyt_stream.server.realtime.session import RealtimeSession

from .quiet_model import Quiet

MOST = 5  # times the work, for four times as many messages
APPEND = '{"type":"input_audio_buffer.append","audio":"AAA="}'
TENTH = json.dumps({"type": "input_audio_buffer.append", "audio": "A" * 6400})
CREATE = '{"type":"response.create"}'
MANUAL = json.dumps(
    {
        "type": "session.update",
        "session": {"type": "realtime", "audio": {"input": {"turn_detection": None}}},
    }
)


class Calls:
    """Counts the calls in this thread while the block runs."""

    def __enter__(self):
        self.count = 0
        sys.setprofile(self._on_event)
        return self

    def __exit__(self, *_):
        sys.setprofile(None)

    def _on_event(self, frame, event, _):
        self.count += event in ("call", "c_call")


# Nothing is refused or delayed but sound that is ahead of real time.
LIMITS = Limits(
    ahead=0.1,
    load=0,
    client_messages=1e6,
    client_bytes=1e9,
    client_work=0,
    session_memory=0,
    server_memory=0,
    idle_time=0,
    address_sessions=0,
    address_joins=0,
)


@pytest.fixture(params=[100, pytest.param(25_000, marks=pytest.mark.slow)], ids=["short", "long"])
def numbers(request):
    """Of messages: so many, and four times as many."""
    return request.param, 4 * request.param


@pytest.fixture
async def server():
    async with running(no_codec(), max_sessions=4, duplex=Quiet, limits=LIMITS) as server:
        yield server


@pytest.fixture
async def hasty():
    """A server that takes media as fast as they come."""
    limits = dataclasses.replace(LIMITS, ahead=1e6)
    async with running(no_codec(), max_sessions=4, duplex=Quiet, limits=limits) as server:
        yield server


async def at_once(session):
    """Of a client that never waits before its next message."""


async def work(session, messages, settled, *, first=None, room=at_once):
    """Calls that a session makes for messages, with a client that reads, and waits for `room`."""

    async def read():
        media = 0
        while (data := await session.next()) is not None:
            media += isinstance(data, bytes)
            if isinstance(data, bytes) and media % 16 == 0 and session.resumable:
                await session.receive(json.dumps({"type": "ack", "received": media - 1}))

    with session.attach():
        reading = asyncio.create_task(read())
        try:
            if first is not None:
                await first(session)
            with Calls() as calls:
                for message in messages:
                    await session.receive(message)
                    await asyncio.sleep(0)  # as the connection's reader does
                    await room(session)
                await settled(session)
            assert not session.failure.done()
        finally:
            reading.cancel()
            await asyncio.gather(reading, return_exceptions=True)
            session.close("left")
    return calls.count


def media(kind, payload):
    return (struct.pack("<BBxxII", kind, 0, seq, 0) + payload for seq in itertools.count())


XYT = {
    "pcm": ("loopback", lambda: media(1, bytes(2))),
    "empty pcm": ("encode", lambda: media(1, b"")),
    "sound of a user": ("user", lambda: media(1, bytes(2))),
    "codes": ("decode", lambda: media(2, bytes(10))),
    "empty codes": ("decode", lambda: media(2, b"")),
    "codes of a model": ("model", lambda: media(2, bytes(10))),
    "ping": ("loopback", lambda: itertools.repeat('{"type":"ping","time":1}')),
    "clear": ("user", lambda: itertools.repeat('{"type":"clear"}')),
    "clear of a model": ("model", lambda: itertools.repeat('{"type":"clear"}')),
    "cleared": ("user", lambda: itertools.repeat('{"type":"cleared","unplayed":1}')),
    "unknown": ("loopback", lambda: itertools.repeat('{"type":"x"}')),
    "unknown media": ("loopback", lambda: media(9, b"")),
}


def more_than_linear(works):
    """Those works, by kind for both numbers, that grow faster than the messages."""
    return {kind: counts for kind, counts in works.items() if counts[1] >= MOST * counts[0]}


def opened(server, role, resumable):
    room = "a" if role == "model" else None
    return server.service.open(Hello(role=role, room=room, resumable=resumable), "here")


async def taken(session):
    """Waits until all was taken in; without a user, nothing of a model is."""
    queue = session._pipeline._receive_queue
    await queue._changed.wait_for(lambda: session.role == "model" or not len(queue))


async def in_window(session):
    """Waits as a resumable client does, however slow the engine is: its session ends otherwise."""
    queue = session._pipeline._receive_queue
    await queue._changed.wait_for(lambda: session.role == "model" or len(queue) < 5_000)


async def test_messages_of_xyt_v1(hasty, until, numbers):
    works = {}
    for (kind, (role, messages)), resumable in itertools.product(XYT.items(), (False, True)):
        if kind == "codes of a model" and (not resumable or numbers[1] > 5_000):
            continue  # it is read no further after four of them, or closed after some thousands
        for number in numbers:
            session, said = opened(hasty, role, resumable), itertools.islice(messages(), number)
            calls = await work(session, said, taken, room=in_window)
            works.setdefault((kind, resumable), []).append(calls)
            await until(lambda: hasty.engine.free_slots == hasty.engine.slots)
    assert more_than_linear(works) == {}


async def test_acknowledgements(hasty, until, numbers):
    async def first(session):
        for message in itertools.islice(media(1, bytes(2560)), 8):
            await session.receive(message)
        await taken(session)
        await until(lambda: session._pipeline._machine.sent is not None)

    works = []
    for number in numbers:
        said = ['{"type":"ack","received":0}'] * number
        works.append(await work(opened(hasty, "encode", True), said, taken, first=first))
    assert more_than_linear({"ack": works}) == {}


async def test_interruptions_of_a_model_whose_codes_wait(server):
    works = []
    for number in (1_000, 4_000):  # it is closed when too many codes wait
        codes = itertools.islice(media(2, bytes(10)), number)
        said = itertools.chain.from_iterable((each, '{"type":"clear"}') for each in codes)
        works.append(await work(opened(server, "model", True), said, taken))
    assert more_than_linear({"clear": works}) == {}


def item(number, **fields):
    content = [{"type": "input_text", "text": ""}]
    new = {"type": "message", "role": "user", "content": content, "id": f"i{number}"}
    return json.dumps({"type": "conversation.item.create", "item": new, **fields})


def of_item(kind, number, **fields):
    return json.dumps({"type": f"conversation.item.{kind}", "item_id": f"i{number}", **fields})


def sound(number):
    content = [{"type": "input_audio", "audio": "AAA="}]
    new = {"type": "message", "role": "user", "content": content}
    return json.dumps({"type": "conversation.item.create", "item": new})


REALTIME = {
    "append": lambda n: [APPEND] * n,
    "append without turns": lambda n: [MANUAL, *[APPEND] * n],
    "commit of nothing": lambda n: ['{"type":"input_audio_buffer.commit"}'] * n,
    "commit": lambda n: [MANUAL, *[TENTH, '{"type":"input_audio_buffer.commit"}'] * n],
    "clear": lambda n: [APPEND, '{"type":"input_audio_buffer.clear"}'] * n,
    "item create": lambda n: [item(i) for i in range(n)],
    "item create at the start": lambda n: [item(i, previous_item_id="root") for i in range(n)],
    "item create after one": lambda n: (
        [item(0)] + [item(i, previous_item_id="i0") for i in range(1, n)]
    ),
    "item with sound": lambda n: [MANUAL, *map(sound, range(n))],
    "item retrieve": lambda n: [*map(item, range(n)), *(of_item("retrieve", i) for i in range(n))],
    "item delete": lambda n: [*map(item, range(n)), *(of_item("delete", i) for i in range(n))],
    "item truncate": lambda n: [
        *map(item, range(n)),
        *(of_item("truncate", i, content_index=0, audio_end_ms=0) for i in range(n)),
    ],
    "response create": lambda n: [MANUAL, *[CREATE] * n],
    "response cancel": lambda n: ['{"type":"response.cancel"}'] * n,
    "response create, cancel": lambda n: [MANUAL, *[CREATE, '{"type":"response.cancel"}'] * n],
    "session update": lambda n: ['{"type":"session.update","session":{"type":"realtime"}}'] * n,
    "settings to and fro": lambda n: (
        [
            MANUAL,
            '{"type":"session.update","session":{"type":"realtime","audio":{"input":'
            '{"turn_detection":{"type":"server_vad"}}}}}',
        ]
        * n
    ),
    "unknown": lambda n: ['{"type":"x"}'] * n,
    "no JSON": lambda n: ["{"] * n,
}


async def test_events_of_the_realtime_protocol(server, until, numbers):
    async def examined(session):
        buffer, events = session._buffer, session._events
        await buffer.changed.wait_for(lambda: not (events.settings.live and buffer.has_arrivals))

    service, works = server.service, {}
    for (kind, events), number in itertools.product(REALTIME.items(), numbers):
        session = service.admit(lambda: RealtimeSession(service.resources, "here"), "realtime")
        works.setdefault(kind, []).append(await work(session, events(number), examined))
        await until(lambda: server.engine.free_slots == server.engine.slots)
    assert more_than_linear(works) == {}


async def test_fragments_of_one_byte_and_pings_between(server, dial, numbers):
    """On a socket: the websockets library joins them, of one message no more than 4096."""
    ping, per_message = bytes([0x89, 0x80]) + bytes(4), 100
    text = (b'{"type":"ping","time":1' + b" " * per_message)[: per_message - 1] + b"}"
    pieces = [
        bytes([(0x01 if not i else 0) | (0x80 if i + 1 == per_message else 0), 0x81])
        + bytes(4)
        + text[i : i + 1]
        for i in range(per_message)
    ]
    works = []
    for number in numbers:
        reader, writer = await dial(server.port)
        hello = b'{"type":"hello","role":"loopback"}'
        writer.write(bytes([0x81, 0x80 | len(hello)]) + bytes(4) + hello)
        await reader.readuntil(b'"ready"')
        with Calls() as calls:
            for _ in range(number // per_message):
                writer.write(ping.join(pieces))
                await reader.readuntil(b'"pong"')
        works.append(calls.count)
        writer.close()
    assert more_than_linear({"fragments": works}) == {}
