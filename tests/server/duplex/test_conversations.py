"""A user and a model in a room, on real sockets: which frames each hears, and when."""

from __future__ import annotations

import asyncio

import numpy as np
import pytest

from xyt_stream.client import connect
from xyt_stream.errors import ProtocolError
from xyt_stream.protocol.machine import Codes, Pcm
from xyt_stream.protocol.messages import Clear, Cleared, End, Notice, Playing
from xyt_stream.server.admission.limits import Limits
from xyt_stream.server.app import running
from xyt_stream.server.duplex import interruption

from ...conftest import code_frames
from ..proxy import Proxy
from . import duplex_models as models

FRAME = 1280


class Ears:
    """Keeps what a connection is sent, and waits for it."""

    def __init__(self, connection):
        self.connection = connection
        self.events = []
        self._task = asyncio.create_task(self._listen())

    async def _listen(self):
        async for event in self.connection:
            self.events.append(event)

    def all(self, kind):
        return [event for event in self.events if isinstance(event, kind)]

    @property
    def frames(self):
        """The clock's, of codes."""
        return code_frames(self.events)

    @property
    def codes(self):
        return np.concatenate([np.zeros((8, 0), int), *(each.codes for each in self.all(Codes))], 1)

    async def stop(self):
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)


@pytest.fixture
async def listen():
    ears = []

    def listen(connection):
        ears.append(Ears(connection))
        return ears[-1]

    yield listen
    for each in ears:
        await each.stop()


def frame(clip, index):
    return clip[index * FRAME : (index + 1) * FRAME]


async def test_an_immediate_answer_is_heard_in_the_same_frame(server, clip, direct, listen, until):
    async with (
        connect(server.url, "model", room="a") as model,
        connect(server.url, "speaker", room="a", voice="user", receive=("codes",)) as of_user,
        connect(server.url, "speaker", room="a", voice="model", receive=("codes",)) as of_model,
        connect(server.url, "speaker", room="a") as either,
        connect(server.url, "user", room="a", receive=("pcm", "codes")) as user,
    ):
        ears = [listen(each) for each in (user, of_user, of_model, either)]

        async def answer():
            async for event in model:
                if isinstance(event, Codes):
                    for later, codes in enumerate(event.codes.T):
                        if (event.frame + later) % 2 == 0:
                            await model.send_codes(codes[::-1, None])

        answering = asyncio.create_task(answer())
        for index in range(12):
            await user.send_pcm(frame(clip, index))
            if index % 2 == 0:
                await until(lambda index=index: index in ears[0].frames)
        await user.end()
        await until(lambda: all(each.all(End) for each in ears))
        await answering  # the model knows that the user has ended
    said = direct.codes[::-1, :12:2]
    for each in (ears[0], ears[2]):
        assert each.frames == list(range(0, 12, 2))
        np.testing.assert_array_equal(each.codes, said)
    assert ears[1].frames == list(range(12))
    np.testing.assert_array_equal(ears[1].codes, direct.codes[:, :12])
    for each in (ears[0], ears[3]):
        assert sum(len(event.samples) for event in each.all(Pcm)) == 12 * FRAME


async def test_a_burst_is_heard_at_the_pace_of_speech(
    server, clip, direct, hear, listen, until, codec
):
    """Speech from before the user joined too; `playing` gives the frame."""
    async with connect(server.url, "model", room="a") as model:
        ears = listen(model)
        await model.send_codes(direct.codes[:, :10])
        async with connect(server.url, "user", room="a", receive=("pcm", "codes")) as user:
            await user.send_pcm(clip[: 7 * FRAME])
            await until(lambda: ears.frames == list(range(7)))
            await user.send_pcm(clip[7 * FRAME : 12 * FRAME])
            await until(lambda: len(ears.frames) == 12)
            await user.end()
            heard = await hear(user)
        await until(lambda: ears.all(End) != [])
    assert heard.code_frames == list(range(10))
    np.testing.assert_array_equal(heard.codes, direct.codes[:, :10])
    sound = codec.decode(direct.codes[:, :10]).numpy()[: 9 * FRAME]
    assert len(heard.sound) == 12 * FRAME
    np.testing.assert_allclose(heard.sound[: 9 * FRAME] / 32768, sound, atol=1e-3)
    assert ears.all(Playing) == [
        Playing(frame=0, played=0, speaking=True),
        Playing(frame=10, played=10, speaking=False),
    ]


