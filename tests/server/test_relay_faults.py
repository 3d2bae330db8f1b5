"""A relay and its coded sessions while networks, clients and the relay itself fail."""

from __future__ import annotations

import asyncio
import subprocess
import sys

import numpy as np
import pytest

from xyt_stream.client import connect
from xyt_stream.client.live import RESTARTED, live
from xyt_stream.errors import ProtocolError
from xyt_stream.protocol.machine import Codes
from xyt_stream.protocol.messages import Notice
from xyt_stream.server.admission.limits import Limits
from xyt_stream.server.app import running

from .proxy import Proxy

HEARS = {"receive": ("codes",)}
SAYS = {"send": "codes"}


@pytest.fixture
async def relay():
    # Clients may be far ahead of real time, so that no test waits for it.
    async with running(None, limits=Limits(ahead=1e6, queue=16)) as server:
        yield server


@pytest.fixture
async def proxy(relay):
    async with Proxy(relay.port) as proxy:
        yield proxy


async def say(connection, codes, *, after=lambda number: None, end=True):
    """Sends codes frame by frame; `after` is called with the number of frames that were sent."""
    for index in range(codes.shape[1]):
        await connection.send_codes(codes[:, index : index + 1])
        after(index + 1)
        await asyncio.sleep(0)
    if end:
        await connection.end()


def cutting(proxy, every):
    return lambda number: None if number % every else proxy.cut()


def assert_whole(heard, codes):
    np.testing.assert_array_equal(heard.codes, codes)
    assert heard.code_frames == list(range(codes.shape[1]))


@pytest.mark.parametrize("every", [3, 8])
async def test_lost_connections_lose_and_repeat_nothing(proxy, direct, hear, every):
    async with (
        connect(proxy.url, "speaker", room="a", **HEARS) as one,
        connect(proxy.url, "speaker", room="a", **HEARS) as two,
        connect(proxy.url, "mic", room="a", **SAYS) as mic,
    ):
        listening = asyncio.gather(hear(one), hear(two))
        await say(mic, direct.codes, after=cutting(proxy, every))
        for heard in await listening:
            assert_whole(heard, direct.codes)
            assert heard.notices.count("interrupted") == heard.notices.count("resumed") > 0


async def test_a_conversation_in_codes_survives_lost_connections(proxy, direct, hear):
    answer = direct.codes[:, ::-1]
    async with (
        connect(proxy.url, "model", room="a") as model,
        connect(proxy.url, "user", room="a", **SAYS, **HEARS) as user,
    ):
        listening = asyncio.gather(hear(user), hear(model))
        await model.send_codes(answer)
        await say(user, direct.codes, after=cutting(proxy, 6))
        to_user, to_model = await listening
    assert_whole(to_model, direct.codes)
    # An answer that comes while the user is away is heard in later frames: the order stays.
    found = [codes.tolist() for codes in to_user.codes.T]
    assert found == answer.T.tolist()[: len(found)]
    assert found


async def test_a_speaker_that_does_not_read_loses_the_oldest_alone(relay, direct, hear):
    """More than the queue, the replay buffer and what a client reads ahead hold together."""
    codes = np.tile(direct.codes, 600)
    async with (
        connect(relay.url, "speaker", room="a", **HEARS) as slow,
        connect(relay.url, "speaker", room="a", **HEARS) as well,
        connect(relay.url, "mic", room="a", **SAYS) as mic,
    ):
        listening = asyncio.create_task(hear(well))
        await mic.send_codes(codes)
        await mic.end()
        assert_whole(await listening, codes)
        assert relay.service.memory.used < 1_000_000
        heard = await hear(slow)
    assert "dropped" in heard.notices
    assert heard.code_frames[-1] == codes.shape[1] - 1
    assert len(heard.code_frames) < codes.shape[1]
    np.testing.assert_array_equal(heard.codes, codes[:, heard.code_frames])


