"""In a process of its own: freezing takes objects out of the collector for good."""

from __future__ import annotations

import subprocess
import sys
import textwrap

import pytest

PROGRAM = """
import asyncio, gc, sys, weakref
from xyt_stream.server.admission import reclaim
from xyt_stream.server.admission.reclaim import Reclaim, freeze

class Cycle:
    def __init__(self):
        self.itself = self

def garbage():
    return weakref.ref(Cycle())

async def main():
    gc.disable()
    {body}

asyncio.run(main())
"""


def run(body: str) -> None:
    body = textwrap.indent(textwrap.dedent(body), "    ").strip()
    done = subprocess.run([sys.executable, "-c", PROGRAM.format(body=body)], capture_output=True)
    assert done.returncode == 0, done.stderr.decode()


@pytest.mark.parametrize(
    ("frozen", "seconds", "collected"), [(True, 6, True), (True, 4, False), (False, 6, False)]
)
def test_closed_sessions_are_collected_where_that_is_cheap(
    frozen: bool, seconds: int, collected: bool
) -> None:
    run(f"""
        if {frozen}:
            freeze()
        now = 100.0
        reclaim, gone = Reclaim(lambda: now), garbage()
        now += 10
        reclaim.check()
        assert gone() is not None, "nothing has closed"
        reclaim = Reclaim(lambda: now)
        reclaim.session_closed()
        now += {seconds}
        reclaim.check()
        assert (gone() is None) == {collected}
    """)


def test_many_are_collected_at_once() -> None:
    """All at a time would stop the event loop for long."""
    run("""
        freeze()
        found, gone = Reclaim(), garbage()
        for _ in range(reclaim._MANY - 1):
            found.session_closed()
        await asyncio.sleep(0.05)
        assert gone() is not None
        found.session_closed()
        await asyncio.sleep(0.05)
        assert gone() is None
    """)


def test_collections_take_a_small_share_of_the_time() -> None:
    run("""
        freeze()
        reclaim._MANY = 1
        many = [[] for _ in range(500_000)]
        taken = []
        gc.callbacks.append(lambda phase, info: taken.append(asyncio.get_running_loop().time()))
        found, began = Reclaim(), asyncio.get_running_loop().time()
        while asyncio.get_running_loop().time() < began + 1:
            found.session_closed()
            await asyncio.sleep(0.001)
        busy = sum(end - start for start, end in zip(taken[::2], taken[1::2]))
        assert len(taken) >= 4
        assert busy < 0.3, f"{busy} s of one second, in {len(taken) // 2} collections"
    """)


def test_what_a_collection_came_too_early_for_is_collected_later() -> None:
    run("""
        freeze()
        now = 100.0
        found, held = Reclaim(lambda: now), Cycle()
        gone = weakref.ref(held)
        for _ in range(reclaim._MANY):
            found.session_closed()
        await asyncio.sleep(0.05)
        held, now = None, 106.0
        found.check()
        assert gone() is None
    """)
