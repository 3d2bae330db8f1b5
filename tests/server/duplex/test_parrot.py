"""Real speech for the parrot in the server and for the demo in a process of its own."""

from __future__ import annotations

import asyncio
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from xyt_stream.client import connect
from xyt_stream.protocol.machine import Codes, Pcm
from xyt_stream.protocol.messages import Clear
from xyt_stream.server.admission.limits import Limits
from xyt_stream.server.app import running
from xyt_stream.server.duplex.models import load
from xyt_stream.server.duplex.parrot import Parrot
from xyt_stream.server.engine.silence import silence_of

FRAME = 1280
DEMO = Path(__file__).parents[3] / "demos" / "duplex_parrot.py"


@pytest.fixture
def pause():
    return np.zeros(20 * FRAME, np.int16)


def spoken(events):
    messages = [event for event in events if isinstance(event, Codes)]
    return {
        each.frame + later: codes
        for each in messages
        for later, codes in enumerate(each.codes.T)  # frames that wait together are one message
    }


def is_said_again(said, heard, codes):
    """Whether the frames hold one stretch of the codes, to the code, and most of the speech."""
    reply = np.stack([said[frame] for frame in sorted(said)], axis=1)
    length = reply.shape[1]
    assert sorted(said) == list(range(min(said), min(said) + length))  # without a gap
    starts = [
        start
        for start in range(codes.shape[1] - length + 1)
        if (codes[:, start : start + length] == reply).all()
    ]
    return length >= heard and bool(starts)


def test_the_older_path_still_names_the_parrot():
    assert load("xyt_stream.server.parrot:Parrot") is Parrot
    assert load("xyt_stream.server.duplex.parrot:Parrot") is Parrot


async def test_the_parrot_repeats_a_turn(codec, clip, pause, direct):
    async with (
        running(codec, max_sessions=4, duplex=Parrot, limits=Limits(load=0)) as server,
        connect(server.url, "user", receive=("pcm", "codes")) as user,
        connect(server.url, "encode") as encoder,
    ):
        sound = np.concatenate([pause, clip, pause, pause, pause])
        for connection in (user, encoder):
            await connection.send_pcm(sound)
            await connection.end()
        events = [event async for event in user]
        codes = np.concatenate(
            [event.codes async for event in encoder if isinstance(event, Codes)], axis=1
        )
    said = spoken(events)
    assert is_said_again(said, 20, codes)
    assert 20 + 26 < min(said) < 20 + 26 + 20  # after the turn, and not long after
    sound = np.concatenate([event.samples for event in events if isinstance(event, Pcm)])
    assert np.abs(sound[: 40 * FRAME]).max() < 500
    assert np.abs(sound[min(said) * FRAME :]).max() > 5000


async def test_an_interrupted_parrot_repeats_the_new_turn(codec, clip, pause):
    long = np.tile(clip, 4)
    async with (
        running(codec, max_sessions=4, duplex=Parrot, limits=Limits(load=0)) as server,
        connect(server.url, "user", receive=("codes",)) as user,
    ):
        sound = np.concatenate([pause, long, pause, clip, pause, pause, pause])
        await user.send_pcm(sound)
        await user.end()
        said = spoken([event async for event in user])
    begins = (len(pause) + len(long)) // FRAME
    interrupted = begins + len(pause) // FRAME
    first = [frame for frame in said if frame < interrupted + 15]
    assert begins < min(first) < interrupted
    assert max(first) < interrupted + 8  # 640 ms, of which the user's first word is not yet 250
    second = sorted(frame for frame in said if frame >= interrupted + 15)
    assert 20 <= len(second) <= 35
    assert second[0] > interrupted + len(clip) // FRAME


def test_the_demo_reports_an_error_in_one_line():
    words = [sys.executable, DEMO, "--url", "nowhere"]
    said = subprocess.run(words, capture_output=True, text=True, timeout=300, check=False)
    assert said.returncode == 1
    assert said.stderr.startswith("Error: cannot reach a server at 'nowhere'")
    assert said.stderr.count("\n") == 1


class Caller:
    """A user that speaks in real time, and keeps all that it hears."""

    def __init__(self, user):
        self.user = user
        self.events = []
        self._listening = asyncio.create_task(self._listen())

    async def _listen(self):
        async for event in self.user:
            self.events.append(event)

    @property
    def frames(self):
        """The frames in which the model is heard."""
        return len(spoken(self.events))

    @property
    def cuts(self):
        """Number of interruptions of the model."""
        return sum(isinstance(event, Clear) for event in self.events)

    async def say(self, pcm):
        for start in range(0, len(pcm), FRAME):
            await self.user.send_pcm(pcm[start : start + FRAME])
            await asyncio.sleep(0.08)

    async def wait(self, condition):
        """Silent until then: a model on a busy machine may be late."""

        async def silently():
            while not condition():
                await self.say(np.zeros(FRAME, np.int16))

        await asyncio.wait_for(silently(), 120)

    async def end(self):
        await self.user.end()
        await asyncio.wait_for(self._listening, 120)


@pytest.fixture
async def demo(server):
    """The process of the demo, as a user runs it."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, DEMO, "--url", server.url, "--room", "p"), stdout=subprocess.PIPE
    )
    yield process
    if process.returncode is None:
        process.kill()
        await process.communicate()


def joined(server):
    rooms = server.service.rooms._rooms
    return lambda: "p" in rooms and rooms["p"].model is not None


async def test_the_demo_repeats_turns_and_is_interrupted(server, demo, clip, until):
    """Two conversations, one after the other, the second one interrupted."""
    for turns in (1, 2):
        async with connect(server.url, "user", room="p", receive=("codes",)) as user:
            await until(joined(server))
            caller = Caller(user)
            await caller.say(np.tile(clip, 3))
            await caller.wait(lambda caller=caller: caller.frames > 3)
            if turns == 2:
                await caller.say(clip)
                await caller.wait(lambda caller=caller: caller.cuts >= 2)
            await caller.end()
        # One whenever a turn began; where the model lost frames of it, it begins twice.
        assert caller.cuts >= turns
    demo.send_signal(signal.SIGINT)
    out, _ = await asyncio.wait_for(demo.communicate(), 120)
    assert b"interrupted" in out
    assert demo.returncode == 0


async def test_the_demo_repeats_a_turn_that_comes_in_one_message(
    server, demo, direct, codec, until
):
    """A server joins frames that wait for a slow model."""
    silence = silence_of(codec)[:, None].repeat(10, 1)
    async with connect(server.url, "user", room="p", send="codes", receive=("codes",)) as user:
        await until(joined(server))
        caller = Caller(user)
        await user.send_codes(np.concatenate([silence, direct.codes, silence, silence], axis=1))

        async def silently():
            while caller.frames < 20:
                await user.send_codes(silence)
                await asyncio.sleep(0.1)

        await asyncio.wait_for(silently(), 120)
        await caller.end()
