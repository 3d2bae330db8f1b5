"""A user talks with a model in the server's process, on real sockets."""

from __future__ import annotations

import asyncio
import itertools
import logging
import os
import subprocess
import sys
import time
from contextlib import AsyncExitStack
from pathlib import Path

import numpy as np
import pytest
from websockets.asyncio.client import connect as raw_connect

from xyt_stream.audio import to_float32
from xyt_stream.client import connect
from xyt_stream.errors import ProtocolError, ServeError
from xyt_stream.protocol.machine import Pcm
from xyt_stream.protocol.messages import SUBPROTOCOL
from xyt_stream.server.admission.limits import Limits
from xyt_stream.server.app import running
from xyt_stream.server.duplex.models import load
from xyt_stream.server.duplex.runner import DuplexRunner

sys.path.insert(0, str(Path(__file__).parent))
import duplex_models as models


@pytest.fixture
def talking(codec):
    """A server with a model of its own, which refuses no client because the machine is slow."""

    def talking(factory, **options):
        limits = Limits(load=0)
        return running(codec, **{"max_sessions": 4, "duplex": factory, "limits": limits, **options})

    return talking


async def test_user_and_model_hear_each_other(talking, clip, direct, hear, until, codec):
    models.Echo.log.clear()
    async with talking(models.Echo) as server:
        async with connect(server.url, "user", receive=("pcm", "codes")) as user:
            session = user.ready.session
            for start in range(0, len(clip), 1000):
                await user.send_pcm(clip[start : start + 1000])
            await user.end()
            heard = await hear(user)
        await until(lambda: ("close", session) in models.Echo.log)
        await until(lambda: server.engine.free_slots == 4)
    assert models.Echo.log == [("open", session), ("close", session)]
    frames = direct.codes.shape[1]
    np.testing.assert_array_equal(heard.codes, direct.codes)
    assert heard.code_frames == list(range(frames))
    assert len(heard.sound) == frames * 1280  # whole frames, in step with what was said
    assert np.abs(heard.sound[: len(clip)].astype(int) - direct.sound).max() <= 1
    assert models.Echo.threads == {"xyt-duplex"}


async def test_a_silent_model_is_silence(talking, clip, direct, hear):
    async with (
        talking(models.Sometimes) as server,
        connect(server.url, "user", receive=("pcm", "codes")) as user,
    ):
        await user.send_pcm(clip)
        await user.end()
        heard = await hear(user)
    spoken = list(range(2, direct.codes.shape[1], 3))
    assert heard.code_frames == spoken
    np.testing.assert_array_equal(heard.codes, direct.codes[:, spoken])
    assert len(heard.sound) == direct.codes.shape[1] * 1280
    assert np.abs(heard.sound[:1000]).max() < 0.01 * 32768


async def test_two_conversations_do_not_hear_each_other(talking, clip, direct, hear, until):
    async with talking(models.Sometimes) as server:

        async def talk(room):
            async with connect(server.url, "user", room=room, receive=("codes",)) as user:
                await user.send_pcm(clip)
                await user.end()
                return await hear(user)

        for _ in range(2):  # the second time with objects that were used before
            for heard in await asyncio.gather(talk(None), talk("a")):
                np.testing.assert_array_equal(heard.codes, direct.codes[:, 2::3])
            await until(lambda: server.engine.free_slots == 4)


async def test_a_batched_model_steps_all_at_once(talking, clip, direct, hear, until):
    models.Together.sizes.clear()
    models.Together.go_on.clear()
    async with talking(models.Together) as server:

        async def talk():
            async with connect(server.url, "user", receive=("codes",)) as user:
                await user.send_pcm(clip)
                await user.end()
                return await hear(user)

        talks = [asyncio.create_task(talk()) for _ in range(2)]
        jobs = server.service.runner._jobs  # while the first step takes its time
        await until(lambda: len({job.handle.session for job in list(jobs)[-2:]}) == 2)
        models.Together.go_on.set()
        for heard in await asyncio.gather(*talks):
            np.testing.assert_array_equal(heard.codes, direct.codes)
    assert 2 in models.Together.sizes
    assert sum(models.Together.sizes) == 2 * direct.codes.shape[1]


