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