async def test_queued_speech_is_heard_after_the_user_ends(server, clip, direct, hear, until):
    async with (
        connect(server.url, "model", room="a") as model,
        connect(server.url, "user", room="a", receive=("pcm", "codes")) as user,
    ):
        await model.send_codes(direct.codes)
        await until(lambda: bool(server.service.rooms._rooms["a"].conversation._remote))
        await user.send_pcm(clip[: 3 * FRAME + 5])
        await user.end()
        heard = await hear(user)
    np.testing.assert_array_equal(heard.codes, direct.codes)
    assert len(heard.sound) == direct.codes.shape[1] * FRAME
    await until(lambda: server.engine.free_slots == 4)


@pytest.mark.parametrize("answers", [True, False])
@pytest.mark.parametrize("by", ["model", "user"])
async def test_clear_drops_queued_speech_and_reports_what_was_heard(
    server, clip, direct, listen, until, by, answers, monkeypatch
):
    monkeypatch.setattr(interruption, "REPORT_TIMEOUT", 3600.0 if answers else 0.1)
    async with (
        connect(server.url, "model", room="a") as model,
        connect(server.url, "speaker", room="a") as speaker,
        connect(server.url, "user", room="a", receive=("pcm", "codes")) as user,
    ):
        mind, ears, watcher = listen(model), listen(user), listen(speaker)
        await model.send_codes(np.tile(direct.codes, 4))
        total = 4 * direct.codes.shape[1]
        await user.send_pcm(clip[: 5 * FRAME])
        await until(lambda: len(ears.all(Pcm)) == 5)
        await {"model": model, "user": user}[by].clear()
        await until(lambda: ears.all(Clear) != [] and watcher.all(Clear) != [])
        if answers:  # that it had two frames and a bit in its jitter buffer
            await user.cleared(2 * FRAME + 1)
        await until(lambda: mind.all(Cleared) != [])
        played = 2 if answers else 5
        assert mind.all(Cleared) == [Cleared(frame=5, played=played, dropped=total - played)]

        await user.send_pcm(clip[5 * FRAME : 7 * FRAME])  # silence again, and then more
        await until(lambda: mind.frames == list(range(7)))
        await model.send_codes(direct.codes[:, :2])
        await until(lambda: len(ears.frames) >= 6)
        await user.send_pcm(clip[7 * FRAME : 8 * FRAME])
        await until(lambda: len(ears.frames) == 7)
        assert ears.frames == [*range(5), 6, 7]
        np.testing.assert_array_equal(ears.codes[:, 5:], direct.codes[:, :2])


async def test_clear_drops_speech_not_taken_in_yet(server, clip, listen, until, codec):
    """More than may wait lies before it; what is said after it is heard at once."""
    async with (
        connect(server.url, "model", room="a") as model,
        connect(server.url, "user", room="a", receive=("codes",)) as user,
    ):
        mind, ears = listen(model), listen(user)
        for _ in range(10):
            await model.send_codes(np.zeros((8, 100), np.int64))
        await model.clear()
        await model.send_codes(np.ones((8, 1), np.int64))
        await until(lambda: mind.all(Cleared) != [])
        assert mind.all(Cleared) == [Cleared(frame=0, played=0, dropped=1000)]
        await user.send_pcm(clip[: 2 * FRAME])
        await until(lambda: len(mind.frames) == 2)
        await until(lambda: ears.frames == [0])
        assert ears.codes.tolist() == 8 * [[1]]


async def test_clear_reaches_a_local_model(codec, clip, listen, until):
    models.Sometimes.cleared.clear()
    async with (
        running(codec, max_sessions=2, duplex=models.Sometimes, limits=Limits(load=0)) as server,
        connect(server.url, "user", receive=("pcm", "codes")) as user,
    ):
        ears = listen(user)
        await user.send_pcm(clip[: 7 * FRAME])
        await until(lambda: len(ears.all(Pcm)) == 7)
        await user.clear()
        await until(lambda: ears.all(Clear) != [])
        await user.send_pcm(clip[7 * FRAME : 14 * FRAME])
        await until(lambda: len(ears.all(Pcm)) == 14)
        assert ears.frames == [2, 5]
        assert models.Sometimes.cleared == [2]


async def test_the_user_is_notified_of_models(server, clip, direct, listen, until):
    async with connect(server.url, "user", room="a", receive=("pcm", "codes")) as user:
        ears = listen(user)
        for index in range(2):
            async with connect(server.url, "model", room="a") as model:
                await until(lambda n=index: len(ears.all(Notice)) == 2 * n + 1)
                await model.send_codes(direct.codes[:, index : index + 1])
                await model.end()
                assert [event async for event in model][-1].__class__ is End
            await until(lambda n=index: len(ears.all(Notice)) == 2 * n + 2)
            await user.send_pcm(frame(clip, index))
            await until(lambda n=index: len(ears.frames) == n + 1)
        assert [each.name for each in ears.all(Notice)] == 2 * ["model_joined", "model_left"]
        np.testing.assert_array_equal(ears.codes, direct.codes[:, :2])


