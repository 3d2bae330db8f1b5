"""The queue before one client's socket."""

from __future__ import annotations

import asyncio

import numpy as np
import pytest

from xyt_stream.errors import ProtocolError
from xyt_stream.protocol.machine import Codes
from xyt_stream.protocol.messages import Clear, End, Playing
from xyt_stream.server.engine.slot_stream import Length, Sound
from xyt_stream.server.sessions.send_queue import Outlet

QUEUE = 20


def read(outlet, index):
    outlet.read(index, np.full(8, index))


def outlet(*, lossy=False, receive=("codes",)):
    return Outlet(receive, 16_000, 16_000, lossy=lossy, queue=QUEUE)


async def everything(outlet):
    messages = []
    while not isinstance(message := await asyncio.wait_for(outlet.next(), 120), End):
        messages.append(message)
    return messages, message


async def test_a_slow_loudspeaker_loses_the_oldest_and_is_told_where():
    slow = outlet(lossy=True)
    for index in range(QUEUE + 10):
        read(slow, index)
    await asyncio.wait_for(slow.room(), 120)  # nobody waits for it
    slow.stop()
    messages, end = await everything(slow)
    assert [message.frame for message in messages] == list(range(10, QUEUE + 10))
    assert [message.gap for message in messages] == [True] + (QUEUE - 1) * [False]
    assert end == End(frames=QUEUE + 10, samples=0)


async def test_what_it_must_know_is_not_lost_with_the_oldest():
    slow = outlet(lossy=True)
    slow.clear()
    for index in range(QUEUE + 10):
        read(slow, index)
    slow.tell(Playing(frame=1, played=1, speaking=True))
    slow.stop()
    (first, *media, last), _ = await everything(slow)
    assert (first, last) == (Clear(), Playing(frame=1, played=1, speaking=True))
    assert [message.frame for message in media] == list(range(12, QUEUE + 10))
    assert media[0].gap


async def test_nothing_grows_however_often_it_is_told():
    slow = outlet(lossy=True)
    for _ in range(100):
        slow.tell(Clear())
    assert slow.queued == QUEUE


async def test_others_lose_nothing_and_hold_back_who_speaks():
    lossless = outlet()
    for index in range(QUEUE):
        read(lossless, index)
    waiting = asyncio.create_task(lossless.room())
    await asyncio.sleep(0)
    assert not waiting.done()
    assert isinstance(await lossless.next(), Codes)
    await asyncio.wait_for(waiting, 120)


async def test_an_error_comes_after_what_was_ready():
    broken = outlet()
    read(broken, 0)
    broken.failed()
    assert (await broken.next()).frame == 0
    with pytest.raises(ProtocolError) as caught:
        await broken.next()
    assert caught.value.name == "internal"


async def test_nothing_is_heard_after_the_end():
    ended = outlet()
    ended.stop()
    read(ended, 0)
    assert await everything(ended) == ([], End(frames=0, samples=0))


@pytest.mark.parametrize("length", [0, 1, 1279, 1280, 1281, 2560])
async def test_padding_is_cut_and_what_is_short_is_filled(length):
    """Two frames and a tail of 160, of a voice that is `length` long."""
    out = outlet(receive=("pcm",))
    known = Length(length, 16_000)
    sound = np.full(2560, 0.5, np.float32)
    out.hear(Sound(0, sound[:1120], 0, known))
    out.hear(Sound(1, sound[:1280], 1120, known))
    out.over(sound[:160], known)
    messages, end = await everything(out)
    heard = np.concatenate([np.zeros(0, np.int16), *(message.samples for message in messages)])
    assert heard.tolist() == length * [16_384]
    assert end.samples == length
