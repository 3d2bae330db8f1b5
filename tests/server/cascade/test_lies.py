"""A node that knows the secret and lies about its mic or its conversation harms only its room."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager

import msgspec
import numpy as np
import pytest
from websockets.asyncio.server import serve

from xyt_stream.client import connect
from xyt_stream.errors import HandoverError
from xyt_stream.protocol.machine import Codes
from xyt_stream.server.cascade.wire import (
    ROOMS,
    SUBPROTOCOL,
    Batch,
    Has,
    Interrupted,
    Over,
    Silent,
    Skipped,
    Start,
    Want,
)
from xyt_stream.server.handover.channel import open_giver

from .conftest import SECRET
from .test_conversations import Ears

C = {"receive": ("codes",)}
FRAME = bytes(range(10))  # eight codes


class Forged(msgspec.Struct, array_like=True, tag="frame"):
    """A frame with fields of any kind."""

    number: object
    index: object
    payload: object
    voice: object


class Forgery(msgspec.Struct, tag="batch"):
    items: list[object]


@asynccontextmanager
async def lying(nodes, items, *, is_conversation):
    """A server in the first node's place, which answers a room's start with these items.

    Yields the event of their being sent, and the one of the other node's hanging up.
    """
    sent, left = asyncio.Event(), asyncio.Event()

    async def lie(websocket):
        channel = await open_giver(websocket, SECRET, "a", 60, ROOMS)
        try:
            while True:
                batch = await channel.receive(60)
                for item in batch.items:
                    if isinstance(item, Want) and item.room == "r" and not sent.is_set():
                        model = nodes["b"].service.resources.model
                        has = Has(item.number, "s", model, False, is_conversation)
                        await channel.send(Batch([has]))
                    elif isinstance(item, Start):
                        made = [each(item.number) for each in items]
                        await channel.send(Forgery(made))
                        sent.set()
        except HandoverError:
            left.set()

    async with serve(lie, "127.0.0.1", 0, subprotocols=[SUBPROTOCOL]) as liar:
        port = liar.sockets[0].getsockname()[1]
        nodes.peers["b"]._urls["a"] = f"http://127.0.0.1:{port}"
        yield sent, left


def frame(index, payload=FRAME, voice="user"):
    return lambda number: Forged(number, index, payload, voice)


def of(kind, *fields):
    return lambda number: kind(number, *fields)


LIES = {
    "a mic's model speaks": (False, [frame(0, voice="model")]),
    "a mic is silent": (False, [of(Silent, 0)]),
    "a mic is interrupted": (False, [of(Interrupted)]),
    "a mic's model ends": (False, [of(Over, 0, 16_000, "model")]),
    "a mic's model is left out": (False, [of(Skipped, 0, 1, "model")]),
    "a voice of no kind": (True, [frame(0, voice="system")]),
    "a voice that is a number": (True, [frame(0, voice=1)]),
    "no voice": (True, [frame(0, voice=None)]),
    "an index below zero": (True, [frame(-1)]),
    "an index beyond all": (True, [frame(1 << 32)]),
    "an index that is text": (True, [frame("0")]),
    "more than clients count": (True, [of(Skipped, 0, (1 << 32) - 1, "user"), frame(1)]),
    "several frames as one": (True, [frame(0, 2 * FRAME)]),
    "no frame as one": (True, [frame(0, b"")]),
    "a frame of many": (True, [frame(0, 90_000 * FRAME)]),
    "half a frame": (True, [frame(0, FRAME[:5], "model")]),
    "a length below zero": (True, [of(Over, -1, 16_000, "user")]),
    "a rate of zero": (True, [of(Over, 0, 0, "user")]),
}


@pytest.mark.parametrize("lie", LIES)
async def test_a_lie_ends_the_connection_between_the_nodes(relays, lie):
    is_conversation, items = LIES[lie]
    async with (
        lying(relays, items, is_conversation=is_conversation) as (_, left),
        connect(relays.url("b"), "speaker", room="r", **C) as speaker,
        connect(relays.url("b"), "speaker", room="another", **C) as other,
        connect(relays.url("c"), "mic", room="another", send="codes") as mic,
    ):
        ears = Ears(other)
        await asyncio.wait_for(left.wait(), 120)
        assert await speaker.round_trip() is not None
        codes = np.arange(24).reshape(8, 3)
        await mic.send_codes(codes)
        await mic.end()
        await ears.end()
        assert all(ears.codes[number] == codes[:, number].tolist() for number in ears.codes)


WRONG_ORDER = {
    "an interruption first": [of(Interrupted), of(Interrupted), frame(0), of(Silent, 0)],
    "the same frame twice": [frame(0), frame(0), frame(1), frame(0), frame(1)],
    "the model's end first": [frame(0), of(Over, 1280, 16_000, "model"), frame(1)],
    "both ends twice": 2 * [of(Over, 0, 16_000, "user"), of(Over, 0, 16_000, "model")],
    "frames after the end": [
        frame(0),
        of(Over, 1280, 16_000, "user"),
        frame(1),
        of(Over, 9, 16_000, "user"),
        frame(0, voice="model"),
        of(Over, 1280, 16_000, "model"),
        frame(2),
        of(Silent, 5),
        of(Interrupted),
    ],
    "silence and speech at once": [of(Silent, 0), frame(0, voice="model"), of(Silent, 0)],
    "a great leap": [frame(0), frame((1 << 32) - 2), frame((1 << 32) - 1)],
}


@pytest.mark.parametrize("order", WRONG_ORDER)
async def test_items_in_a_wrong_order_end_no_session_of_another_room(relays, order, until):
    """The room that they are of has each frame once, in order, and at most one end."""
    items = [*WRONG_ORDER[order], of(Over, 0, 16_000, "user"), of(Over, 0, 16_000, "model")]
    async with (
        lying(relays, items, is_conversation=True) as (sent, left),
        connect(relays.url("b"), "speaker", room="r", voice="user", **C) as user,
        connect(relays.url("b"), "speaker", room="r", **C) as model,
        connect(relays.url("b"), "speaker", room="another", **C) as other,
    ):
        ears = [Ears(user), Ears(model)]
        await asyncio.wait_for(sent.wait(), 120)
        for each in ears:
            await each.end()
            assert each.frames == sorted(set(each.frames))
            assert all(len(found.codes) == 8 for found in each.events if isinstance(found, Codes))
        assert not left.is_set()
        assert await other.round_trip() is not None
    await until(lambda: relays["b"].service.rooms._rooms == {})
