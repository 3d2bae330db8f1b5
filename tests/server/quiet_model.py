"""Holds a speech model for tests that need one and no answer."""

from __future__ import annotations


class Quiet:
    """A duplex model that says nothing."""

    def __init__(self, codec):
        pass

    def open(self, session):
        pass

    def step(self, codes):
        return None

    def close(self):
        pass
