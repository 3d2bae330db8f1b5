from __future__ import annotations

import asyncio

from xyt_stream.protocol.outbox import BESIDE, Outbox, Receipts


async def test_what_is_acknowledged_is_let_go():
    outbox = Outbox(4 * (BESIDE + 10) + 1)
    for letter in b"abcd":
        outbox.add(bytes([letter]) * 10)
    assert (outbox.first, outbox.full) == (0, False)
    outbox.acknowledged(1)
    assert outbox.unsent() == [b"c" * 10, b"d" * 10]
    assert outbox.first == 2
    outbox.acknowledged(None)
    outbox.acknowledged(0)
    assert outbox.first == 2
    outbox.acknowledged(3)
    assert (outbox.unsent(), outbox.first) == ([], None)


async def test_a_full_one_waits_for_an_acknowledgement():
    outbox = Outbox(3 * (BESIDE + 10))
    for _ in range(3):
        await asyncio.wait_for(outbox.room(), 120)
        outbox.add(bytes(10))
    waiting = asyncio.create_task(outbox.room())
    await asyncio.sleep(0)
    assert outbox.full
    assert not waiting.done()
    outbox.acknowledged(0)
    await asyncio.wait_for(waiting, 120)


async def test_without_a_limit_nothing_is_kept():
    outbox = Outbox(0)
    outbox.add(bytes(1000))
    assert (outbox.full, outbox.unsent()) == (False, [])


def test_receipts_are_due_after_many_messages_or_many_bytes():
    receipts = Receipts()
    for _ in range(15):
        receipts.took(10)
    assert not receipts.due
    receipts.took(10)
    assert receipts.due
    receipts.said()
    assert not receipts.due
    receipts.took(1 << 16)
    assert receipts.due
