"""A bidirectional model, 24 kHz out, gives the same through a socket as by push and flush."""

from __future__ import annotations

import asyncio

import numpy as np
import pytest

from xyt_stream import Codec
from xyt_stream.audio import fit_length, to_float32, to_int16
from xyt_stream.client import connect
from xyt_stream.server.admission.limits import Limits
from xyt_stream.server.app import running


@pytest.fixture(scope="module")
def published(fixtures):
    return Codec.load(fixtures / "published" / "xy24k" / "weights.ckpt")


@pytest.fixture(scope="module", params=[0, 2])
def lookahead(request):
    return request.param


class Directly:
    def __init__(self, codec, lookahead, pcm):
        encoder = codec.stream_encoder(lookahead=lookahead)
        decoder = codec.stream_decoder(lookahead=lookahead)
        self.codes = np.concatenate([encoder.push(to_float32(pcm)), encoder.flush()], axis=1)
        sound = np.concatenate([decoder.push(self.codes), decoder.flush()])
        self.sound = to_int16(fit_length(sound, (3 * len(pcm) + 1) // 2))


@pytest.fixture
async def server(published, lookahead):
    any_load = Limits(load=0)  # no test here is about what a busy machine does
    async with running(published, max_sessions=4, lookahead=lookahead, limits=any_load) as server:
        yield server


def close_to(one, other):
    assert one.shape == other.shape
    assert np.abs(one.astype(int) - other.astype(int)).max(initial=0) <= 1


@pytest.mark.parametrize("samples", [0, 1, 199, 200, 201, 1480, 2760, 2761, 4041, 32_000])
async def test_loopback_is_the_codec(server, published, lookahead, clip, hear, samples):
    pcm = clip[:samples]
    direct = Directly(published, lookahead, pcm)
    async with connect(server.url, "loopback", receive=("pcm", "codes")) as connection:
        assert connection.ready.receive_rate == 24_000
        for start in range(0, samples, 999):
            await connection.send_pcm(pcm[start : start + 999])
        await connection.end()
        heard = await hear(connection)
    np.testing.assert_array_equal(heard.codes, direct.codes)
    assert heard.code_frames == list(range(direct.codes.shape[1]))
    close_to(heard.sound, direct.sound)


async def test_encode_then_decode(server, published, lookahead, clip, hear):
    direct = Directly(published, lookahead, clip)
    async with connect(server.url, "encode") as connection:
        await connection.send_pcm(clip)
        await connection.end()
        codes = (await hear(connection)).codes
    np.testing.assert_array_equal(codes, direct.codes)
    async with connect(server.url, "decode") as connection:
        await connection.send_codes(codes)
        await connection.end()
        sound = (await hear(connection)).sound
    assert len(sound) == codes.shape[1] * 1920
    close_to(sound[: len(direct.sound)], direct.sound)


async def test_ready_contains_the_delay(server, lookahead):
    async with connect(server.url, "encode") as connection:
        assert connection.ready.delay_ms.encode == pytest.approx(80 * (1 + lookahead) + 12.5)
        assert connection.ready.delay_ms.decode == pytest.approx(80 * lookahead + 15)


async def test_other_sessions_do_not_disturb_a_session(server, published, lookahead, clip, hear):
    async def one(start, pause):
        await asyncio.sleep(pause)
        async with connect(server.url, "loopback", receive=("pcm", "codes")) as connection:
            for at in range(start, len(clip), 2000):
                await connection.send_pcm(clip[at : at + 2000])
                await asyncio.sleep(0.005)
            await connection.end()
            return await hear(connection)

    starts = (0, 20_000, 7000, 25_000)
    together = await asyncio.gather(*(one(start, start / 1e6) for start in starts))
    for start, heard in zip(starts, together, strict=True):
        direct = Directly(published, lookahead, clip[start:])
        np.testing.assert_array_equal(heard.codes, direct.codes)
        close_to(heard.sound, direct.sound)


async def test_a_lost_mic_keeps_its_last_whole_frame(server, lookahead, clip, hear, until):
    async with connect(server.url, "speaker", room="a", receive=("pcm", "codes")) as speaker:
        async with connect(server.url, "mic", room="a") as mic:
            await mic.send_pcm(clip[: 8 * 1280 + 200])
            events = aiter(speaker)
            await anext(events)
        heard = await hear(speaker)
    assert heard.end.frames == 8
    assert heard.end.samples == 8 * 1920
