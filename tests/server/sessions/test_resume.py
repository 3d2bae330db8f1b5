"""Lost connections and resumed sessions: the client receives the same as without the loss."""

from __future__ import annotations

import asyncio
import json
import struct

import numpy as np
import pytest
from websockets.asyncio.client import connect as raw_connect
from websockets.exceptions import ConnectionClosed

from xyt_stream.client import connect
from xyt_stream.errors import ConnectionFailedError, ProtocolError
from xyt_stream.protocol.messages import SUBPROTOCOL
from xyt_stream.server.admission.limits import Limits
from xyt_stream.server.app import running

from ..proxy import Proxy


@pytest.fixture
async def proxy(server):
    async with Proxy(server.port) as proxy:
        yield proxy


async def speak(connection, pcm, proxy, every):
    """Sends 20 ms at a time; the connection is cut after every so many pieces."""
    for number, start in enumerate(range(0, len(pcm), 320), start=1):
        await connection.send_pcm(pcm[start : start + 320])
        if number % every == 0:
            proxy.cut()
        await asyncio.sleep(0)
    await connection.end()
    proxy.cut()


@pytest.mark.parametrize("every", [7, 20, 33])
async def test_nothing_is_lost_and_nothing_repeated(server, proxy, clip, direct, hear, every):
    async with connect(proxy.url, "loopback", receive=("pcm", "codes")) as connection:
        speaking = asyncio.create_task(speak(connection, clip, proxy, every))
        heard = await hear(connection)
        await speaking
    np.testing.assert_array_equal(heard.codes, direct.codes)
    assert heard.code_frames == list(range(direct.codes.shape[1]))
    assert len(heard.sound) == len(clip)
    assert np.abs(heard.sound.astype(int) - direct.sound).max() <= 1
    assert proxy.connections > 2
    assert heard.notices.count("interrupted") == heard.notices.count("resumed") > 0


async def test_a_long_stream_is_acknowledged_and_resumed(server, proxy, clip, hear):
    """Far more than either side keeps, so that it must be acknowledged to go on."""
    times = 14
    async with connect(proxy.url, "loopback", receive_rate=48_000) as connection:

        async def go_on():
            for number in range(times):
                await connection.send_pcm(clip)
                if number % 4 == 3:
                    proxy.cut()
            await connection.end()

        speaking = asyncio.create_task(go_on())
        heard = await hear(connection)
        await speaking
    assert len(heard.sound) == 3 * times * len(clip)
    assert heard.sound.nbytes > 2 * (1 << 20)


async def test_a_mic_and_its_speaker_both_lose_their_connections(server, proxy, clip, direct, hear):
    async with (
        connect(proxy.url, "speaker", room="a", receive=("codes",)) as speaker,
        connect(proxy.url, "mic", room="a") as mic,
    ):
        speaking = asyncio.create_task(speak(mic, clip, proxy, 25))
        heard = await hear(speaker)
        await speaking
    np.testing.assert_array_equal(heard.codes, direct.codes)


async def test_the_client_waits_for_an_unreachable_server(server, proxy, clip, direct, hear, until):
    async with connect(proxy.url, "encode") as connection:
        await connection.send_pcm(clip[:9000])
        proxy.refuses = True
        proxy.cut()
        before = proxy.connections
        await until(lambda: proxy.connections >= before + 2)
        assert server.engine.free_slots == 3
        proxy.refuses = False
        await connection.send_pcm(clip[9000:])
        await connection.end()
        np.testing.assert_array_equal((await hear(connection)).codes, direct.codes)
    await until(lambda: server.engine.free_slots == 4)


async def test_giving_up_raises_an_error(server, proxy):
    async with connect(proxy.url, "loopback", resume=0.2) as connection:
        proxy.refuses = True
        proxy.cut()
        with pytest.raises(ConnectionFailedError, match="cannot reach"):
            async for _ in connection:
                pass
        with pytest.raises(ConnectionFailedError):
            await connection.send_pcm(np.zeros(10, np.int16))


async def test_without_resume_a_loss_raises_an_error(server, proxy, until):
    async with connect(proxy.url, "loopback", resume=0) as connection:
        proxy.cut()
        with pytest.raises(ConnectionFailedError, match="went away"):
            async for _ in connection:
                pass
    await until(lambda: server.engine.free_slots == 4)