async def test_a_user_whose_input_ended_is_not_notified(server, clip, direct, listen, until):
    async with connect(server.url, "user", room="a") as user:
        ears = listen(user)
        async with connect(server.url, "model", room="a") as model:
            await until(lambda: ears.all(Notice))
            await model.send_codes(direct.codes)
            await user.send_pcm(frame(clip, 0))
            await user.end()
            assert [event async for event in model][-1].__class__ is End
        await until(lambda: ears.all(End))
        assert [each.name for each in ears.all(Notice)] == ["model_joined"]


async def test_a_leaving_user_ends_the_conversation(server, clip, direct, hear, until):
    async with (
        connect(server.url, "model", room="a") as model,
        connect(server.url, "speaker", room="a") as speaker,
    ):
        async with connect(server.url, "user", room="a") as user:
            await user.send_pcm(clip[: 5 * FRAME + 9])
        heard = await hear(model)
        assert len((await hear(speaker)).sound) % FRAME == 0
    count = heard.codes.shape[1]
    np.testing.assert_array_equal(heard.codes, direct.codes[:, :count])
    await until(lambda: server.engine.free_slots == 4)


async def test_speech_after_the_user_s_end_is_no_error(server, clip, until):
    """The few lines of the documentation end of themselves, however late they are."""
    async with connect(server.url, "model", room="a") as model:
        async with connect(server.url, "user", room="a") as user:
            await user.send_pcm(clip)
            await user.end()
            assert isinstance([event async for event in user][-1], End)
        await until(lambda: model._transport.ended)  # behind all the codes
        answered = 0
        async for event in model:
            if isinstance(event, Codes):
                await model.send_codes(event.codes)
                await model.clear()
                answered += event.codes.shape[1]
        await model.end()
    assert answered == 26


async def refused(url, role, **options):
    with pytest.raises(ProtocolError) as caught:
        async with connect(url, role, **options):
            pass
    return caught.value.name


async def test_a_room_has_one_user_and_one_model(server, codec):
    async with connect(server.url, "model", room="a"), connect(server.url, "user", room="a"):
        assert await refused(server.url, "model", room="a") == "room_has_model"
        assert await refused(server.url, "user", room="a") == "room_has_user"
        assert await refused(server.url, "mic", room="a") == "room_has_user"
        async with connect(server.url, "mic", room="b"):
            assert await refused(server.url, "user", room="b") == "room_has_mic"
            assert await refused(server.url, "model", room="b") == "room_has_mic"
    async with connect(server.url, "model", room="c"):
        assert await refused(server.url, "mic", room="c") == "room_has_model"
    assert await refused(server.url, "speaker", room="a", voice="mic") == "bad_message"
    assert await refused(server.url, "user", room="a", voice="user") == "bad_message"
    async with (
        running(codec, max_sessions=4, duplex=models.Echo) as own,
        connect(own.url, "user", room="a"),
    ):
        assert await refused(own.url, "model", room="a") == "room_has_model"


async def test_a_remote_model_takes_precedence(codec, clip, listen, until):
    async with (
        running(codec, max_sessions=4, duplex=models.Echo) as server,
        connect(server.url, "model", room="a") as model,
        connect(server.url, "user", room="a", receive=("codes",)) as user,
    ):
        ears = listen(user)
        await model.send_codes(np.full((8, 1), 7))
        await user.send_pcm(frame(clip, 0))
        await until(lambda: ears.frames == [0])
        assert ears.codes.tolist() == 8 * [[7]]


async def test_listeners_may_not_clear(server):
    async with connect(server.url, "loopback") as connection:
        with pytest.raises(ProtocolError, match="Only a user or a model"):
            await connection.clear()


async def test_user_and_model_both_resume(server, clip, direct, listen, until):
    async with (
        Proxy(server.port) as proxy,
        connect(proxy.url, "model", room="a") as model,
        connect(proxy.url, "user", room="a", receive=("codes",)) as user,
    ):
        mind, ears = listen(model), listen(user)
        for index in range(16):
            await user.send_pcm(frame(clip, index))
            await until(lambda index=index: len(mind.frames) == index + 1)
            if index % 5 == 4:
                proxy.cut()
            await model.send_codes(mind.codes[:, index : index + 1])
            await until(lambda index=index: len(ears.frames) == index + 1)
        assert proxy.connections > 2
    assert ears.frames == mind.frames == list(range(16))
    np.testing.assert_array_equal(ears.codes, direct.codes[:, :16])
