"""A server without a codec: it passes codes on, and needs no torch."""

from __future__ import annotations

import asyncio
import re
import signal
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest

from xyt_stream.client import connect
from xyt_stream.errors import ProtocolError
from xyt_stream.server.admission.limits import Limits
from xyt_stream.server.app import running

OTHER = "ab" * 32

WITHOUT_TORCH = """
import sys

class Gate:
    @staticmethod
    def find_spec(name, path=None, target=None):
        if name.partition(".")[0] in ("torch", "safetensors", "silero_vad", "onnxruntime"):
            raise ImportError(f"no {name} here")

sys.meta_path.insert(0, Gate)
from xyt_stream.cli import main
main(sys.argv[1:])
"""

LISTING_MODULES = """
import atexit, sys
from xyt_stream.cli import main
atexit.register(lambda: print(*sys.modules))
main(sys.argv[1:])
"""
# Packages that a relay loads, those of typer included: it must start at once and stay small.
LIBRARIES = {
    *("msgspec", "numpy", "prometheus_client", "uvloop", "websockets"),
    *("typer", "click", "shellingham", "pydantic", "pydantic_core"),
    *("annotated_doc", "annotated_types", "typing_extensions", "typing_inspection"),
}
PARTS = {
    *("audio", "cli", "edge", "errors", "model", "protocol", "server", "standard_streams"),
    *("server.admission", "server.duplex", "server.engine", "server.sessions"),
    *("server.cascade", "server.handover"),
}


@pytest.fixture
async def relay():
    async with running(None) as server:
        yield server


async def send(connection, codes):
    await connection.send_codes(codes)
    await connection.end()


async def test_a_room_is_relayed(relay, direct, hear):
    async with (
        connect(relay.url, "speaker", room="a", receive=("codes",)) as one,
        connect(relay.url, "speaker", room="a", receive=("codes",)) as two,
        connect(relay.url, "mic", room="a", send="codes") as mic,
    ):
        assert mic.ready.model.name == "mini"
        assert mic.ready.model.causal
        assert (mic.ready.delay_ms.encode, mic.ready.delay_ms.decode) == (80, 10)
        assert relay.service.relayed.count == 3
        await send(mic, direct.codes)
        heard = await asyncio.gather(hear(one), hear(two))
    for each in heard:
        np.testing.assert_array_equal(each.codes, direct.codes)
    assert relay.service.relayed.count == 0
    page = relay.service.metrics.page().decode()
    assert f"xyt_relayed_frames_total {direct.codes.shape[1]:.1f}" in page
    assert "xyt_sessions_relayed 0.0" in page


async def test_a_long_message_reaches_every_speaker_whole(relay, direct, hear):
    codes = np.tile(direct.codes, 13)  # 27 seconds
    async with (
        connect(relay.url, "speaker", room="a", receive=("codes",)) as speaker,
        connect(relay.url, "mic", room="a", send="codes") as mic,
    ):
        heard = asyncio.create_task(hear(speaker))
        await send(mic, codes)
        assert (await heard).notices == []
    np.testing.assert_array_equal(heard.result().codes, codes)


async def test_a_remote_model_answers_a_user_on_a_relay(relay, direct, hear):
    async with (
        connect(relay.url, "model", room="a") as model,
        connect(relay.url, "user", room="a", send="codes", receive=("codes",)) as user,
    ):
        await model.send_codes(direct.codes[:, :4])
        await send(user, direct.codes)
        heard = await hear(user)
        np.testing.assert_array_equal((await hear(model)).codes, direct.codes)
    np.testing.assert_array_equal(heard.codes, direct.codes[:, :4])


@pytest.mark.parametrize(
    ("role", "options"),
    [
        ("loopback", {}),
        ("loopback", {"send": "codes"}),
        ("encode", {}),
        ("decode", {}),
        ("mic", {"room": "a"}),
        ("speaker", {"room": "a"}),
        ("user", {"room": "a", "send": "codes"}),
        ("model", {"room": "a", "receive": ("pcm",)}),
    ],
)
async def test_sound_is_refused_with_one_line_that_says_what_to_do(relay, role, options):
    with pytest.raises(ProtocolError, match="--codec here") as caught:
        async with connect(relay.url, role, **options):
            pass
    assert (caught.value.name, caught.value.close_code) == ("no_codec", 4425)
    assert relay.service.rooms._rooms == {}


