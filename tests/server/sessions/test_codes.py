"""Clients that have the codec send and receive codes; the server decodes only for those without."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

import numpy as np
import pytest

from xyt_stream.audio import to_int16
from xyt_stream.client import connect
from xyt_stream.errors import ProtocolError
from xyt_stream.protocol.machine import Codes, Pcm
from xyt_stream.protocol.messages import Pong
from xyt_stream.server.admission.limits import Limits
from xyt_stream.server.app import running

sys.path.insert(0, str(Path(__file__).parents[1] / "duplex"))
import duplex_models as models


async def send_codes(connection, codes, end=True):
    for start in range(0, codes.shape[1], 3):
        await connection.send_codes(codes[:, start : start + 3])
    if end:
        await connection.end()


def close_to(one, other):
    assert one.shape == other.shape
    assert np.abs(one.astype(int) - other.astype(int)).max() <= 1


async def test_codes_pass_through_a_room_without_a_slot(server, direct, hear):
    async with (
        connect(server.url, "speaker", room="a", receive=("codes",)) as one,
        connect(server.url, "speaker", room="a", receive=("codes",)) as two,
        connect(server.url, "mic", room="a", send="codes") as mic,
    ):
        assert mic.ready.send == "codes"
        assert server.engine.free_slots == server.engine.slots
        await send_codes(mic, direct.codes)
        heard = await asyncio.gather(hear(one), hear(two), hear(mic))
        assert server.engine.free_slots == server.engine.slots
    for each in heard[:2]:
        np.testing.assert_array_equal(each.codes, direct.codes)
        assert each.code_frames == list(range(direct.codes.shape[1]))


async def test_speakers_of_codes_and_of_sound_share_one_decoder(server, direct, clip, hear, until):
    async with (
        connect(server.url, "speaker", room="a", receive=("codes",)) as coded,
        connect(server.url, "speaker", room="a") as one,
        connect(server.url, "speaker", room="a", receive_rate=8000) as two,
        connect(server.url, "mic", room="a", send="codes") as mic,
    ):
        await send_codes(mic, direct.codes, end=False)
        await until(lambda: server.engine.free_slots == server.engine.slots - 1)
        await mic.end()
        heard = await asyncio.gather(hear(coded), hear(one), hear(two))
    np.testing.assert_array_equal(heard[0].codes, direct.codes)
    close_to(heard[1].sound[: len(clip)], direct.sound)
    assert len(heard[1].sound) == direct.codes.shape[1] * 1280
    assert len(heard[2].sound) == direct.codes.shape[1] * 640
    await until(lambda: server.engine.free_slots == server.engine.slots)


async def test_a_slot_is_held_only_while_sound_is_asked_for(server, direct, hear, until):
    codes = direct.codes
    async with (
        connect(server.url, "speaker", room="a", receive=("codes",)) as coded,
        connect(server.url, "mic", room="a", send="codes") as mic,
    ):
        await send_codes(mic, codes[:, :5], end=False)
        async with connect(server.url, "speaker", room="a") as speaker:
            await until(lambda: server.engine.free_slots == server.engine.slots - 1)
            await send_codes(mic, codes[:, 5:10], end=False)
            first = await anext(aiter(speaker))
            assert isinstance(first, Pcm)
            assert first.frame == 5
        await until(lambda: server.engine.free_slots == server.engine.slots)
        await send_codes(mic, codes[:, 10:])
        np.testing.assert_array_equal((await hear(coded)).codes, codes)


async def test_without_a_free_slot_only_the_speaker_of_sound_is_refused(codec, direct, hear):
    async with (
        running(codec, max_sessions=1, limits=Limits(load=0)) as server,
        connect(server.url, "loopback"),
        connect(server.url, "speaker", room="a", receive=("codes",)) as coded,
        connect(server.url, "mic", room="a", send="codes") as mic,
    ):
        with pytest.raises(ProtocolError, match="slots are taken") as caught:
            async with connect(server.url, "speaker", room="a"):
                pass
        assert caught.value.name == "busy"
        await send_codes(mic, direct.codes)
        np.testing.assert_array_equal((await hear(coded)).codes, direct.codes)


@pytest.mark.parametrize("receive", [("codes",), ("pcm",), ("pcm", "codes")])
async def test_a_loopback_may_send_codes(server, direct, clip, hear, until, receive):
    async with connect(server.url, "loopback", send="codes", receive=receive) as connection:
        slots = int("pcm" in receive)
        assert server.engine.free_slots == server.engine.slots - slots
        await send_codes(connection, direct.codes)
        heard = await hear(connection)
    if "codes" in receive:
        np.testing.assert_array_equal(heard.codes, direct.codes)
    if "pcm" in receive:
        close_to(heard.sound[: len(clip)], direct.sound)
    await until(lambda: server.engine.free_slots == server.engine.slots)


async def test_a_user_of_codes_talks_without_a_codec_in_between(codec, direct, hear, until):
    async with running(codec, max_sessions=4, duplex=models.Echo, limits=Limits(load=0)) as server:
        async with connect(server.url, "user", send="codes", receive=("codes",)) as user:
            await send_codes(user, direct.codes)
            heard = await hear(user)
            assert server.engine.free_slots == 4
        assert server.engine.timings.step_ms() is None  # the engine has done nothing
    np.testing.assert_array_equal(heard.codes, direct.codes)


async def test_a_user_of_codes_and_a_remote_model_share_a_room(server, direct, hear):
    async with (
        connect(server.url, "model", room="a") as model,
        connect(server.url, "user", room="a", send="codes", receive=("codes", "pcm")) as user,
    ):
        talking = asyncio.create_task(hear(user))
        await send_codes(user, direct.codes, end=False)
        answered = 0
        async for event in model:
            if isinstance(event, Codes):
                await model.send_codes(event.codes)
                answered += event.codes.shape[1]
                if answered == direct.codes.shape[1]:
                    await model.ping(0.0)
            elif isinstance(event, Pong):  # only answers that come before the end are surely heard
                await user.end()
        heard = await talking
    np.testing.assert_array_equal(heard.codes, direct.codes)
    assert len(heard.sound) == (heard.code_frames[-1] + 1) * 1280


async def test_a_lost_mic_of_codes_ends_its_room(server, direct, hear):
    async with connect(server.url, "speaker", room="a", receive=("codes", "pcm")) as speaker:
        async with connect(server.url, "mic", room="a", send="codes", resume=0) as mic:
            await send_codes(mic, direct.codes[:, :6], end=False)
            events = aiter(speaker)
            codes = 0
            while codes < 6:
                event = await anext(events)
                codes += event.codes.shape[1] if isinstance(event, Codes) else 0
        assert (await hear(speaker)).codes.shape == (8, 0)


@pytest.mark.parametrize("role", ["mic", "loopback", "speaker"])
async def test_codes_of_another_model_are_refused_by_name(server, role):
    room = None if role == "loopback" else "a"
    with pytest.raises(ProtocolError, match="codes here are those of mini") as caught:
        async with connect(server.url, role, room=room, model_hash="0" * 64):
            pass
    assert (caught.value.name, caught.value.close_code) == ("wrong_model", 4424)
    hash = server.service.resources.model.hash
    async with connect(server.url, role, room=room, model_hash=hash) as connection:
        assert connection.ready.model.hash == hash


@pytest.mark.parametrize("role", ["encode", "speaker", "decode", "model"])
async def test_a_role_sends_only_what_it_may(server, role):
    wrong = "codes" if role in ("encode", "speaker") else "pcm"
    room = "a" if role in ("speaker", "model") else None
    with pytest.raises(ProtocolError, match="may send") as caught:
        async with connect(server.url, role, room=room, send=wrong):
            pass
    assert caught.value.name == "not_allowed"


async def test_codes_of_fewer_codebooks_are_decoded_beside_others(server, codec, direct, hear):
    """As in the whole file: those that are left out add nothing."""

    async def decoded(count):
        shape = {"model_hash": codec.hash, "codebooks": count}
        async with connect(server.url, "decode", **shape) as connection:
            assert connection.ready.model.codebooks == count
            await connection.send_codes(direct.codes[:count])
            await connection.end()
            return (await hear(connection)).sound

    counts = (8, 1, 3)
    for count, sound in zip(counts, await asyncio.gather(*map(decoded, counts)), strict=True):
        expected = to_int16(codec.decode(direct.codes[:count]).numpy())
        assert len(sound) == len(expected)
        assert np.abs(sound.astype(int) - expected).max() <= 2


@pytest.mark.parametrize(
    ("role", "shape"),
    [
        ("decode", {"codebooks": 9}),
        ("decode", {"codebooks": 3, "codebook_size": 512}),
        ("loopback", {"codebooks": 3}),
        ("encode", {"codebooks": 3}),
    ],
)
async def test_other_codebooks_than_the_model_s_are_refused(server, codec, role, shape):
    with pytest.raises(ProtocolError) as caught:
        async with connect(server.url, role, model_hash=codec.hash, **shape):
            pass
    assert caught.value.name == "wrong_model"