async def test_a_failing_model_ends_only_its_conversation(
    talking, clip, direct, hear, until, caplog
):
    models.FailsOnce.failed = False
    async with talking(models.FailsOnce) as server:
        async with (
            connect(server.url, "user", receive=("codes",)) as one,
            connect(server.url, "user", receive=("codes",)) as two,
        ):
            await one.send_pcm(clip)
            with caplog.at_level(logging.ERROR), pytest.raises(ProtocolError) as caught:
                await hear(one)
            assert caught.value.name == "internal"
            record = next(each for each in caplog.records if "duplex model" in each.message)
            assert record.fields == {"session": one.ready.session}
            assert "a bug in somebody's model" in str(record.exc_info[1])
            await two.send_pcm(clip)
            await two.end()
            np.testing.assert_array_equal((await hear(two)).codes, direct.codes)
        await until(lambda: server.engine.free_slots == 4)


async def test_a_slow_model_delays_no_other_session(talking, clip, direct, hear, until):
    """Its own user is read no further than fits, and hears all of it in the end."""
    models.Stuck.go_on.clear()
    async with talking(models.Stuck) as server:
        async with connect(server.url, "user", receive=("codes",)) as user:
            for _ in range(3):
                await user.send_pcm(clip[: 25 * 1280])
            await user.end()
            async with connect(server.url, "loopback") as other:
                await other.send_pcm(clip)
                await other.end()
                assert len((await hear(other)).sound) == len(clip)
            models.Stuck.go_on.set()
            heard = await hear(user)
        page = server.service.metrics.page().decode()
    assert heard.code_frames == list(range(75))
    np.testing.assert_array_equal(heard.codes[:, :25], direct.codes[:, :25])
    assert "xyt_duplex_step_seconds_count 75.0" in page
    assert "xyt_duplex_failures_total 0.0" in page


async def test_a_hanging_model_does_not_block_shutdown(talking, clip):
    models.Stuck.go_on.clear()
    async with talking(models.Stuck, limits=Limits(drain_time=0.2, load=0)) as server:
        user = await raw_connect(server.url, subprotocols=[SUBPROTOCOL])
        await user.send('{"type":"hello","role":"user"}')
        await user.recv()
        await user.send(bytes([1]) + bytes(11) + clip.tobytes())
    assert server.engine.free_slots == 4
    models.Stuck.go_on.set()
    await user.close()


async def test_a_lookahead_only_adds_delay(published, clip, hear):
    codec = published
    encoder = codec.stream_encoder(lookahead=2)
    sound = to_float32(clip)
    codes = np.concatenate([encoder.push(sound), encoder.flush()], axis=1)
    async with (
        running(
            codec, max_sessions=2, lookahead=2, duplex=models.Echo, limits=Limits(load=0)
        ) as server,
        connect(server.url, "user", receive=("pcm", "codes")) as user,
    ):
        await user.send_pcm(clip)
        await user.end()
        heard = await hear(user)
    np.testing.assert_array_equal(heard.codes, codes)
    assert len(heard.sound) == codes.shape[1] * codec.frame_samples_out


@pytest.mark.parametrize("factory", [models.CannotOpen, models.OutOfRange, models.WrongShape])
async def test_invalid_answers_end_the_conversation(talking, clip, hear, until, factory):
    async with talking(factory) as server:
        async with connect(server.url, "user") as user:
            await user.send_pcm(clip)
            with pytest.raises(ProtocolError) as caught:
                await hear(user)
            assert caught.value.name == "internal"
        await until(lambda: server.engine.free_slots == 4)
        async with connect(server.url, "loopback") as other:
            await other.send_pcm(clip)
            await other.end()
            assert len((await hear(other)).sound) == len(clip)


async def test_a_leaving_user_frees_everything(talking, clip, until):
    models.Echo.log.clear()
    async with talking(models.Echo) as server:
        for _ in range(3):
            async with connect(server.url, "user") as user:
                await user.send_pcm(clip)
            await until(lambda: server.engine.free_slots == 4)
        await until(lambda: len(models.Echo.log) == 6)


