"""Tests how long retries wait, and when they stop."""

from __future__ import annotations

import pytest

from xyt_stream.client.handshake import retry
from xyt_stream.errors import ConnectionFailedError, ProtocolError
from xyt_stream.protocol.error_table import protocol_error

AWAY = ConnectionFailedError("away")


class Server:
    """Gives the answers in turn; time passes only in `sleep`.

    Attributes:
        waits: seconds slept, in order.
    """

    def __init__(self, *answers):
        self.answers = list(answers)
        self.waits = []

    def clock(self):
        return sum(self.waits)

    async def sleep(self, seconds):
        self.waits.append(seconds)

    async def attempt(self):
        answer = self.answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer

    async def retry(self, seconds):
        return await retry(self.attempt, seconds, clock=self.clock, sleep=self.sleep)


async def test_waits_double_up_to_five_seconds():
    server = Server(*8 * [AWAY], "here")
    assert await server.retry(60) == "here"
    longest = (0.2, 0.4, 0.8, 1.6, 3.2, 5, 5, 5)
    assert all(0.5 * most <= wait <= most for wait, most in zip(server.waits, longest, strict=True))


async def test_waits_at_least_as_long_as_the_server_asks():
    server = Server(protocol_error("busy", retry_after=7), "here")
    assert await server.retry(60) == "here"
    assert 7 <= server.waits[0] <= 1.5 * 7


@pytest.mark.parametrize(
    "error", [protocol_error("cannot_resume"), protocol_error("busy", retry_after=90)]
)
async def test_refusal_that_ends_too_late_or_never_is_not_retried(error):
    server = Server(error)
    with pytest.raises(ProtocolError, match=error.args[0]):
        await server.retry(60)
    assert not server.waits


async def test_gives_up_after_the_given_seconds():
    server = Server(*100 * [AWAY])
    with pytest.raises(ConnectionFailedError, match="away"):
        await server.retry(20)
    assert 15 <= server.clock() <= 20
