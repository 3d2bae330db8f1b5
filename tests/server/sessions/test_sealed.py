"""Rooms that are encrypted from end to end, over real servers."""

from __future__ import annotations

import asyncio

import numpy as np
import pytest

from xyt_stream.client import connect
from xyt_stream.errors import ProtocolError
from xyt_stream.protocol.machine import Codes
from xyt_stream.protocol.messages import Playing
from xyt_stream.protocol.server_machine import ServerMachine
from xyt_stream.server.admission.limits import Limits
from xyt_stream.server.app import running

from ..proxy import Proxy

KEY = "a key for these tests"


@pytest.fixture
def codes():
    return np.random.default_rng(3).integers(0, 1024, (8, 30))


async def test_a_mic_is_heard_by_those_who_have_its_key(codes, hear):
    async with (
        running(None) as relay,
        connect(relay.url, "speaker", room="a", key=KEY) as one,
        connect(relay.url, "speaker", room="a", key=KEY, voice="user") as two,
        connect(relay.url, "mic", room="a", key=KEY) as mic,
    ):
        await mic.send_codes(codes)
        await mic.end()
        for speaker in (one, two):
            np.testing.assert_array_equal((await hear(speaker)).codes, codes)
        assert speaker.traffic.received > 30 * (38 + 12)


async def test_a_loopback_hears_itself(codes, hear):
    async with running(None) as relay, connect(relay.url, "loopback", key=KEY) as connection:
        await connection.send_codes(codes)
        await connection.end()
        np.testing.assert_array_equal((await hear(connection)).codes, codes)


async def test_another_key_ends_that_listener_only(codes, hear):
    async with (
        running(None) as relay,
        connect(relay.url, "speaker", room="a", key=KEY) as right,
        connect(relay.url, "speaker", room="a", key=KEY + "!") as wrong,
        connect(relay.url, "mic", room="a", key=KEY) as mic,
    ):
        await mic.send_codes(codes)
        with pytest.raises(ProtocolError, match="its key is another one, or it was altered"):
            await hear(wrong)
        await mic.end()
        np.testing.assert_array_equal((await hear(right)).codes, codes)


async def test_a_room_is_sealed_for_all_or_for_none(codec):
    """A server that could decode refuses sound as a relay does: by name."""
    async with running(codec, max_sessions=2, limits=Limits(load=0)) as server:
        async with connect(server.url, "mic", room="a", key=KEY):
            for receive in (["pcm"], ["codes"], ["pcm", "codes"]):
                with pytest.raises(ProtocolError, match="join it with its key") as caught:
                    async with connect(server.url, "speaker", room="a", receive=receive):
                        pass
                assert caught.value.name == "room_sealed"
        async with connect(server.url, "speaker", room="b", receive=["pcm"]):
            with pytest.raises(ProtocolError, match="join it without a key") as caught:
                async with connect(server.url, "mic", room="b", key=KEY):
                    pass
            assert caught.value.name == "room_not_sealed"
        with pytest.raises(ProtocolError, match="Only a model in a room"):
            async with connect(server.url, "user", key=KEY):
                pass
        assert server.engine.free_slots == 2


async def test_a_conversation_is_sealed_both_ways(codes):
    async with (
        running(None) as relay,
        connect(relay.url, "model", room="a", key=KEY) as model,
        connect(relay.url, "user", room="a", key=KEY) as user,
    ):
        answers = []

        async def answer():
            async for event in model:
                if isinstance(event, Codes):
                    await model.send_codes(1023 - event.codes)

        answering = asyncio.create_task(answer())
        heard = aiter(user)
        for n in range(5):
            await user.send_codes(codes[:, n : n + 1])
            while not isinstance(event := await asyncio.wait_for(anext(heard), 120), Codes):
                assert not isinstance(event, Playing)
            answers.append(event.codes)
        await user.end()
        await asyncio.wait_for(answering, 120)
    np.testing.assert_array_equal(np.concatenate(answers, axis=1), 1023 - codes[:, :5])


async def test_a_lost_connection_is_resumed_with_the_same_bytes(codes, hear):
    async with (
        running(None) as relay,
        Proxy(relay.port) as proxy,
        connect(relay.url, "speaker", room="a", key=KEY) as speaker,
        connect(proxy.url, "mic", room="a", key=KEY) as mic,
    ):
        for n in range(30):
            if n in (10, 20):
                proxy.cut()
            await mic.send_codes(codes[:, n : n + 1])
        await mic.end()
        np.testing.assert_array_equal((await hear(speaker)).codes, codes)


@pytest.mark.parametrize(
    ("change", "line"),
    [
        (lambda frames, first: frames ^ 1, "was altered"),
        (lambda frames, first: first, "again or out of order"),
    ],
    ids=["altered", "repeated"],
)
async def test_a_meddling_server_is_found_out(change, line, codes, hear, monkeypatch):
    passed: list[np.ndarray] = []
    pack = ServerMachine.codes

    def meddle(machine, frame, codes, *, gap=False):
        passed.append(codes if not passed else change(codes, passed[0]))
        return pack(machine, frame, passed[-1], gap=gap)

    monkeypatch.setattr(ServerMachine, "codes", meddle)
    async with (
        running(None) as relay,
        connect(relay.url, "speaker", room="a", key=KEY) as speaker,
        connect(relay.url, "mic", room="a", key=KEY) as mic,
    ):
        await mic.send_codes(codes)
        with pytest.raises(ProtocolError, match=line) as caught:
            await hear(speaker)
        assert caught.value.name == "bad_seal"
