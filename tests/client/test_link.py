"""When one comes again to a server that was away, or sent one away."""

from __future__ import annotations

import time

import pytest

from xyt_stream.client.link import persist
from xyt_stream.errors import ConnectionFailedError, ProtocolError
from xyt_stream.protocol.error_table import protocol_error


class Server:
    """Answers each attempt with what it is told, and keeps when they came."""

    def __init__(self, *answers):
        self.answers = list(answers)
        self.times = []

    async def attempt(self):
        self.times.append(time.monotonic())
        answer = self.answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer


AWAY = ConnectionFailedError("away")


async def test_it_waits_longer_and_longer():
    server = Server(AWAY, AWAY, AWAY, "here")
    assert await persist(server.attempt, 60) == "here"
    waits = [after - before for before, after in zip(server.times, server.times[1:], strict=False)]
    assert all(wait >= least for wait, least in zip(waits, (0.1, 0.2, 0.4), strict=True))


async def test_as_long_as_the_server_asks_for_at_least():
    server = Server(protocol_error("busy", retry_after=0.7), "here")
    assert await persist(server.attempt, 60) == "here"
    assert server.times[1] - server.times[0] >= 0.7


async def test_not_where_it_is_hopeless_or_too_late():
    server = Server(protocol_error("cannot_resume"))
    with pytest.raises(ProtocolError, match="no session"):
        await persist(server.attempt, 60)
    server = Server(protocol_error("busy", retry_after=90))
    with pytest.raises(ProtocolError, match="slot"):
        await persist(server.attempt, 60)
    server = Server(AWAY)
    with pytest.raises(ConnectionFailedError):
        await persist(server.attempt, 0)
    assert not server.answers
