from __future__ import annotations

import asyncio
import os
import sys
import threading
from pathlib import Path

import pytest

from xyt_stream.server.engine.worker import Worker


class Squares:
    """Squares what it is given, in a thread."""

    def __init__(self):
        self.worker = Worker("squares", self._run)
        self.given = []
        self.posted = []
        self.busy = threading.Event()
        self.free = threading.Event()
        self.free.set()

    def give(self, number):
        with self.worker.wake:
            self.given.append(number)
            self.worker.wake.notify()

    def _run(self):
        while True:
            with self.worker.wake:
                self.worker.wake.wait_for(lambda: self.worker.closing or self.given)
                if self.worker.closing:
                    return
                number = self.given.pop(0)
            self.busy.set()
            self.free.wait()
            self.worker.post(self._take, number**2, threading.current_thread())

    def _take(self, square, maker):
        self.posted.append((square, maker.name, threading.current_thread()))


async def test_results_reach_the_event_loop(until):
    squares = Squares()
    assert not squares.worker.alive
    squares.give(2)  # before it starts
    squares.worker.start()
    squares.give(3)
    await until(lambda: len(squares.posted) == 2)
    here = threading.current_thread()
    assert squares.posted == [(4, "squares", here), (9, "squares", here)]
    squares.worker.stop()
    squares.worker.stop()
    assert not squares.worker.alive


async def test_stop_waits_for_its_timeout_and_drops_later_results(until):
    squares = Squares()
    squares.free.clear()
    squares.worker.start()
    squares.give(2)
    await until(squares.busy.is_set)
    squares.worker.stop(0.01)
    assert squares.worker.alive
    squares.free.set()
    squares.worker.stop()
    assert not squares.worker.alive
    await asyncio.sleep(0)
    assert squares.posted == []


@pytest.mark.skipif(sys.platform != "linux", reason="threads have priorities of their own on Linux")
async def test_a_thread_has_the_priority_that_it_is_given(until):
    found = []
    worker = Worker("nice", lambda: found.append(os.getpriority(os.PRIO_PROCESS, 0)), nice=3)
    before = os.getpriority(os.PRIO_PROCESS, 0)
    worker.start()
    await until(lambda: not worker.alive)
    assert found == [min(19, before + 3)]
    assert os.getpriority(os.PRIO_PROCESS, 0) == before


@pytest.mark.skipif(sys.platform != "linux", reason="the kernel's slack is Linux's")
@pytest.mark.parametrize(("prompt", "slack"), [(True, 1), (False, None)])
async def test_a_prompt_thread_is_woken_on_time(until, prompt, slack):
    def slack_here():
        return int(Path(f"/proc/{threading.get_native_id()}/timerslack_ns").read_text())

    found = []
    worker = Worker("prompt", lambda: found.append(slack_here()), prompt=prompt)
    before = slack_here()
    worker.start()
    await until(lambda: not worker.alive)
    assert found == [before if slack is None else slack]
    assert slack_here() == before
