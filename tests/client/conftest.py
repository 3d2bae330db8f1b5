from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import pytest_asyncio
import soundfile

from xyt_stream import Codec
from xyt_stream.audio import Pcm16, resample, to_float32
from xyt_stream.server import pages
from xyt_stream.server.admission.limits import Limits
from xyt_stream.server.app import Running, running

from ..server.proxy import Proxy

if TYPE_CHECKING:
    from .page import OpenPage

ROOT = Path(__file__).parents[2]


def wait(condition: Callable[[], bool], process: subprocess.Popen[str] | None = None) -> None:
    """Waits for a condition; fails after two minutes, or when the process has ended."""
    deadline = time.monotonic() + 120
    while not condition():
        assert process is None or process.poll() is None, process.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.02)


@pytest.fixture(name="wait")
def wait_fixture() -> Callable[..., None]:
    return wait


@pytest.fixture
def launch() -> Iterator[Callable[..., subprocess.Popen[str]]]:
    """Starts one of the launchers in a process of its own, as a user does from a checkout."""
    processes = []

    def launch(
        launcher: str, *args: object, env: dict[str, str] | None = None
    ) -> subprocess.Popen[str]:
        process = subprocess.Popen(
            [sys.executable, ROOT / launcher, *map(str, args)],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, "COLUMNS": "200", **(env or {})},
        )
        processes.append(process)
        return process

    yield launch
    for process in processes:
        process.kill()
        process.communicate()


@pytest.fixture(scope="session")
def server_url() -> Iterator[str]:
    """A server in its own process, which must end cleanly on Ctrl-C when all tests are done."""
    process = subprocess.Popen(
        [
            sys.executable,
            ROOT / "server.py",
            "--port",
            "0",
            "--max-sessions",
            "4",
            "--max-load",
            "0",
        ],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    line = process.stdout.readline()
    address = re.search(r"ws://127\.0\.0\.1:\d+", line)
    assert address, line + process.communicate()[1]
    yield address.group()
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=120)
    assert (process.returncode, out) == (0, "")
    assert {json.loads(line)["level"] for line in err.splitlines()} <= {"info"}, err


def portaudio_devices(env: dict[str, str]) -> str:
    """The devices in this environment, as a list of text; empty, too, without PortAudio."""
    program = "import sounddevice as s; print([d['name'] for d in s.query_devices()])"
    listed = subprocess.run(
        [sys.executable, "-c", program], env={**os.environ, **env}, capture_output=True, text=True
    )
    return listed.stdout.strip()


@pytest.fixture(scope="session")
def no_devices() -> dict[str, str]:
    """The environment of a machine without sound devices."""
    env = {"PULSE_SERVER": "unix:/nonexistent"}
    if portaudio_devices(env) != "[]":
        pytest.skip("this machine has sound devices, or no PortAudio")
    return env


@pytest.fixture(scope="session")
def pulse(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """A sound server of our own, as environment for processes.

    Its default loudspeaker is a null sink, "loudspeaker"; its default microphone hears what is
    played into the null sink "voice".
    """
    if not all(map(shutil.which, ("pulseaudio", "pactl", "paplay", "parecord"))):
        pytest.skip("pulseaudio is not installed")
    folder = tmp_path_factory.mktemp("pulse")
    script = folder / "default.pa"
    script.write_text(
        f"load-module module-native-protocol-unix socket={folder}/native auth-anonymous=1\n"
        "load-module module-null-sink sink_name=loudspeaker rate=48000\n"
        "load-module module-null-sink sink_name=voice rate=48000\n"
        "load-module module-virtual-source source_name=microphone master=voice.monitor\n"
        "set-default-sink loudspeaker\n"
        "set-default-source microphone\n"
    )
    env = {
        **dict.fromkeys(("HOME", "XDG_RUNTIME_DIR", "PULSE_RUNTIME_PATH"), str(folder)),
        "PULSE_STATE_PATH": str(folder),
        "PULSE_SERVER": f"unix:{folder}/native",
    }
    log = (folder / "log").open("w")
    process = subprocess.Popen(
        [
            *("pulseaudio", "-n", "-F", script, "--daemonize=no", "--exit-idle-time=-1"),
            *("--use-pid-file=no", "--disable-shm", "--log-target=stderr"),
        ],
        env={**os.environ, **env},
        stdout=log,
        stderr=log,
    )
    try:
        for _ in range(250):
            if process.poll() is not None:
                pytest.skip(f"pulseaudio does not start: {(folder / 'log').read_text()}")
            listed = subprocess.run(
                ["pactl", "list", "short", "sources"],
                env={**os.environ, **env},
                capture_output=True,
                text=True,
            )
            if "microphone" in listed.stdout:
                break
            time.sleep(0.1)
        else:
            pytest.skip("pulseaudio does not answer")
        if "pulse" not in portaudio_devices(env):
            pytest.skip("PortAudio knows no pulse device: libportaudio2, libasound2-plugins")
        yield env
    finally:
        process.terminate()
        process.wait(30)
        log.close()


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def browser(clip: Pcm16, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Any]:
    """A Chromium; its microphone repeats the clip."""
    from .page import PAUSE, RATE, chromium

    speech = tmp_path_factory.mktemp("web") / "speech.wav"
    sound = resample(np.pad(to_float32(clip), (0, round(PAUSE * RATE))), RATE, 48_000)
    soundfile.write(speech, sound, 48_000, subtype="PCM_16")
    async with chromium(
        "--use-fake-device-for-media-stream", f"--use-file-for-fake-audio-capture={speech}"
    ) as browser:
        yield browser


@pytest_asyncio.fixture(loop_scope="module")
async def open_page(
    browser: Any, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[Callable[..., Awaitable[OpenPage]]]:
    """Opens the page of a server, in the browser or in another one."""
    from .page import OpenPage

    # Only the server can replace a worklet: browsers do not route its request through playwright.
    tap = (Path(__file__).parent / "tap-worklet.js").read_bytes()
    monkeypatch.setitem(pages._FILES, "/tap-worklet.js", ("text/javascript", tap))
    opened = []

    async def open_page(url: str, *, browser: Any = browser, **options: Any) -> OpenPage:
        opened.append(await OpenPage.open(browser, url, **options))
        return opened[-1]

    yield open_page
    for each in opened:
        await each.page.context.close()


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def serving(codec: Codec) -> AsyncIterator[Running]:
    """A server for all tests of a module."""
    async with running(codec, max_sessions=4, limits=Limits(load=0)) as server:
        yield server


@pytest_asyncio.fixture(loop_scope="module")
async def proxy(serving: Running) -> AsyncIterator[Proxy]:
    """A bad network before it."""
    async with Proxy(serving.port) as proxy:
        yield proxy