async def test_a_room_has_the_model_of_its_first_member(relay, direct, hear):
    async with (
        connect(relay.url, "mic", room="a", send="codes", model_hash=OTHER) as mic,
        connect(relay.url, "speaker", room="a", receive=("codes",)) as speaker,
        connect(relay.url, "speaker", room="a", receive=("codes",), model_hash=OTHER),
        connect(relay.url, "speaker", room="b", receive=("codes",)) as elsewhere,
    ):
        assert mic.ready.model.hash == speaker.ready.model.hash == OTHER
        assert elsewhere.ready.model.hash == relay.engine.codec.hash
        with pytest.raises(ProtocolError, match="codes here are those of") as caught:
            async with connect(
                relay.url, "speaker", room="a", receive=("codes",), model_hash="cd" * 32
            ):
                pass
        assert caught.value.name == "wrong_model"
        await send(mic, direct.codes)
        np.testing.assert_array_equal((await hear(speaker)).codes, direct.codes)
    async with connect(relay.url, "mic", room="a", send="codes") as mic:
        assert mic.ready.model.hash == relay.engine.codec.hash  # the room was forgotten


async def test_relayed_sessions_are_bounded():
    limits = replace(Limits(), relayed=2)
    async with (
        running(None, limits=limits) as relay,
        connect(relay.url, "speaker", room="a", receive=("codes",)),
    ):
        async with connect(relay.url, "mic", room="a", send="codes"):
            with pytest.raises(ProtocolError, match="places of relayed sessions") as caught:
                async with connect(relay.url, "speaker", room="b", receive=("codes",)):
                    pass
            assert caught.value.name == "busy"
        async with connect(relay.url, "speaker", room="b", receive=("codes",)):
            pass


async def test_serve_relay_runs_where_there_is_no_torch(direct, hear):
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        *("-c", WITHOUT_TORCH, "serve", "--relay", "--port", "0"),
        stdout=subprocess.PIPE,
    )
    assert process.stdout is not None
    line = (await process.stdout.readline()).decode()
    found = re.fullmatch(r"xyt-stream serves codes at (ws://\S+)\n", line)
    assert found, line
    async with connect(found[1], "loopback", send="codes", receive=("codes",)) as connection:
        await send(connection, direct.codes)
        np.testing.assert_array_equal((await hear(connection)).codes, direct.codes)
    process.send_signal(signal.SIGTERM)
    assert await process.wait() == 0


async def test_a_relay_loads_what_it_needs_and_nothing_else():
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        *("-c", LISTING_MODULES, "serve", "--relay", "--port", "0"),
        stdout=subprocess.PIPE,
    )
    assert process.stdout is not None
    assert b"serves codes" in await process.stdout.readline()
    process.send_signal(signal.SIGTERM)
    listed = (await process.stdout.read()).decode().split()
    assert await process.wait() == 0
    ours = {name for name in listed if name.startswith("xyt_stream.")}
    others = {name.partition(".")[0] for name in listed} - {"xyt_stream"}
    foreign = {name for name in others - sys.stdlib_module_names if not name.startswith("_")}
    # uvloop's and Cython's own halves have names of their own.
    assert foreign <= LIBRARIES | {"cython_runtime"}
    folders = {".".join(name.split(".")[1:3]) for name in ours if name.count(".") > 2}
    assert {name.split(".")[1] for name in ours} | folders <= PARTS
    assert not {"xyt_stream.audio.reading", "xyt_stream.audio.writing"} & ours


def test_a_relay_runs_no_model():
    done = subprocess.run(
        [sys.executable, "-m", "xyt_stream.cli", "serve", "--relay", "--model", "mini"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2
    assert "--relay runs no model" in done.stderr
