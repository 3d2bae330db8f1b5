"""In a process of its own: freezing takes objects out of the collector for good."""

from __future__ import annotations

import subprocess
import sys

import pytest

PROGRAM = """
import asyncio, gc, sys, weakref
from xyt_stream.server.admission.reclaim import Reclaim, freeze

class Cycle:
    def __init__(self):
        self.itself = self

async def main(frozen, seconds):
    gc.disable()
    if frozen:
        freeze()
    reclaim, gone = Reclaim(0.0), weakref.ref(Cycle())
    reclaim.check(100.0)
    assert gone() is not None, "nothing has closed"
    reclaim.session_closed()
    reclaim.check(100.0 + seconds)
    sys.exit(int(gone() is None))

reclaimed = asyncio.run(main({frozen}, {seconds}))
"""


@pytest.mark.parametrize(
    ("frozen", "seconds", "collected"), [(True, 6, 1), (True, -99, 0), (False, 6, 0)]
)
def test_closed_sessions_are_collected_where_that_is_cheap(frozen, seconds, collected):
    program = PROGRAM.format(frozen=frozen, seconds=seconds)
    assert subprocess.run([sys.executable, "-c", program]).returncode == collected
