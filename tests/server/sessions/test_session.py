"""Each role on a real socket: the content and the length of the answer."""

from __future__ import annotations

import asyncio

import numpy as np
import pytest

from xyt_stream.audio import StreamResampler, fit_length, resample, to_float32, to_int16
from xyt_stream.client import connect
from xyt_stream.errors import CodeError, ProtocolError
from xyt_stream.protocol.client_machine import ClientMachine
from xyt_stream.protocol.machine import Pcm
from xyt_stream.protocol.messages import RATES, End, Hello, Pong
from xyt_stream.server.admission.access import Access, Token
from xyt_stream.server.admission.limits import Limits
from xyt_stream.server.app import running


def pieces(array, seed, axis=0):
    """The array in pieces of random lengths."""
    rng = np.random.default_rng(seed)
    cuts = np.cumsum(rng.integers(1, max(2, array.shape[axis] // 5), size=50))
    return np.split(array, cuts[cuts < array.shape[axis]], axis=axis)


def within_a_step(one, other):
    assert one.shape == other.shape
    assert np.abs(one.astype(int) - other.astype(int)).max() <= 1


@pytest.mark.parametrize("seed", range(3))
async def test_loopback_is_the_codec(server, clip, direct, hear, seed):
    async with connect(server.url, "loopback", receive=("pcm", "codes")) as connection:
        for piece in pieces(clip, seed):
            await connection.send_pcm(piece)
        await connection.end()
        heard = await hear(connection)
    within_a_step(heard.sound, direct.sound)
    np.testing.assert_array_equal(heard.codes, direct.codes)
    assert heard.code_frames == list(range(direct.codes.shape[1]))
    assert heard.sound_frames == sorted(heard.sound_frames)
    assert (heard.end.frames, heard.end.samples) == (direct.codes.shape[1], len(clip))
    assert 0 < heard.end.step_ms.median <= heard.end.step_ms.p99


@pytest.mark.parametrize("samples", [0, 1, 1279, 1280, 1281, 2 * 1280])
async def test_as_much_comes_back_as_was_sent(server, clip, hear, samples):
    async with connect(server.url, "loopback") as connection:
        await connection.send_pcm(clip[:samples])
        await connection.end()
        assert len((await hear(connection)).sound) == samples


@pytest.mark.parametrize("rate", RATES)
async def test_every_rate_comes_back_in_full(server, codec, clip, hear, rate):
    spoken = to_int16(resample(to_float32(clip), 16_000, rate))[:-1]
    async with connect(server.url, "loopback", send_rate=rate, receive_rate=rate) as connection:
        assert connection.ready.send_rate == connection.ready.receive_rate == rate
        for piece in pieces(spoken, rate):
            await connection.send_pcm(piece)
        await connection.end()
        heard = await hear(connection)
    assert len(heard.sound) == len(spoken)

    into, out = StreamResampler(rate, 16_000), StreamResampler(16_000, rate)
    encoder, decoder = codec.stream_encoder(), codec.stream_decoder()
    inside = np.concatenate([into.push(to_float32(spoken)), into.flush()])
    codes = np.concatenate([encoder.push(inside), encoder.flush()], axis=1)
    outside = np.concatenate([decoder.push(codes), decoder.flush()])
    outside = np.concatenate([out.push(outside), out.flush()])
    within_a_step(heard.sound, to_int16(fit_length(outside, len(spoken))))


async def test_the_two_rates_are_independent(server, clip, hear):
    async with connect(server.url, "loopback", send_rate=16_000, receive_rate=44_100) as connection:
        await connection.send_pcm(clip)
        await connection.end()
        heard = await hear(connection)
    assert len(heard.sound) == round(len(clip) * 44_100 / 16_000)


async def test_encode_then_decode(server, clip, direct, hear):
    async with connect(server.url, "encode") as connection:
        for piece in pieces(clip, 4):
            await connection.send_pcm(piece)
        await connection.end()
        heard = await hear(connection)
    np.testing.assert_array_equal(heard.codes, direct.codes)
    assert len(heard.sound) == 0

    async with connect(server.url, "decode") as connection:
        for piece in pieces(heard.codes, 5, axis=1):
            await connection.send_codes(piece)
        await connection.end()
        heard = await hear(connection)
    assert len(heard.sound) == direct.codes.shape[1] * 1280
    within_a_step(heard.sound[: len(clip)], direct.sound)


async def test_sessions_side_by_side_hear_their_own(server, codec, clip, hear, direct):
    async def one(start):
        pcm = clip[start:]
        async with connect(server.url, "loopback") as connection:
            for piece in pieces(pcm, start):
                await connection.send_pcm(piece)
                await asyncio.sleep(0.001)
            await connection.end()
            return (await hear(connection)).sound

    together = await asyncio.gather(*(one(start) for start in (0, 3000, 0, 7777)))
    within_a_step(together[0], direct.sound)
    within_a_step(together[2], direct.sound)
    for start, sound in ((3000, together[1]), (7777, together[3])):
        within_a_step(sound, await one(start))


async def test_thirty_two_sessions_at_once_each_hear_their_own(codec, clip, hear):
    said = [clip[700 * number :][: 4 * 1280 + 7 * number] for number in range(32)]

    async def one(server, pcm):
        async with connect(server.url, "loopback", receive=("pcm", "codes")) as connection:
            for start in range(0, len(pcm), 1000):
                await connection.send_pcm(pcm[start : start + 1000])
                await asyncio.sleep(0.001)
            await connection.end()
            return await hear(connection)

    any_load = Limits(load=0)
    async with running(codec, max_sessions=32, limits=any_load) as server:
        together = await asyncio.gather(*(one(server, pcm) for pcm in said))
        assert server.engine.free_slots == 32
    for number in (0, 1, 17, 31):
        encoder = codec.stream_encoder()
        alone = encoder.push(to_float32(said[number]))
        alone = np.concatenate([alone, encoder.flush()], axis=1)
        np.testing.assert_array_equal(together[number].codes, alone)
        assert len(together[number].sound) == len(said[number])


async def test_ready_describes_the_codec(server, codec):
    async with connect(server.url, "decode") as connection:
        ready = connection.ready
    assert (ready.model.name, ready.model.hash) == (codec.name, codec.hash)
    assert ready.model.codebooks == 8
    assert ready.frame_ms == 80
    assert ready.delay_ms.encode == 80
    assert ready.delay_ms.encode + ready.delay_ms.decode <= 110
    assert (ready.send, ready.receive) == ("codes", ("pcm",))
    assert ready.resume.token not in ready.session
    async with connect(server.url, "decode", resume=0) as connection:
        assert connection.ready.resume is None


async def test_ping_comes_back(server):
    async with connect(server.url, "loopback") as connection:
        await connection.ping(12.25)
        assert (await anext(aiter(connection))).time == 12.25


async def test_a_pong_tells_how_long_coding_takes(server, clip):
    async with connect(server.url, "loopback") as connection:
        await connection.send_pcm(clip[: 5 * 1280])
        events = aiter(connection)
        while not isinstance(await anext(events), Pcm):
            pass
        await connection.ping(1.5)
        while not isinstance(pong := await anext(events), Pong):
            pass
        assert pong.coding_ms.encode > 0
        assert pong.coding_ms.decode > 0


async def test_frames_without_an_answer_are_not_timed(server, clip, hear):
    """There is no answer by which the time of a frame would end."""
    async with connect(server.url, "loopback", receive=()) as connection:
        (session,) = server.service._sessions.values()
        await connection.send_pcm(clip)
        await connection.end()
        await hear(connection)
        assert not session._pipeline._turnaround._frames._full_at


async def test_frames_queued_behind_others_are_not_timed(server, clip):
    """All but the first of a burst wait for their turn, which says nothing of the server."""
    service = server.service
    machine = ClientMachine()
    session = service.open(Hello(role="loopback"), "here")
    with session.attach():
        machine.receive(await session.next())
        for frame in range(5):
            await session.receive(machine.pcm(0, clip[frame * 1280 : (frame + 1) * 1280]))
        await session.receive(machine.end())
        while not isinstance(machine.receive(await asyncio.wait_for(session.next(), 120)), End):
            pass
    session.close("ended")
    assert len(service.engine.timings._answer_ms) == 1


async def test_bad_codes_never_leave_the_client(server):
    async with connect(server.url, "decode") as connection:
        with pytest.raises(CodeError, match="out of range"):
            await connection.send_codes(np.full((8, 1), 1024))
        with pytest.raises(CodeError, match="must be"):
            await connection.send_codes(np.zeros(8, np.int64))


async def test_a_token_opens_the_server(codec):
    async with running(codec, max_sessions=1, access=Access([Token("sésame")])) as server:
        for token in (None, "sesame", ""):
            with pytest.raises(ProtocolError) as caught:
                async with connect(server.url, "loopback", token=token):
                    pass
            assert caught.value.name == "unauthorized"
            assert "sésame" not in str(caught.value)
        async with connect(server.url, "loopback", token="sésame"):
            pass


async def test_without_a_free_slot_clients_are_refused(codec, until):
    async with running(codec, max_sessions=1) as server:
        async with connect(server.url, "loopback"):
            with pytest.raises(ProtocolError, match="All 1 slots are taken") as caught:
                async with connect(server.url, "encode"):
                    pass
            assert (caught.value.name, caught.value.close_code) == ("busy", 4503)
            async with connect(server.url, "speaker", room="lobby"):
                pass  # a listener needs no slot
        await until(lambda: server.engine.free_slots == 1)
        async with connect(server.url, "encode"):
            pass


async def test_a_burst_loses_nothing(server, clip, hear):
    """Far more at once than slots and queues hold: the server reads on when it has room."""
    times = 5
    async with connect(server.url, "loopback", receive=("codes", "pcm")) as connection:
        await connection.send_pcm(np.tile(clip, times))
        await connection.end()
        heard = await hear(connection)
    assert len(heard.sound) == times * len(clip)
    assert heard.code_frames == list(range(-(-times * len(clip) // 1280)))