async def test_more_users_than_slots_are_refused(talking, until):
    async with talking(models.Echo) as server:
        async with connect(server.url, "user"), connect(server.url, "user"):
            with pytest.raises(ProtocolError) as caught:
                async with connect(server.url, "user"):
                    pass
            assert caught.value.name == "busy"
        await until(lambda: server.engine.free_slots == 4)
        async with connect(server.url, "loopback"), connect(server.url, "user"):
            await until(lambda: server.engine.free_slots == 1)
            with pytest.raises(ProtocolError):
                async with connect(server.url, "user"):
                    pass
            assert server.engine.free_slots == 1  # half a conversation holds nothing


async def test_without_a_model_a_user_must_name_a_room(server, clip, hear):
    with pytest.raises(ProtocolError, match="name a room"):
        async with connect(server.url, "user"):
            pass
    async with connect(server.url, "user", room="a") as user:  # where one may come yet
        await user.send_pcm(clip)
        await user.end()
        heard = await hear(user)
    whole = -(-len(clip) // 1280) * 1280
    assert len(heard.sound) == whole
    assert np.abs(heard.sound).max() < 0.01 * 32768


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("duplex_models", "write it as package.module:Factory"),
        ("no_such_module_here:Model", "No module named 'no_such_module_here'"),
        ("duplex_models:Nobody", "has no attribute 'Nobody'"),
        ("duplex_models:NOTHING", "cannot be called"),
    ],
)
def test_a_missing_factory_is_one_line(name, message):
    with pytest.raises(ServeError, match=message) as caught:
        load(name)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("name", "message"),
    [("Unmakable", "OSError: no weights anywhere"), ("Unfinished", "no open and no step and no")],
)
def test_serve_reports_a_failing_factory_in_one_line(name, message):
    """The module is found in the current directory."""
    command = [sys.executable, "-m", "xyt_stream.cli", "serve", "--port", "0"]
    done = subprocess.run(
        [*command, "--duplex", f"duplex_models:{name}"],
        cwd=Path(__file__).parent,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[3])},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 1
    assert message in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1


async def test_a_model_that_cannot_keep_up_refuses_and_ends_the_newest_conversations(
    talking, clip, until
):
    async def speak(user):
        for i in itertools.count():
            await user.send_pcm(np.take(clip, np.arange(i * 1280, (i + 1) * 1280), mode="wrap"))
            await asyncio.sleep(0.08)

    async def answered(user):
        async for event in user:
            if isinstance(event, Pcm) and np.abs(event.samples).max() > 1000:
                return
        raise AssertionError("the session ended without an answer")

    async with (
        talking(models.Slow, max_sessions=12, limits=Limits()) as server,
        AsyncExitStack() as stack,
    ):
        users = [await stack.enter_async_context(connect(server.url, "user")) for _ in range(6)]
        mouths = [asyncio.create_task(speak(user)) for user in users]
        service = server.service
        await until(lambda: service.load > 1)
        await until(lambda: len(service._sessions) < 6)
        left = len(service._sessions)
        assert [user.ready.session for user in users[:left]] == service.runner.conversations
        with pytest.raises(ProtocolError) as refused:
            async with connect(server.url, "user"):
                pass
        assert refused.value.name == "busy"
        assert refused.value.retry_after > 0
        await answered(users[0])
        for mouth in mouths:
            mouth.cancel()
        await asyncio.gather(*mouths, return_exceptions=True)


def test_conversations_that_begin_at_one_instant_are_all_counted(codec):
    runner = DuplexRunner(models.Echo, codec, 10, max_load=0.95)
    runner.open("measured", None)
    for _ in range(16):
        runner._record_load(time.monotonic() - 0.02, 1)  # a quarter of real time
    for number in range(2):
        runner.open(str(number), None)
    with pytest.raises(ProtocolError, match="cannot keep up"):
        runner.open("one too many", None)
