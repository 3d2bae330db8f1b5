"""The codec runs beside the microphone and the loudspeaker; the server sees codes only."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import msgspec
import numpy as np
import pytest
import soundfile
from websockets.asyncio.server import serve
from websockets.exceptions import ConnectionClosed

from xyt_stream.client.sound import open_sound
from xyt_stream.errors import ModelError, ProtocolError
from xyt_stream.protocol.machine import Codes, Pcm
from xyt_stream.protocol.messages import SUBPROTOCOL, Kind
from xyt_stream.protocol.sealing import make_key
from xyt_stream.server.admission.limits import Limits
from xyt_stream.server.app import running
from xyt_stream.server.sessions.resources import model_of

from .programs import finish, one_line

sys.path.insert(0, str(Path(__file__).parents[1] / "server" / "duplex"))
import duplex_models as models


def close_to(sound, expected):
    assert sound.shape == expected.shape
    assert np.abs(sound.astype(int) - expected.astype(int)).max() <= 4


async def through(connection, pcm):
    """Everything that a session yields for a clip that is sent in blocks of 20 ms."""
    for start in range(0, len(pcm), 320):
        assert await connection.send_pcm(pcm[start : start + 320])
    await connection.end()
    return [event async for event in connection]


def sound_of(events):
    return np.concatenate([each.samples for each in events if isinstance(each, Pcm)])


async def test_a_loopback_codes_here_and_the_server_only_echoes(clip, direct):
    async with (
        running(None) as relay,
        open_sound(relay.url, "loopback", codec="auto") as connection,
    ):
        events = await through(connection, clip)
        assert connection.codec == "here"
        traffic = connection.traffic
    codes = [each.codes for each in events if isinstance(each, Codes)]
    np.testing.assert_array_equal(np.concatenate(codes, axis=1), direct.codes)
    close_to(sound_of(events), direct.sound)
    frames = direct.codes.shape[1]
    assert events[-1].step_ms.median > 0
    # 10 bytes of codes, 12 of the message's header, 2 or 6 of the websocket's; and a few messages
    # beside them. The server joins frames that wait together.
    assert 10 * frames < traffic.received < 24 * frames + 500
    assert 28 * frames <= traffic.sent < 28 * frames + 500


async def test_another_model_on_the_server_leaves_the_codec_there(other_model, clip):
    from xyt_stream import Codec

    codec = Codec.load(other_model)
    async with running(codec, max_sessions=2, limits=Limits(load=0)) as server:
        async with open_sound(server.url, "loopback", codec="auto") as connection:
            assert connection.codec == "server"
            assert "runs on the server: The codes here are those of" in connection.reason
            assert len(sound_of(await through(connection, clip))) == len(clip)
        with pytest.raises(ProtocolError, match="codes here are those of"):
            async with open_sound(server.url, "loopback", codec="here"):
                pass


async def test_a_model_that_cannot_run_here_is_refused(tmp_path):
    for place, problem in (("auto", "xyt-stream export"), ("server", "leave --codec server out")):
        with pytest.raises(ModelError, match=problem):
            async with open_sound("ws://127.0.0.1:1", "mic", codec=place, model=tmp_path):
                pass


@asynccontextmanager
async def older_server(codec):
    """A server of a version without `hello.send`: it answers as if that were not there."""

    async def answer(websocket):
        hello = json.loads(await websocket.recv())
        ready = {
            "type": "ready",
            "session": "old",
            "role": hello["role"],
            "room": hello["room"],
            "send": "pcm",
            "receive": [],
            "send_rate": 16_000,
            "receive_rate": 16_000,
            "frame_ms": 80,
            "delay_ms": {"encode": 80, "decode": 10},
            "model": msgspec.to_builtins(model_of(codec)),
        }
        await websocket.send(json.dumps(ready))
        with suppress(ConnectionClosed):
            while not isinstance(message := await websocket.recv(), str):
                received.append(message)
            await websocket.send('{"type": "end"}')

    received = []
    async with serve(answer, "127.0.0.1", 0, subprotocols=[SUBPROTOCOL]) as server:
        yield f"ws://127.0.0.1:{server.sockets[0].getsockname()[1]}", received


async def test_an_older_server_codes_itself_or_is_named(codec, clip):
    async with older_server(codec) as (url, received):
        with pytest.raises(ProtocolError, match="This server is too old to take codes"):
            async with open_sound(url, "mic", codec="here", room="a"):
                pass
        assert received == []
        async with open_sound(url, "mic", codec="auto", room="a") as connection:
            assert connection.codec == "server"
            assert "too old" in connection.reason
            await through(connection, clip)
    assert {message[0] for message in received} == {Kind.PCM}


@pytest.mark.parametrize("together", [3, 8])
async def test_frames_that_are_sent_together_arrive_whole(clip, direct, together):
    async with (
        running(None) as relay,
        open_sound(relay.url, "loopback", codec="here", frames_a_message=together) as connection,
    ):
        events = await through(connection, clip)
        traffic = connection.traffic
    codes = [each for each in events if isinstance(each, Codes)]
    frames = direct.codes.shape[1]
    np.testing.assert_array_equal(
        np.concatenate([each.codes for each in codes], axis=1), direct.codes
    )
    close_to(sound_of(events), direct.sound)
    # 10 bytes of a frame's codes, and at most 22 of a message's headers.
    assert traffic.sent < 10 * frames + 22 * -(-frames // together) + 500


async def test_a_silent_model_is_silence_in_a_file(codec, clip, direct):
    async with (
        running(codec, max_sessions=2, duplex=models.Sometimes, limits=Limits(load=0)) as server,
        open_sound(server.url, "user", codec="here", fill=True) as connection,
    ):
        events = await through(connection, clip)
        assert server.engine.free_slots == 2
    assert len(sound_of(events)) == direct.codes.shape[1] * 1280


def test_mic_and_speakers_over_a_relay(launch, fixtures, tmp_path, direct, clip, wait):
    relay = launch("server.py", "--relay", "--port", "0")
    url = re.search(r"ws://\S+", relay.stdout.readline()).group()
    speakers = {
        path: launch("client/playback.py", "--url", url, "--output", path)
        for path in (tmp_path / "one.wav", tmp_path / "two.wav")
    }
    for path, process in speakers.items():
        wait(path.exists, process)
    out, _ = finish(launch("client/mic.py", "--url", url, "--input", fixtures / "speech.flac"))
    assert re.search(r"[\d,]+ bits a second sent, [\d,]+ received", out)
    for path, process in speakers.items():
        finish(process)
        sound, _ = soundfile.read(path, dtype="int16")
        assert len(sound) == direct.codes.shape[1] * 1280
        close_to(sound[: len(clip) - 1280], direct.sound[:-1280])


def test_sound_for_a_relay_is_one_line_that_says_what_to_do(launch, fixtures):
    relay = launch("server.py", "--relay", "--port", "0")
    url = re.search(r"ws://\S+", relay.stdout.readline()).group()
    command = [sys.executable, "-m", "xyt_stream.cli", "mic", "--codec", "server", "--url", url]
    done = subprocess.run(
        [*command, "--input", fixtures / "speech.flac"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert done.stderr.strip() == (
        "Error: This server passes on codes only: use a client that has the codec (--codec here)."
    )


def test_an_encrypted_room_on_the_command_line(launch, fixtures, tmp_path, direct, clip, wait):

    def client(program, *arguments, key):
        return launch(f"client/{program}.py", *arguments, "--url", url, env={"XYT_KEY": key})

    relay = launch("server.py", "--relay", "--port", "0")
    url = re.search(r"ws://\S+", relay.stdout.readline()).group()
    key = make_key()
    right, wrong = tmp_path / "right.wav", tmp_path / "wrong.wav"
    listener = client("playback", "--output", right, key=key)
    stranger = client("playback", "--output", wrong, key=f"{key}x")
    wait(right.exists, listener)
    wait(wrong.exists, stranger)
    finish(client("mic", "--input", fixtures / "speech.flac", key=key))
    finish(listener)
    sound, _ = soundfile.read(right, dtype="int16")
    close_to(sound[: len(clip) - 1280], direct.sound[:-1280])
    unfit = "Error: A frame cannot be opened: its key is another one, or it was altered."
    assert finish(stranger, 1)[1].strip().splitlines()[-1] == unfit
    short = client("playback", "--output", wrong, key="short")
    assert "A room's key has at least 16 characters" in one_line(short)
    server = client("playback", "--output", wrong, "--codec", "server", key=key)
    assert "leave --codec server out" in one_line(server)