async def test_a_drained_relay_sends_the_rest_and_says_when_to_come_back(relay, direct, until):
    async with (
        connect(relay.url, "speaker", room="a", **HEARS) as speaker,
        connect(relay.url, "mic", room="a", **SAYS) as mic,
    ):
        await say(mic, direct.codes, end=False)
        frames = direct.codes.shape[1]
        await until(lambda: relay.service.metrics.relayed._value.get() == frames)
        heard = []

        async def listen():
            async for event in speaker:
                heard.append(event.codes)  # noqa: PERF401 - what came before the error counts

        draining = asyncio.create_task(relay.service.drain())
        with pytest.raises(ProtocolError) as caught:
            await listen()
        await draining
    assert caught.value.name == "going_away"
    assert caught.value.retry_after > 0
    np.testing.assert_array_equal(np.concatenate(heard, axis=1), direct.codes)
    assert relay.service.relayed.count == 0


async def test_the_limits_of_a_room_are_those_of_its_model(relay):
    """A relay passes on the codes of models that it has never seen."""
    shape = {"model_hash": "ab" * 32, "codebooks": 3, "codebook_size": 5000}
    codes = np.random.default_rng(0).integers(0, 5000, (3, 40))
    async with (
        connect(relay.url, "speaker", room="a", **HEARS, **shape) as speaker,
        connect(relay.url, "speaker", room="a", **HEARS) as other,
        connect(relay.url, "mic", room="a", **SAYS, **shape) as mic,
    ):
        for each in (speaker, other, mic):
            assert (each.ready.model.codebooks, each.ready.model.codebook_size) == (3, 5000)
        with pytest.raises(ProtocolError, match="codes here are those of") as caught:
            async with connect(
                relay.url, "speaker", room="a", **HEARS, **{**shape, "codebooks": 4}
            ):
                pass
        assert caught.value.name == "wrong_model"
        listening = [asyncio.create_task(_codes(each)) for each in (speaker, other)]
        await mic.send_codes(codes)
        await mic.end()
        for each in listening:
            np.testing.assert_array_equal(await each, codes)


async def _codes(connection):
    events = [event async for event in connection]
    return np.concatenate([event.codes for event in events if isinstance(event, Codes)], axis=1)


@pytest.mark.parametrize(
    "shape", [{"codebooks": 0}, {"codebooks": 65}, {"codebook_size": 1}, {"codebook_size": 1 << 17}]
)
async def test_models_of_any_size_are_not_taken(relay, shape):
    with pytest.raises(ProtocolError) as caught:
        async with connect(relay.url, "loopback", **SAYS, **HEARS, model_hash="ab" * 32, **shape):
            pass
    assert caught.value.name == "bad_message"


async def start(port):
    """A relay in a process of its own, and its address."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "xyt_stream.cli", "serve", "--relay", "--port", str(port)),
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    )
    assert process.stdout is not None
    line = (await process.stdout.readline()).decode()
    return process, line.split()[-1]


async def kill(process):
    process.kill()
    await process.wait()


class Listener:
    """Collects what a live session hears since its latest restart."""

    def __init__(self, connection):
        self.codes = []
        self.restarted = asyncio.Event()
        self.listening = asyncio.create_task(self._listen(connection))

    async def _listen(self, connection):
        async for event in connection:
            if isinstance(event, Codes):
                self.codes += event.codes.T.tolist()
            elif isinstance(event, Notice) and event.name == RESTARTED:
                self.codes.clear()
                self.restarted.set()


async def test_clients_come_back_to_a_relay_that_was_killed(direct, until):
    expected = direct.codes.T.tolist()
    relay, url = await start(0)
    try:
        async with (
            live(url, "speaker", room="a", **HEARS) as speaker,
            live(url, "mic", room="a", **SAYS) as mic,
        ):
            heard, said = Listener(speaker), Listener(mic)
            assert await mic.send_codes(direct.codes)
            await until(lambda: heard.codes == expected)
            await kill(relay)
            relay, again = await start(url.rpartition(":")[2])
            assert again == url
            both = asyncio.gather(heard.restarted.wait(), said.restarted.wait())
            await asyncio.wait_for(both, 120)
            assert await mic.send_codes(direct.codes)
            await mic.end()
            await asyncio.wait_for(asyncio.gather(heard.listening, said.listening), 120)
            assert heard.codes == expected
    finally:
        await kill(relay)
