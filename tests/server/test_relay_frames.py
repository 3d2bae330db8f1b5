"""Tests that a relay reads frames in any pieces, and of any kinds in any order."""

from __future__ import annotations

import asyncio
import itertools
import json
import random
import struct
from contextlib import suppress

import numpy as np
import pytest
from websockets.frames import Frame, Opcode

from xyt_stream.client import connect
from xyt_stream.server.admission import small_frames
from xyt_stream.server.admission.limits import Limits
from xyt_stream.server.app import running

HELLO = {"type": "hello", "role": "mic", "room": "a", "send": "codes"}
CODES = struct.Struct("<BBxxII10s")


@pytest.fixture
async def relay():
    async with running(None, limits=Limits(ahead=1e6, client_messages=500)) as server:
        yield server


def frame(opcode, payload, fin=True):
    return Frame(opcode, payload, fin).serialize(mask=True)


def needlessly_long(payload):
    """A short frame with its length in two more bytes, which a server need not refuse."""
    return b"\x82\xfe" + len(payload).to_bytes(2, "big") + bytes(4) + payload


def codes_message(number, seq=None):
    return CODES.pack(2, 0, number if seq is None else seq, number, number.to_bytes(10, "little"))


def in_any_form(payload, choose):
    """The bytes of one message, in one of the forms that a client may choose."""
    form = choose.randrange(6)
    if form == 0:
        middle = frame(Opcode.PING, b"?") + frame(Opcode.CONT, payload[4:5], fin=False)
        return frame(Opcode.BINARY, payload[:4], False) + middle + frame(Opcode.CONT, payload[5:])
    if form == 1:
        return frame(Opcode.PING, b"") + frame(Opcode.BINARY, payload)
    if form == 2:
        return frame(Opcode.TEXT, b'{"type":"ping","time":1}') + frame(Opcode.BINARY, payload)
    return frame(Opcode.BINARY, payload)


async def send_hello(dial, port, hello=HELLO):
    reader, writer = await dial(port)
    writer.write(frame(Opcode.TEXT, json.dumps(hello).encode()))
    await reader.readuntil(b'"type":"ready"')
    return reader, writer


async def hear_until(connection, frames):
    """The numbers that codes hold, until there are so many."""
    heard = []
    async for event in connection:
        packed = np.packbits((event.codes.T[:, :, None] >> np.arange(10)) & 1, bitorder="little")
        heard += [
            int.from_bytes(each.tobytes(), "little") for each in np.split(packed, len(packed) // 10)
        ]
        if len(heard) >= frames:
            break
    return heard


@pytest.mark.parametrize("long_heads", [False, True])
@pytest.mark.parametrize("seed", range(4))
async def test_frames_in_any_pieces_arrive_in_order(relay, dial, seed, long_heads):
    choose, frames = random.Random(seed), 150
    async with connect(relay.url, "speaker", room="a", receive=("codes",)) as speaker:
        reader, writer = await send_hello(dial, relay.port)
        reading = asyncio.create_task(reader.read())
        listening = asyncio.create_task(hear_until(speaker, frames))
        data, ends = b"", []
        for number in range(frames):
            payload = codes_message(number)
            if long_heads and number == 9:
                data += needlessly_long(payload)
            else:
                data += in_any_form(payload, choose)
            ends.append(len(data))
        sent = 0
        while sent < len(data):  # whole frames, parts of them, and several at once
            following = min(end for end in ends if end > sent)
            size = choose.choice([following - sent, 1, 5, 40, 200])
            writer.write(data[sent : sent + size])
            sent += size
            await asyncio.sleep(0)
        assert await asyncio.wait_for(listening, 120) == list(range(frames))
        writer.close()
        await reading


async def error_of(reader):
    data = await asyncio.wait_for(reader.read(), 120)
    start = data.index(b'{"type":"error"')
    return json.loads(data[start : data.rindex(b"}") + 1])["name"]


@pytest.mark.parametrize(
    ("message", "name"),
    [
        (codes_message(1, seq=7), "bad_sequence"),
        (codes_message(1)[:-1], "bad_codes"),
        (codes_message(1)[:5], "bad_message"),
        (b"\x01" + codes_message(1)[1:], "not_allowed"),
    ],
)
async def test_a_bad_frame_among_good_ones_is_refused_by_name(relay, dial, message, name):
    reader, writer = await send_hello(dial, relay.port)
    writer.write(frame(Opcode.BINARY, codes_message(0)))
    await writer.drain()
    await asyncio.sleep(0)
    writer.write(frame(Opcode.BINARY, message))
    assert await error_of(reader) == name
    writer.close()


async def test_an_acknowledgement_of_nothing_is_refused_by_name(relay, dial):
    reader, writer = await send_hello(dial, relay.port, HELLO | {"resumable": True})
    writer.write(frame(Opcode.TEXT, b'{"type":"ack","received":3}'))
    assert await error_of(reader) == "bad_sequence"
    writer.close()


async def test_a_flood_of_frames_is_ended_by_its_name(relay, dial):
    reader, writer = await send_hello(dial, relay.port)

    async def flood():
        # Without end: on a slow machine a few thousand take so long that they are within a budget.
        with suppress(ConnectionError):
            for number in itertools.count():
                writer.write(frame(Opcode.BINARY, codes_message(number)))
                if number % 7 == 0:
                    await writer.drain()
                    await asyncio.sleep(0)

    flooding = asyncio.create_task(flood())
    error = b'{"type":"error"'
    await asyncio.wait_for(reader.readuntil(error), 120)
    flooding.cancel()
    rest = await asyncio.wait_for(reader.readuntil(b"}"), 120)
    assert json.loads(error + rest)["name"] == "too_many_messages"
    writer.close()


@pytest.mark.parametrize("size", [0, 1, 125, 126, 65_535, 65_536])
def test_a_message_is_written_as_the_library_writes_it(size):
    data, text = bytes(range(256)) * 256 + b"!", "ä" * (size // 2)
    binary = Frame(Opcode.BINARY, data[:size]).serialize(mask=False)
    assert small_frames.write_whole(data[:size]) == binary
    encoded = Frame(Opcode.TEXT, text.encode()).serialize(mask=False)
    assert small_frames.write_whole(text) == encoded
    assert small_frames.wire_size(size) == len(binary) + 4


@pytest.mark.parametrize("size", [0, 1, 26, 125])
@pytest.mark.parametrize("behind", [b"", b"\x82\x80\1\2\3\4"])
def test_a_short_frame_is_read_and_no_other(size, behind):
    message = bytes(range(size))
    whole = frame(Opcode.BINARY, message)
    assert small_frames.read_short(whole + behind) == (message, len(whole))
    for end in range(len(whole)):
        assert small_frames.read_short(whole[:end]) is None
    assert small_frames.read_short(frame(Opcode.TEXT, b"\xc3\xa4")) == ("ä", 8)
    for other in (
        frame(Opcode.TEXT, b"\xff"),
        frame(Opcode.PING, message),
        frame(Opcode.BINARY, message, fin=False),
        needlessly_long(message),
        b"\xc2" + whole[1:],  # a reserved bit
        Frame(Opcode.BINARY, message).serialize(mask=False) + bytes(4),
        frame(Opcode.BINARY, bytes(126)),
    ):
        assert small_frames.read_short(other) is None
