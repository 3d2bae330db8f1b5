"""One mic, many speakers, on real sockets."""

from __future__ import annotations

import asyncio

import numpy as np
import pytest
from msgspec import UNSET
from websockets.asyncio.client import connect as raw_connect

from xyt_stream.client import connect
from xyt_stream.errors import ProtocolError
from xyt_stream.protocol.machine import Codes
from xyt_stream.protocol.messages import SUBPROTOCOL, Pong
from xyt_stream.server.admission.limits import Limits
from xyt_stream.server.sessions.rooms import Rooms


def within_a_step(one, other):
    assert one.shape == other.shape
    assert np.abs(one.astype(int) - other.astype(int)).max() <= 1


async def speak(connection, pcm):
    for start in range(0, len(pcm), 1000):
        await connection.send_pcm(pcm[start : start + 1000])


async def test_all_speakers_hear_all_of_the_mic(server, clip, direct, hear):
    async with (
        connect(server.url, "speaker", room="a") as one,
        connect(server.url, "speaker", room="a", receive_rate=48_000) as two,
        connect(server.url, "speaker", room="a", receive=("codes",)) as three,
        connect(server.url, "speaker", room="b") as elsewhere,
        connect(server.url, "mic", room="a") as mic,
    ):
        await speak(mic, clip)
        await mic.end()
        heard = await asyncio.gather(hear(one), hear(two), hear(three), hear(mic))
        await elsewhere.end()
        assert len((await hear(elsewhere)).sound) == 0
    within_a_step(heard[0].sound, direct.sound)
    assert len(heard[1].sound) == 3 * len(clip)
    np.testing.assert_array_equal(heard[2].codes, direct.codes)
    assert (heard[3].end.frames, heard[3].end.samples) == (0, 0)


async def test_a_late_speaker_hears_the_rest(server, clip, direct, hear):
    async with (
        connect(server.url, "speaker", room="a", receive=("pcm", "codes")) as early,
        connect(server.url, "mic", room="a") as mic,
    ):
        await speak(mic, clip[: len(clip) // 2])
        events = aiter(early)
        while not isinstance(event := await anext(events), Codes) or event.frame < 5:
            pass
        async with connect(server.url, "speaker", room="a", receive=("pcm", "codes")) as late:
            await speak(mic, clip[len(clip) // 2 :])
            await mic.end()
            heard = await hear(late)
    first = heard.code_frames[0]
    assert first > 5
    np.testing.assert_array_equal(heard.codes, direct.codes[:, first:])
    within_a_step(heard.sound, direct.sound[-len(heard.sound) :])
    # The decoder was already running, so the late one hears from where it stood.
    assert len(clip) - len(heard.sound) <= first * 1280


async def test_the_first_listener_starts_the_decoder(server, clip, direct, hear, until):
    async with (
        connect(server.url, "speaker", room="a", receive=("codes",)) as reader,
        connect(server.url, "mic", room="a") as mic,
    ):
        await speak(mic, clip[: 6 * 1280])
        frames = 0
        async for event in reader:
            assert isinstance(event, Codes)
            frames += event.codes.shape[1]
            if frames == 6:
                break
        async with connect(server.url, "speaker", room="a") as speaker:
            await speak(mic, clip[6 * 1280 :])
            await mic.end()
            heard = await hear(speaker)
    assert len(heard.sound) == len(clip) - 6 * 1280
    assert heard.sound_frames[0] == 6


async def test_a_second_mic_is_refused_and_the_first_goes_on(server, clip, direct, hear, until):
    async with (
        connect(server.url, "speaker", room="a") as speaker,
        connect(server.url, "mic", room="a") as mic,
    ):
        await speak(mic, clip[:20_000])
        with pytest.raises(ProtocolError, match="already has a mic") as caught:
            async with connect(server.url, "mic", room="a"):
                pass
        assert (caught.value.name, caught.value.close_code) == ("room_has_mic", 4409)
        async with connect(server.url, "mic", room="b"):
            pass  # another room is free
        await speak(mic, clip[20_000:])
        await mic.end()
        within_a_step((await hear(speaker)).sound, direct.sound)
    async with connect(server.url, "mic", room="a"):
        pass  # and so is this one, again
    await until(lambda: server.engine.free_slots == server.engine.slots)


async def test_a_lost_mic_is_heard_to_its_end(server, clip, direct, hear, until):
    async with connect(server.url, "speaker", room="a") as speaker:
        mic = await raw_connect(server.url, subprotocols=[SUBPROTOCOL])
        await mic.send('{"type":"hello","role":"mic","room":"a"}')
        await mic.recv()
        await mic.send(bytes([1]) + bytes(11) + clip[: 5 * 1280 + 77].tobytes())
        events = aiter(speaker)
        first = await anext(events)
        mic.transport.abort()
        heard = await hear(speaker)
    sound = np.concatenate([first.samples, heard.sound])
    assert len(sound) == 5 * 1280
    sure = 4 * 1280  # the last frame's end is the decoder's tail here, and overlaps on there
    within_a_step(sound[:sure], direct.sound[:sure])
    await until(lambda: server.engine.free_slots == server.engine.slots)


class Deaf:
    """A listener that wants nothing."""

    wants_sound = False


async def test_an_empty_room_is_forgotten(server):
    rooms = Rooms(server.engine, Limits(), np.zeros(8, np.int64))
    one, two = Deaf(), Deaf()
    with rooms.add_speaker("a", one) as room:
        with rooms.add_speaker("a", two) as same:
            assert same is room
        with rooms.add_speaker("a", two) as same:
            assert same is room
    with rooms.add_speaker("a", one) as other:
        assert other is not room


async def listeners(client):
    """The number of listeners in the answer to a ping."""
    await client.ping(0)
    return await anext(event.listeners async for event in client if isinstance(event, Pong))


async def test_a_mic_is_told_how_many_listen(server):
    async with (
        connect(server.url, "speaker", room="elsewhere"),
        connect(server.url, "speaker", room="a", voice="model"),  # a mic has no model
        connect(server.url, "mic", room="a") as mic,
    ):
        assert await listeners(mic) == 0
        async with connect(server.url, "speaker", room="a") as one:
            assert await listeners(mic) == 1
            async with connect(server.url, "speaker", room="a", voice="user"):
                assert await listeners(mic) == 2
            assert await listeners(one) is UNSET
        while await listeners(mic):  # until the server has seen that the last one left
            pass


async def test_a_mic_that_asks_for_codes_gets_those_of_its_listeners(server, clip, direct, hear):
    async with (
        connect(server.url, "speaker", room="a", receive=("codes",)) as speaker,
        connect(server.url, "mic", room="a", receive=("codes",)) as mic,
    ):
        await speak(mic, clip)
        await mic.end()
        seen, heard = await asyncio.gather(hear(mic), hear(speaker))
    np.testing.assert_array_equal(seen.codes, direct.codes)
    np.testing.assert_array_equal(heard.codes, direct.codes)
    assert len(seen.sound) == 0


@pytest.mark.parametrize("kinds", [("pcm",), ("sealed",), ("codes", "pcm")])
async def test_a_mic_hears_nothing_else(server, kinds):
    with pytest.raises(ProtocolError, match="may receive: codes"):
        async with connect(server.url, "mic", room="a", receive=kinds):
            pass
