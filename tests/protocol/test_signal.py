from __future__ import annotations

import asyncio

from xyt_stream.protocol.signal import Signal


async def test_all_waiting_tasks_see_a_change() -> None:
    signal, counts = Signal(), []
    waiting = [asyncio.create_task(signal.wait_for(lambda: len(counts) == 2)) for _ in range(3)]
    for _ in range(2):
        await asyncio.sleep(0)
        assert not any(task.done() for task in waiting)
        counts.append(1)
        signal.notify()
    await asyncio.wait_for(asyncio.gather(*waiting), 60)


async def test_a_true_predicate_does_not_wait() -> None:
    await asyncio.wait_for(Signal().wait_for(lambda: True), 60)


async def test_an_earlier_change_does_not_end_a_wait() -> None:
    signal = Signal()
    signal.notify()
    task = asyncio.create_task(signal.wait())
    await asyncio.sleep(0)
    assert not task.done()
    signal.notify()
    await asyncio.wait_for(task, 60)


async def test_a_wait_ends_with_its_timeout() -> None:
    await asyncio.wait_for(Signal().wait(timeout=0.001), 60)


async def test_a_cancellation_just_after_a_change_is_not_lost() -> None:
    signal = Signal()

    async def go_on_waiting() -> None:
        while True:
            await signal.wait(60)

    for turns in range(6):
        task = asyncio.create_task(go_on_waiting())
        for _ in range(3):
            await asyncio.sleep(0)
        signal.notify()
        for _ in range(turns):
            await asyncio.sleep(0)
        task.cancel()
        await asyncio.wait([task], timeout=10)
        assert task.cancelled()


async def test_ended_waits_leave_nothing() -> None:
    signal = Signal()
    await signal.wait(timeout=0.001)
    task = asyncio.create_task(signal.wait())
    await asyncio.sleep(0)
    task.cancel()
    await asyncio.wait([task], timeout=10)
    assert not signal._waiting
