"""Small models for tests of the duplex endpoint."""

from __future__ import annotations

import threading
import time
from typing import ClassVar

import numpy as np


class Echo:
    """Repeats each frame at once."""

    threads: ClassVar[set[str]] = set()
    log: ClassVar[list[tuple[str, str]]] = []

    def __init__(self, codec):
        self.codec = codec

    def open(self, session):
        self.session = session
        self.log.append(("open", session))

    def step(self, codes):
        self.threads.add(threading.current_thread().name)
        return codes

    def close(self):
        self.log.append(("close", self.session))


class Sometimes(Echo):
    """Repeats every third frame and counts those; it is silent after `clear`."""

    cleared: ClassVar[list[int]] = []

    def open(self, session):
        super().open(session)
        self.heard = 0
        self.quiet = False

    def step(self, codes):
        self.heard += 1
        return codes if self.heard % 3 == 0 and not self.quiet else None

    def clear(self, played):
        self.quiet = True
        self.cleared.append(played)


class Together:
    """Echoes all conversations at once when it may, and keeps how many there were in each step."""

    batched = True
    go_on = threading.Event()
    sizes: ClassVar[list[int]] = []

    def __init__(self, codec, slots):
        self.sessions = [None] * slots

    def open(self, slot, session):
        assert self.sessions[slot] is None
        self.sessions[slot] = session

    def step(self, codes, active):
        self.go_on.wait(120)
        assert all(self.sessions[slot] for slot in np.flatnonzero(active))
        self.sizes.append(int(active.sum()))
        speaks = active.copy()
        codes = codes.copy()
        return codes, speaks

    def close(self, slot):
        self.sessions[slot] = None


class FailsOnce(Echo):
    """The first conversation fails in its tenth frame."""

    failed = False

    def open(self, session):
        self.heard = 0

    def step(self, codes):
        self.heard += 1
        if self.heard == 10 and not FailsOnce.failed:
            FailsOnce.failed = True
            raise RuntimeError("a bug in somebody's model")
        return codes

    def close(self):
        pass


class Stuck(Echo):
    """Blocks in a step until the test releases it."""

    go_on = threading.Event()

    def step(self, codes):
        self.go_on.wait(60)
        return codes


class CannotOpen(Echo):
    def open(self, session):
        raise RuntimeError("no")


class OutOfRange(Echo):
    def step(self, codes):
        return codes + 1024


class WrongShape(Echo):
    def step(self, codes):
        return codes[:3]


class Unmakable:
    def __init__(self, codec):
        raise OSError("no weights\nanywhere")


class Unfinished:
    """Has no methods."""

    def __init__(self, codec):
        pass


NOTHING = None


class Slow(Echo):
    """Echoes, but takes SECONDS for each conversation: two of them fit in real time."""

    SECONDS = 0.03

    def step(self, codes):
        time.sleep(self.SECONDS)
        return codes
