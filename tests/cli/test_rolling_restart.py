"""Three nodes are restarted, one after another, under live sessions of all roles.

Those that can move are unbroken; a Realtime client and a conversation with the nodes' own model end
with one reason, and begin anew.
"""

from __future__ import annotations

import asyncio
import base64
import signal
import time
from contextlib import AsyncExitStack

import numpy as np
import pytest
from openai import AsyncOpenAI
from websockets.exceptions import ConnectionClosed

from xyt_stream.audio import to_float32
from xyt_stream.client import connect
from xyt_stream.client.live import RESTARTED, live
from xyt_stream.protocol.machine import Codes, Pcm
from xyt_stream.protocol.messages import End, Notice

from ..cluster_process import cluster_process

PARROT = "xyt_stream.server.duplex.parrot:Parrot"
_FRAME = 1280  # samples


class Member:
    """A client, all codes that it was sent, and the longest time without any media."""

    def __init__(self, name, connection):
        self.name, self.connection = name, connection
        self.frames = []
        self.numbers = []
        self.gap = 0.0
        self.notices = []
        self.sent = 0

    async def hear(self):
        last = None
        async for event in self.connection:
            if isinstance(event, Pcm | Codes):
                now = time.monotonic()
                if last is not None:
                    self.gap = max(self.gap, now - last)
                last = now
                assert not event.gap, self.name
            if isinstance(event, Codes):
                self.frames.append(event.codes)
                self.numbers += range(event.frame, event.frame + event.codes.shape[1])
            elif not isinstance(event, Pcm | End):
                self.notices.append(getattr(event, "name", None))

    @property
    def codes(self):
        return np.concatenate([np.zeros((8, 0), np.int64), *self.frames], axis=1)


async def speak(member, pcm, done):
    """Sends frame after frame in real time, until `done`."""
    started = time.monotonic()
    while not done.is_set():
        places = np.arange(member.sent * _FRAME, (member.sent + 1) * _FRAME)
        await member.connection.send_pcm(np.take(pcm, places, mode="wrap"))
        member.sent += 1
        await asyncio.sleep(max(0.0, started + member.sent * 0.08 - time.monotonic()))
    await member.connection.end()


async def send_codes(member, codes, done, *, ends=True):
    started = time.monotonic()
    while not done.is_set():
        place = member.sent % codes.shape[1]
        await member.connection.send_codes(codes[:, place : place + 1])
        member.sent += 1
        await asyncio.sleep(max(0.0, started + member.sent * 0.08 - time.monotonic()))
    if ends:
        await member.connection.end()


class Realtime:
    """A client of the Realtime protocol, by OpenAI's SDK, which begins anew whenever it must.

    Attributes:
        sessions: that it had.
        ends: code of the last error of each session that has ended, and its close code.
        gap: the longest time from an end to the next session, in seconds.
    """

    def __init__(self, url):
        self.client = AsyncOpenAI(
            api_key="any",
            base_url=f"{url.replace('ws', 'http', 1)}/v1",
            websocket_base_url=f"{url}/v1",
        )
        self.sessions = 0
        self.ends = []
        self.gap = 0.0

    async def talk(self, pcm, done):
        ended = None
        while not done.is_set():
            async with self.client.realtime.connect(model="any") as connection:
                sending = asyncio.create_task(self.send(connection, pcm))
                stopping = asyncio.create_task(self.stop(connection, done))
                code = None
                try:
                    async for event in connection:
                        if event.type == "session.created":
                            self.sessions += 1
                            if ended is not None:
                                self.gap = max(self.gap, time.monotonic() - ended)
                        elif event.type == "error":
                            code, ended = event.error.code, time.monotonic()
                except ConnectionClosed as closed:
                    self.ends.append((code, closed.rcvd.code if closed.rcvd else None))
                for task in (sending, stopping):
                    task.cancel()
                await asyncio.gather(sending, stopping, return_exceptions=True)

    async def send(self, connection, pcm):
        for start in range(0, 1 << 40, 1920):  # 80 ms at 24 kHz
            piece = np.take(pcm, np.arange(start, start + 1920), mode="wrap")
            await connection.input_audio_buffer.append(audio=base64.b64encode(piece).decode())
            await asyncio.sleep(0.08)

    async def stop(self, connection, done):
        await done.wait()
        await connection.close()


async def converse(connection, pcm, done):
    """Talks with the nodes' own model until `done`; returns how often it began anew."""
    restarts = 0

    async def listen():
        nonlocal restarts
        async for event in connection:
            restarts += isinstance(event, Notice) and event.name == RESTARTED

    listening = asyncio.create_task(listen())
    for start in range(0, 1 << 40, _FRAME):
        if done.is_set():
            break
        await connection.send_pcm(np.take(pcm, np.arange(start, start + _FRAME), mode="wrap"))
        await asyncio.sleep(0.08)
    await connection.end()
    await listening
    return restarts


