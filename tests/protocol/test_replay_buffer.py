from __future__ import annotations

import asyncio

from xyt_stream.protocol.replay_buffer import MESSAGE_OVERHEAD, AckPolicy, ReplayBuffer


def test_acknowledged_messages_are_dropped():
    buffer = ReplayBuffer(4 * (MESSAGE_OVERHEAD + 10) + 1)
    for letter in b"abcd":
        buffer.add(bytes([letter]) * 10)
    assert (buffer.first, buffer.full) == (0, False)
    buffer.acknowledge(1)
    assert buffer.unacknowledged() == [b"c" * 10, b"d" * 10]
    assert buffer.first == 2
    buffer.acknowledge(None)
    buffer.acknowledge(0)
    assert buffer.first == 2
    buffer.acknowledge(3)
    assert (buffer.unacknowledged(), buffer.first) == ([], None)


async def test_full_buffer_waits_for_an_acknowledgement():
    buffer = ReplayBuffer(3 * (MESSAGE_OVERHEAD + 10))
    for _ in range(3):
        await asyncio.wait_for(buffer.drain(), 120)
        buffer.add(bytes(10))
    waiting = asyncio.create_task(buffer.drain())
    await asyncio.sleep(0)
    assert buffer.full
    assert not waiting.done()
    buffer.acknowledge(0)
    await asyncio.wait_for(waiting, 120)


def test_without_a_limit_nothing_is_kept():
    buffer = ReplayBuffer(0)
    buffer.add(bytes(1000))
    assert (buffer.full, buffer.unacknowledged()) == (False, [])


def test_acknowledgement_is_due_after_16_messages_or_64_kib():
    policy = AckPolicy()
    for _ in range(15):
        policy.count(10)
    assert not policy.due
    policy.count(10)
    assert policy.due
    policy.reset()
    assert not policy.due
    policy.count(1 << 16)
    assert policy.due
