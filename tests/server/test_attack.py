"""The attacks of `xyt-stream bench attack`, each beside a neighbour: see docs/security.md."""

from __future__ import annotations

import numpy as np
import pytest

from xyt_stream.bench import attacks
from xyt_stream.bench.attack import Cost
from xyt_stream.bench.attack_client import in_words
from xyt_stream.client import connect
from xyt_stream.server.admission.limits import Limits
from xyt_stream.server.app import running

from .quiet_model import Quiet

NAMED = {
    "appends_of_one_byte",
    "fragments",
    "json_pings",
    "pings_of_a_stranger",
    "single_samples",
    "unknown_messages",
}  # those that a strict server ends by name, however slow the machine is


@pytest.fixture
async def server(codec):
    """A strict one, so that an attack is over soon."""
    limits = Limits(load=0, resume_time=0.1, client_messages=20, early_share=0.05, session_memory=4)
    async with running(codec, max_sessions=4, duplex=Quiet, limits=limits) as server:
        yield server


async def test_attacks_cost_the_neighbour_nothing_and_leave_nothing(
    server, until, clip, direct, hear
):
    results, pieces = {}, np.array_split(clip, len(attacks.ATTACKS))
    async with connect(server.url, "loopback", receive=("codes",)) as neighbour:
        for attack, piece in zip(attacks.ATTACKS, pieces, strict=True):
            await neighbour.send_pcm(piece)
            seconds = 120 if attack.__name__ in NAMED else 1
            results[attack.__name__] = await attacks.run(attack, server.port, 1, seconds=seconds)
            await until(lambda: len(server.service._sessions) == 1)
            await until(lambda: len(server.service.handshakes._open) == 1)
        await neighbour.end()
        np.testing.assert_array_equal((await hear(neighbour)).codes, direct.codes)
    assert {name for name in NAMED if not results[name].startswith("too_m")} == set(), results
    await until(lambda: server.service.memory.used == 0)
    assert server.service.readiness.what_has_stopped() is None


@pytest.mark.parametrize(("result", "line"), [("", "a: p99 12 ms"), ("404", "a: p99 12 ms, 404")])
def test_an_empty_result_leaves_no_comma(result: str, line: str) -> None:
    cost = Cost(
        attack="a",
        p99_ms=12.0,
        max_ms=30.0,
        lost=0,
        same_codes=True,
        memory_mib=300.0,
        left=0,
        slots=4,
        result=result,
    )
    assert cost.line == line


def test_empty_answers_are_left_out_of_a_list() -> None:
    assert in_words({"", "404", "200"}) == "200, 404"
    assert in_words([""]) == ""
