"""A client's codec that becomes too slow in the middle of a session: the server's takes over."""

from __future__ import annotations

import asyncio
import time

import numpy as np
import pytest

from xyt_stream.audio import to_float32
from xyt_stream.client import connect
from xyt_stream.client.backlog import Backlog
from xyt_stream.client.coding_connection import MOVED, TOO_SLOW, CodingConnection
from xyt_stream.client.sound import open_sound
from xyt_stream.edge import EdgeDecoder, EdgeEncoder
from xyt_stream.protocol.machine import Codes, Pcm
from xyt_stream.protocol.messages import End, Notice
from xyt_stream.protocol.sealing import make_key
from xyt_stream.server.admission.limits import Limits
from xyt_stream.server.app import running

from ..conftest import code_frames

BLOCK = 320  # samples that are sent at a time
SLOW = 0.15  # seconds of work beside a frame of 0.08


class Clock:
    """A clock that stands still until it is moved."""

    def __init__(self):
        self.now = 0.0

    def __call__(self):
        return self.now


def found(took, seconds=60.0):
    """The second at which a codec counts as too slow; `took`: its seconds for 0.08 of sound."""
    clock = Clock()
    backlog = Backlog(clock=clock)
    while clock.now < seconds:
        work = took(clock.now)
        clock.now += max(work, 0.08)
        if backlog.grows(0.08, work):
            return clock.now
    return None


def test_a_codec_half_as_fast_as_sound_is_found_within_seconds():
    assert 4 < found(lambda now: 0.16) < 6


def test_a_codec_that_keeps_up_is_never_found():
    assert found(lambda now: 0.079) is None


def test_a_moment_of_slowness_is_forgiven():
    assert found(lambda now: 1.0 if round(now) % 20 == 10 else 0.01) is None


@pytest.fixture
def slow(monkeypatch):
    """The codec here works for longer than its sound lasts; returns what makes it begin to."""
    work = {"seconds": 0.0}

    def slowed(push):
        def pushed(self, data):
            result = push(self, data)
            frames = result.shape[1] if data.dtype == np.float32 else data.shape[1]
            end = time.perf_counter() + frames * work["seconds"]
            while time.perf_counter() < end:
                pass
            return result

        return pushed

    monkeypatch.setattr(EdgeEncoder, "push", slowed(EdgeEncoder.push))
    monkeypatch.setattr(EdgeDecoder, "push", slowed(EdgeDecoder.push))
    monkeypatch.setattr("xyt_stream.client.coding_connection.Backlog", lambda: Backlog(long=0.3))
    return lambda: work.update(seconds=SLOW)


async def speak(connection, sound):
    """Sends sound as a microphone does: what is out of date is left out."""
    for start in range(0, len(sound), BLOCK):
        await connection.send_pcm(sound[start : start + BLOCK])


def notices(events):
    return [event.name for event in events if isinstance(event, Notice)]


def sound_of(events):
    return np.concatenate([each.samples for each in events if isinstance(each, Pcm)])


async def collect(connection, events):
    async for event in connection:
        events.append(event)


async def test_a_loopback_goes_on_without_a_break(slow, codec, clip, until):
    """No sample is lost or repeated, and codes are numbered through."""
    events = []
    sound = np.tile(clip, 2)
    async with (
        running(codec, max_sessions=4, limits=Limits(load=0)) as server,
        open_sound(server.url, "loopback", codec="auto") as connection,
    ):
        receiving = asyncio.create_task(collect(connection, events))
        await speak(connection, clip)
        assert connection.codec == "here"
        slow()
        await speak(connection, sound)
        await connection.end()
        await asyncio.wait_for(receiving, 120)
        assert connection.codec == "server"
        assert connection.traffic.sent > len(clip)
    assert notices(events) == [MOVED]
    whole = len(clip) + len(sound)
    assert code_frames(events) == list(range(-(-whole // 1280)))
    assert isinstance(events[-1], End)
    heard = sound_of(events)
    assert len(heard) == whole
    expected = EdgeDecoder().push(
        np.concatenate([each.codes for each in events if isinstance(each, Codes)], axis=1)
    )
    last = slice(whole - len(clip), whole - 1280)
    error = to_float32(heard[last]) - expected[last]
    assert np.abs(error).mean() < 0.1 * np.abs(expected[last]).mean()


async def test_a_mic_goes_on_in_its_room(slow, codec, clip, until):
    events, own = [], []
    async with (
        running(codec, max_sessions=4, limits=Limits(load=0)) as server,
        connect(server.url, "speaker", room="a", receive=("codes",)) as speaker,
        open_sound(server.url, "mic", codec="auto", room="a", frames_a_message=2) as mic,
    ):
        listening = asyncio.create_task(collect(speaker, events))
        receiving = asyncio.create_task(collect(mic, own))
        slow()
        await speak(mic, np.tile(clip, 2))
        assert mic.codec == "server"
        await mic.end()
        await asyncio.wait_for(asyncio.gather(listening, receiving), 120)
        await until(lambda: server.engine.free_slots == 4)
    assert notices(own) == [MOVED]
    frames = code_frames(events)
    assert frames == list(range(len(frames)))
    assert len(frames) == -(-2 * len(clip) // 1280)


async def test_a_speaker_goes_on(slow, codec, clip, direct):
    events = []
    async with (
        running(codec, max_sessions=4, limits=Limits(load=0)) as server,
        open_sound(server.url, "speaker", codec="auto", room="a") as speaker,
        connect(server.url, "mic", room="a", send="codes") as mic,
    ):
        listening = asyncio.create_task(collect(speaker, events))
        slow()
        for frame in direct.codes.T:
            await mic.send_codes(frame[:, None])
        await mic.end()
        await asyncio.wait_for(listening, 120)
        assert speaker.codec == "server"
    assert notices(events) == [MOVED]
    assert len(sound_of(events)) == direct.codes.shape[1] * 1280


@pytest.mark.parametrize("why", ["relay", "key", "here"])
async def test_where_the_server_may_not_code_sound_is_left_out(slow, codec, clip, why):
    events = []
    options = {"key": make_key()} if why == "key" else {}
    place = "here" if why == "here" else "auto"
    async with (
        running(None if why == "relay" else codec, limits=Limits(load=0)) as server,
        open_sound(server.url, "mic", codec=place, room="a", **options) as mic,
    ):
        assert isinstance(mic, CodingConnection)
        receiving = asyncio.create_task(collect(mic, events))
        slow()
        late = [await mic.send_pcm(clip[at : at + BLOCK]) for at in range(0, 20_480, BLOCK)]
        assert late.count(False) == 1
        assert mic.codec == "here"
        await mic.end()
        await asyncio.wait_for(receiving, 120)
    assert notices(events) == [TOO_SLOW]
