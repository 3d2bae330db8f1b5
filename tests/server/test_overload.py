"""A server that is slower than real time, on real sockets: what its only session gets."""

from __future__ import annotations

import asyncio
import itertools
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from xyt_stream.client import connect
from xyt_stream.protocol.machine import Codes, Pcm
from xyt_stream.protocol.messages import End, Notice
from xyt_stream.server.app import running

from ..conftest import code_frames

sys.path.insert(0, str(Path(__file__).parent / "duplex"))
import duplex_models as models

FRAME = 1280
STEP = 0.25  # seconds, of 0.08
FRAMES = 75


@pytest.fixture
async def slow(codec, monkeypatch):
    """A server whose steps take STEP more than they need."""
    async with running(codec, max_sessions=2) as server:
        step = server.engine._device.step

        def slow_step(*work):
            time.sleep(STEP)
            return step(*work)

        monkeypatch.setattr(server.engine._device, "step", slow_step)
        yield server


@pytest.mark.parametrize("resumable", [False, True])
async def test_the_only_session_loses_the_oldest_sound_and_is_told(slow, clip, resumable):
    sent, latencies, gaps, notices, frames = [], [], [], [], []
    resume = 30.0 if resumable else 0.0
    async with connect(slow.url, "loopback", receive=("pcm", "codes"), resume=resume) as connection:

        async def speak():
            for i in range(FRAMES):
                sent.append(time.monotonic())
                sound = np.take(clip, np.arange(i * FRAME, (i + 1) * FRAME), mode="wrap")
                await connection.send_pcm(sound)
                await asyncio.sleep(0.08)
            await connection.end()

        speaking = asyncio.create_task(speak())
        async for event in connection:
            if isinstance(event, Codes):
                frames += code_frames([event])
            elif isinstance(event, Pcm):
                latencies.append(time.monotonic() - sent[event.frame])
                gaps.append(event.gap)
            elif isinstance(event, Notice):
                notices.append(event.name)
            elif isinstance(event, End):
                end = event
        await speaking
    # Without losses the last frame would come 12 s late.
    assert max(latencies) < 8
    assert frames == sorted(set(frames))
    assert frames[-1] > FRAMES - 15  # the newest sound is not lost
    assert len(frames) < FRAMES - 20
    assert sum(gaps) > 1
    assert notices == ["too_slow"]
    assert end.samples == len(frames) * FRAME
    lost = slow.service.metrics.late._value.get()
    assert len(frames) + lost == FRAMES


async def speak(connection, clip, frames):
    for i in range(frames):
        await connection.send_pcm(np.take(clip, np.arange(i * FRAME, (i + 1) * FRAME), mode="wrap"))
        await asyncio.sleep(0.08)
    await connection.end()


async def test_the_listeners_of_a_room_see_the_gap(slow, clip, hear):
    async with (
        connect(slow.url, "speaker", room="r", receive=("codes",)) as speaker,
        connect(slow.url, "mic", room="r") as mic,
    ):
        speaking = asyncio.create_task(speak(mic, clip, 40))
        events = [event async for event in speaker]
        told = [event.name async for event in mic if isinstance(event, Notice)]
        await speaking
    codes = [event for event in events if isinstance(event, Codes)]
    jumps = [
        after.frame > before.frame + before.codes.shape[1]
        for before, after in itertools.pairwise(codes)
    ]
    assert any(jumps)
    assert [event.gap for event in codes[1:]] == jumps
    assert told == ["too_slow"]
    assert not [event for event in events if isinstance(event, Notice)]


async def test_the_only_conversation_with_a_slow_model_goes_on(codec, clip, monkeypatch):
    monkeypatch.setattr(models.Slow, "SECONDS", 0.25)
    async with (
        running(codec, max_sessions=4, duplex=models.Slow) as server,
        connect(server.url, "user", receive=("pcm",)) as user,
    ):
        speaking = asyncio.create_task(speak(user, clip, 60))
        frames, notices, most = [], [], 0.0
        async for event in user:
            for _ in range(20):
                server.service.check(time.monotonic())
            most = max(most, server.service.load)
            if isinstance(event, Pcm):
                frames.append(event.frame)
            elif isinstance(event, Notice):
                notices.append(event.name)
        await speaking
    assert most > 2
    assert notices == ["too_slow"]
    assert frames == sorted(frames)
    assert frames[-1] > 45
    assert len(set(frames)) < 50