async def test_a_session_is_kept_for_its_time_only(codec, until):
    async with (
        running(codec, max_sessions=1, limits=Limits(resume_time=0.1)) as server,
        Proxy(server.port) as proxy,
        connect(proxy.url, "loopback") as connection,
    ):
        proxy.refuses = True
        proxy.cut()
        await until(lambda: server.engine.free_slots == 1)
        proxy.refuses = False
        with pytest.raises(ProtocolError) as caught:
            async for _ in connection:
                pass
        assert caught.value.name == "cannot_resume"


class Raw:
    """A client by hand."""

    def __init__(self, websocket):
        self.websocket = websocket

    @classmethod
    async def hello(cls, url, **hello):
        websocket = await raw_connect(url, subprotocols=[SUBPROTOCOL], compression=None)
        await websocket.send(json.dumps({"type": "hello", "role": "encode", **hello}))
        return cls(websocket)

    async def message(self):
        return json.loads(await asyncio.wait_for(self.websocket.recv(), 120))

    async def frames(self, count):
        """(sequence number, codes' bytes) of the next media."""
        found = []
        while len(found) < count:
            data = await asyncio.wait_for(self.websocket.recv(), 120)
            if isinstance(data, bytes):
                found.append((struct.unpack_from("<I", data, 4)[0], data[12:]))
        return found

    async def speak(self, seq, pcm):
        await self.websocket.send(struct.pack("<BBxxII", 1, 0, seq, 0) + pcm.tobytes())

    async def through(self, pcm):
        """Sends frames and returns theirs, one by one: so each is a message of its own."""
        found = []
        for seq, start in enumerate(range(0, len(pcm), 1280)):
            await self.speak(seq, pcm[start : start + 1280])
            found += await self.frames(1)
        return found


async def test_a_newer_connection_supersedes_the_old_one(server, clip):
    """To the letter, by hand: the old connection still stands when the new one comes."""
    old = await Raw.hello(server.url, resumable=True)
    ready = await old.message()
    assert ready["resume"]["received"] is None
    token = ready["resume"]["token"]
    first = await old.through(clip[: 5 * 1280])
    assert [seq for seq, _ in first] == [0, 1, 2, 3, 4]

    new = await Raw.hello(server.url, resume={"token": token, "received": 1})
    again = await new.message()
    assert (again["session"], again["resume"]) == (
        ready["session"],
        {"token": token, "received": 4, "ended": False},
    )
    assert await new.frames(3) == first[2:]
    assert (await old.message())["name"] == "superseded"
    with pytest.raises(ConnectionClosed) as caught:
        await old.message()
    assert caught.value.rcvd.code == 4411

    await new.speak(5, clip[5 * 1280 : 6 * 1280])
    assert [seq for seq, _ in await new.frames(1)] == [5]
    await new.websocket.close()


@pytest.mark.parametrize("received", [7, -2, 10**9])
async def test_resuming_from_media_never_sent_is_refused(server, clip, received):
    old = await Raw.hello(server.url, resumable=True)
    token = (await old.message())["resume"]["token"]
    await old.through(clip[: 3 * 1280])
    old.websocket.transport.abort()
    new = await Raw.hello(server.url, resume={"token": token, "received": received})
    assert (await new.message())["name"] == "cannot_resume"
    right = await Raw.hello(server.url, resume={"token": token, "received": 2})
    assert (await right.message())["type"] == "ready"
    await right.websocket.close()


async def test_acknowledged_media_are_not_kept(server, clip):
    old = await Raw.hello(server.url, resumable=True)
    token = (await old.message())["resume"]["token"]
    await old.through(clip[: 3 * 1280])
    await old.websocket.send('{"type":"ack","received":1}')
    await old.websocket.send('{"type":"ping","time":1}')
    assert (await old.message())["type"] == "pong"
    old.websocket.transport.abort()
    new = await Raw.hello(server.url, resume={"token": token, "received": 0})
    assert (await new.message())["name"] == "cannot_resume"


async def test_a_bad_acknowledgement_is_refused(server):
    client = await Raw.hello(server.url, resumable=True)
    await client.message()
    await client.websocket.send('{"type":"ack","received":0}')
    assert (await client.message())["name"] == "bad_sequence"


async def test_notices_report_loss_and_resumption(server, proxy):
    async with connect(proxy.url, "speaker", room="a") as connection:
        proxy.cut()
        events = aiter(connection)
        assert [(await anext(events)).name for _ in range(2)] == ["interrupted", "resumed"]
