"""Whole processes that freeze or die, at either end."""

from __future__ import annotations

import asyncio
import json
import re
import signal
import sys
from contextlib import asynccontextmanager
from pathlib import Path

import numpy as np
import pytest

from xyt_stream.client import connect
from xyt_stream.errors import ConnectionFailedError, ProtocolError
from xyt_stream.server.admission.limits import Limits
from xyt_stream.server.app import running

ROOT = Path(__file__).parents[2]

# Says "ready", speaks a clip over and over if it may, and at the end says what it heard, as JSON.
CLIENT = """
import asyncio, json, sys
import numpy as np
from xyt_stream.client import connect
url, role, clip, times, options = sys.argv[1:]
async def speak(connection):
    for _ in range(int(times)):
        await connection.send_pcm(np.load(clip))
    await connection.end()
async def main():
    heard = {"codes": [], "frames": [], "samples": 0, "notices": [], "gaps": 0}
    async with connect(url, role, **json.loads(options)) as connection:
        print("ready", flush=True)
        speaking = asyncio.create_task(speak(connection)) if int(times) else None
        async for event in connection:
            name = type(event).__name__
            if name == "Codes":
                heard["codes"] += event.codes.T.tolist()
            elif name == "Pcm":
                heard["samples"] += len(event.samples)
                heard["frames"].append(event.frame)
                heard["gaps"] += event.gap
            elif name == "Notice":
                heard["notices"].append(event.name)
        if speaking:
            await speaking
    print(json.dumps(heard), flush=True)
asyncio.run(main())
"""


class Client:
    """A client in a process of its own."""

    def __init__(self, process):
        self.process = process

    @classmethod
    async def start(cls, url, role, clip, times, **options):
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-c", CLIENT, url, role, clip, str(times), json.dumps(options)),
            stdout=asyncio.subprocess.PIPE,
            limit=1 << 24,
        )
        client = cls(process)
        assert await client.line() == "ready"
        return client

    async def line(self):
        return (await asyncio.wait_for(self.process.stdout.readline(), 120)).decode().strip()

    async def heard(self):
        heard = json.loads(await self.line())
        assert await self.process.wait() == 0
        return heard


@pytest.fixture
async def server(codec):
    """Short queues, a second of credit, and a short time to resume."""
    limits = Limits(queue=12, resume_time=12, load=0)
    async with running(codec, max_sessions=4, limits=limits) as server:
        yield server


@pytest.fixture
def clip_file(clip, tmp_path):
    np.save(tmp_path / "clip.npy", clip)
    return str(tmp_path / "clip.npy")


@pytest.mark.usefixtures("neighbour")
async def test_frozen_clients_resume(server, clip, clip_file, direct, hear):
    """A speaker loses the oldest sound and gets a notice; an encoder loses nothing."""
    times = 6
    speaker = await Client.start(server.url, "speaker", clip_file, 0, room="a", receive_rate=48_000)
    encoding = await Client.start(server.url, "encode", clip_file, times)
    frozen = [speaker.process, encoding.process]
    async with (
        connect(server.url, "speaker", room="a", receive=("codes",)) as well,
        connect(server.url, "mic", room="a") as mic,
    ):
        for process in frozen:
            process.send_signal(signal.SIGSTOP)
        listening = asyncio.create_task(hear(well))
        thawing = asyncio.create_task(asyncio.sleep(10))
        # Faster than real time: more than fits into the kernel's buffers, too.
        for _ in range(times):
            await mic.send_pcm(clip)
        await mic.end()
        whole = await listening
        await thawing
        for process in frozen:
            process.send_signal(signal.SIGCONT)
    late, encoded = await speaker.heard(), await encoding.heard()
    assert whole.code_frames == list(range(-(-times * len(clip) // 1280)))
    assert "dropped" in late["notices"]
    assert late["gaps"] == late["notices"].count("dropped")
    assert 0 < late["samples"] < 3 * times * len(clip)
    assert late["frames"] == sorted(late["frames"])
    assert late["frames"][-1] == whole.code_frames[-1]  # it is the oldest that is lost
    assert encoded["notices"] == []
    np.testing.assert_array_equal(np.array(encoded["codes"]).T, whole.codes)


@asynccontextmanager
async def server_process(port=0):
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, ROOT / "server.py", "--port", str(port), "--max-load", "0"),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.DEVNULL,
    )
    try:
        line = (await asyncio.wait_for(process.stdout.readline(), 120)).decode()
        yield process, int(re.search(r":(\d+)\s*$", line).group(1))
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


async def listen(connection, codes):
    """All codes that come before the session fails, and why it does."""
    try:
        async for event in connection:
            if hasattr(event, "codes"):
                codes.append(event.codes)
    except (ProtocolError, ConnectionFailedError) as error:
        return error
    return None


async def test_clients_of_a_killed_server_begin_anew(clip, direct, hear, until):
    """Its sessions are gone and their clients get an error; they begin anew on the same port."""
    count = 3
    heard = [[] for _ in range(count)]

    async def stream(port, codes):
        async with connect(f"ws://127.0.0.1:{port}", "encode", resume=60) as connection:
            listening = asyncio.create_task(listen(connection, codes))
            try:
                while not listening.done():
                    await connection.send_pcm(clip[:1280])
                    await asyncio.sleep(0.02)
            except (ProtocolError, ConnectionFailedError):
                pass
            return await listening

    async with server_process() as (process, port):
        streams = [asyncio.create_task(stream(port, codes)) for codes in heard]
        await until(lambda: all(len(codes) > 3 for codes in heard))
        process.kill()
        await process.wait()
    async with server_process(port) as (_, same):
        assert same == port
        errors = await asyncio.wait_for(asyncio.gather(*streams), 120)
        assert {error.name for error in errors} == {"cannot_resume"}
        for codes in heard:  # what had come was right
            np.testing.assert_array_equal(codes[0][:, :1], direct.codes[:, :1])
        async with connect(f"ws://127.0.0.1:{port}", "encode") as connection:
            await connection.send_pcm(clip)
            await connection.end()
            np.testing.assert_array_equal((await hear(connection)).codes, direct.codes)
