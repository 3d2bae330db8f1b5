"""The queue before one client's socket."""

from __future__ import annotations

import asyncio

import numpy as np
import pytest

from xyt_stream.errors import ProtocolError
from xyt_stream.protocol.machine import Codes
from xyt_stream.protocol.messages import Clear, End, Notice, Playing
from xyt_stream.server.engine.slot_stream import DecodedFrame, Length
from xyt_stream.server.sessions.send_queue import SendQueue

LIMIT = 20


def put_codes(queue, index):
    queue.on_codes(index, np.full(8, index))


def make(*, live=False, receive=("codes",)):
    return SendQueue(receive, 16_000, 16_000, live=live, limit=LIMIT)


def take_all(queue):
    messages = []
    while not isinstance(message := queue.take(), End):
        messages.append(message)
    return messages, message


def frames_of(messages):
    """Indices of all frames, each of which must hold its own codes."""
    for message in messages:
        frames = np.arange(message.frame, message.frame + message.codes.shape[1])
        np.testing.assert_array_equal(message.codes, np.tile(frames, (8, 1)))
    return [each for message in messages for each in message.codes[0].tolist()]


async def test_codes_that_wait_together_are_one_message():
    sizes = []
    queue = make()
    queue._on_size = sizes.append
    for index in range(60):
        put_codes(queue, index)
    queue.end()
    messages, end = take_all(queue)
    assert [message.codes.shape for message in messages] == [(8, 25), (8, 25), (8, 10)]
    assert frames_of(messages) == list(range(60))
    assert (end.frames, sizes[-1], len(queue)) == (60, 0, 0)


async def test_a_gap_or_a_notice_parts_messages():
    queue = make()
    put_codes(queue, 0)
    put_codes(queue, 1)
    queue.put_control(Notice(name="model_left", message=""))
    put_codes(queue, 2)
    queue.skip(3, 5)
    queue.on_codes(3, np.full(8, 8))
    queue.end()
    (first, notice, second, third), _ = take_all(queue)
    assert isinstance(notice, Notice)
    assert frames_of([first, second, third]) == [0, 1, 2, 8]
    assert [each.gap for each in (first, second, third)] == [False, False, True]


async def test_a_slow_live_client_loses_the_oldest_and_sees_the_gap():
    slow = make(live=True)
    for index in range(LIMIT + 10):
        put_codes(slow, index)
    await asyncio.wait_for(slow.drain(), 120)  # does not hold the sender back
    slow.end()
    messages, end = take_all(slow)
    assert frames_of(messages) == list(range(10, LIMIT + 10))
    assert [message.gap for message in messages] == [True]
    assert end == End(frames=LIMIT + 10, samples=0)


async def test_control_messages_survive_dropped_media():
    slow = make(live=True)
    slow.on_interruption()
    for index in range(LIMIT + 10):
        put_codes(slow, index)
    slow.put_control(Playing(frame=1, played=1, speaking=True))
    slow.end()
    (first, *media, last), _ = take_all(slow)
    assert (first, last) == (Clear(), Playing(frame=1, played=1, speaking=True))
    assert frames_of(media) == list(range(12, LIMIT + 10))
    assert media[0].gap


async def test_control_messages_are_bounded():
    slow = make(live=True)
    for _ in range(100):
        slow.put_control(Clear())
    assert len(slow) == LIMIT


async def test_a_full_queue_holds_the_sender_back():
    lossless = make()
    for index in range(LIMIT):
        put_codes(lossless, index)
    waiting = asyncio.create_task(lossless.drain())
    await asyncio.sleep(0)
    assert not waiting.done()
    assert isinstance(lossless.take(), Codes)
    await asyncio.wait_for(waiting, 120)


async def test_an_empty_queue_gives_nothing():
    assert make().take() is None


async def test_an_error_comes_after_queued_media():
    broken = make()
    put_codes(broken, 0)
    broken.on_error()
    assert broken.take().frame == 0
    with pytest.raises(ProtocolError) as caught:
        broken.take()
    assert caught.value.name == "internal"


async def test_nothing_is_queued_after_the_end():
    ended = make()
    ended.end()
    put_codes(ended, 0)
    assert take_all(ended) == ([], End(frames=0, samples=0))


async def test_an_interruption_drops_media_and_keeps_notices():
    queue = make(receive=("pcm", "codes"))
    notice = Notice(name="model_joined", message="")
    queue.put_control(notice)
    queue.on_audio(DecodedFrame(0, np.zeros(2000, np.float32), 0, None))
    put_codes(queue, 0)
    queue.on_interruption()
    assert [queue.take(), queue.take(), queue.take()] == [notice, Clear(), None]
    # 2000 samples of its own and 600 of the client's: 2600 / 1280, rounded up.
    assert queue.unplayed_frames(600) == 3
    assert queue.unplayed_frames(0) == 0  # reported once


@pytest.mark.parametrize("length", [0, 1, 1279, 1280, 1281, 2560])
async def test_sound_has_the_exact_length_of_its_stream(length):
    """Two frames and a tail of 160, of a stream that is `length` long."""
    queue = make(receive=("pcm",))
    known = Length(length, 16_000)
    sound = np.full(2560, 0.5, np.float32)
    queue.on_audio(DecodedFrame(0, sound[:1120], 0, known))
    queue.on_audio(DecodedFrame(1, sound[:1280], 1120, known))
    queue.on_end(sound[:160], known)
    messages, end = take_all(queue)
    heard = np.concatenate([np.zeros(0, np.int16), *(message.samples for message in messages)])
    assert heard.tolist() == length * [16_384]
    assert end.samples == length