@pytest.mark.slow
async def test_no_session_is_cut_and_no_code_changes(codec, clip, direct, until):
    options = ("--max-sessions", "20", "--max-load", "0", "--duplex", PARROT)
    with cluster_process("--nodes", "3", *options) as cluster:
        members, speakers, done = {}, [], asyncio.Event()
        async with AsyncExitStack() as stack:

            async def join(name, role, **options):
                connection = await stack.enter_async_context(connect(cluster.url, role, **options))
                members[name] = Member(name, connection)
                return members[name]

            for number in range(4):
                await join(f"encode {number}", "encode")
            for number in range(2):
                await join(f"loopback {number}", "loopback", receive=("pcm", "codes"))
                await join(f"decode {number}", "decode")
            for room in ("a", "b", "c"):
                await join(f"speaker of sound, {room}", "speaker", room=room)
                await join(f"speaker, {room}", "speaker", room=room, receive=("codes",))
                sends = "codes" if room == "c" else "pcm"
                await join(f"mic {room}", "mic", room=room, send=sends)
            await join("speaker of the user", "speaker", room="d", voice="user", receive=("codes",))
            for room in ("d", "e"):
                await join(f"model {room}", "model", room=room)
                await join(f"user {room}", "user", room=room, receive=("pcm", "codes"))
            await join("late speaker", "speaker", room="a", receive=("codes",))
            await join("another", "encode")
            assert len(members) == 24
            hearing = [asyncio.create_task(each.hear()) for each in members.values()]
            for name, each in members.items():
                if name.split()[0] in ("encode", "loopback", "user", "another") or name in (
                    "mic a",
                    "mic b",
                ):
                    speakers.append(asyncio.create_task(speak(each, clip, done)))
                elif name.split()[0] in ("decode", "mic", "model"):
                    model = name.startswith("model")
                    sending = send_codes(each, direct.codes, done, ends=not model)
                    speakers.append(asyncio.create_task(sending))
            realtime = Realtime(cluster.url)
            talking = asyncio.create_task(realtime.talk(clip, done))
            user = await stack.enter_async_context(live(cluster.url, "user"))
            conversing = asyncio.create_task(converse(user, clip, done))
            for node in ("node-1", "node-2", "node-3"):
                before = cluster.pids[node]
                await asyncio.sleep(3)
                cluster.send(node, signal.SIGTERM)
                await until(lambda node=node, before=before: cluster.pids[node] != before)
            await asyncio.sleep(3)
            done.set()
            await asyncio.wait_for(asyncio.gather(*speakers), 120)
            await asyncio.wait_for(asyncio.gather(*hearing), 120)
            await asyncio.wait_for(talking, 120)
            restarts = await asyncio.wait_for(conversing, 120)
        longest = max(each.sent for each in members.values())
        pcm = np.take(clip, np.arange(longest * _FRAME), mode="wrap")
        expected = codec.stream_encoder().push(to_float32(pcm)).numpy()
        said = np.take(direct.codes, np.arange(longest), axis=1, mode="wrap")

        def check(name, codes, sent, frames=True):
            np.testing.assert_array_equal(members[name].codes, codes[:, :sent], name)
            if frames:
                assert members[name].numbers == list(range(sent)), name

        for name, each in members.items():
            if name.split()[0] in ("encode", "loopback", "another"):
                check(name, expected, each.sent)
        for room, codes in (("a", expected), ("b", expected), ("c", said)):
            check(f"speaker, {room}", codes, members[f"mic {room}"].sent)
        check("late speaker", expected, members["mic a"].sent)
        check("speaker of the user", expected, members["user d"].sent)
        for room in ("d", "e"):
            check(f"model {room}", expected, members[f"user {room}"].sent)
            heard = members[f"user {room}"].codes
            np.testing.assert_array_equal(heard, said[:, : heard.shape[1]])
            assert heard.shape[1] > 0.9 * members[f"user {room}"].sent
        moved = sum("resumed" in each.notices for each in members.values())
        assert moved == 24
        # Each node is restarted once, so a session that begins anew may do so three times.
        assert 1 <= restarts <= 3
        assert realtime.ends == [("going_away", 1012)] * (realtime.sessions - 1)
        assert 2 <= realtime.sessions <= 4
        print(f"Realtime: {realtime.sessions} sessions, at most {realtime.gap:.2f} s between two")
        gaps = sorted((each.gap, name) for name, each in members.items() if each.gap)
        print([(round(gap * 1e3), name) for gap, name in gaps])
        print(
            f"longest gap {gaps[-1][0] * 1e3:.0f} ms ({gaps[-1][1]}), "
            f"median of members {gaps[len(gaps) // 2][0] * 1e3:.0f} ms; {cluster.url}"
        )
