"""The programs as users run them: each in a process of its own."""

from __future__ import annotations

import io
import re
import signal
import socket
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile

from xyt_stream.audio import wav

from .programs import finish, one_line


def within_a_step(path, expected):
    sound, rate = soundfile.read(path, dtype="int16")
    assert rate == 16_000
    assert sound.shape == expected.shape
    assert np.abs(sound.astype(int) - expected.astype(int)).max() <= 1


def test_loopback_with_files(launch, server_url, fixtures, tmp_path, direct):
    out, _ = finish(
        launch(
            "client/loopback.py",
            *("--url", server_url),
            *("--input", fixtures / "speech.flac"),
            *("--output", tmp_path / "out.wav"),
        )
    )
    within_a_step(tmp_path / "out.wav", direct.sound)
    for part in ("2.05 s, 26 frames", "bits a second", "80 ms step", "latency", "out.wav"):
        assert part in out


def test_talk_with_the_server_model(launch, fixtures, tmp_path, direct):
    """The model repeats the user, so the test knows its speech."""
    models = Path(__file__).parents[1] / "server" / "duplex"
    server = launch(
        "server.py",
        *("--port", "0", "--max-load", "0", "--duplex", "duplex_models:Echo"),
        env={"PYTHONPATH": str(models)},
    )
    url = re.search(r"ws://\S+", server.stdout.readline()).group()
    command = [sys.executable, "-m", "xyt_stream.cli", "talk", "--url", url, "--listen", "1"]
    files = ["--input", fixtures / "speech.flac", "--output", tmp_path / "out.wav"]
    subprocess.run([*command, *files], check=True, timeout=120)
    sound, rate = soundfile.read(tmp_path / "out.wav", dtype="int16")
    assert (rate, len(sound)) == (16_000, -(-(len(direct.sound) + 16_000) // 1280) * 1280)
    whole = len(direct.sound) // 1280 * 1280
    assert np.abs(sound[:whole].astype(int) - direct.sound[:whole]).mean() < 1
    assert np.abs(sound[-8000:]).max() < 100
    server.send_signal(signal.SIGHUP)  # it drains, as on SIGTERM
    finish(server)


def test_mic_and_two_speakers(launch, server_url, fixtures, tmp_path, direct, wait):
    speakers = {
        path: launch(
            "client/playback.py",
            *("--url", server_url, "--room", "stage", "--output", path),
            *("--codec", "server"),  # codes are whole frames, and sound is of exact length
        )
        for path in (tmp_path / "one.wav", tmp_path / "two.wav")
    }
    for path, process in speakers.items():
        wait(path.exists, process)
    mic = launch(
        "client/mic.py",
        *("--url", server_url, "--room", "stage", "--input", fixtures / "speech.flac"),
        *("--codec", "server"),
    )
    finish(mic)
    for path, process in speakers.items():
        finish(process)
        within_a_step(path, direct.sound)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_ctrl_c_leaves_a_complete_file(launch, server_url, clip, direct, tmp_path, wait, number):
    """Minutes of the same clip, interrupted: the file holds all that was sent until then."""
    soundfile.write(tmp_path / "long.wav", np.tile(clip, 100), 16_000)
    out = tmp_path / "out.wav"
    process = launch(
        "client/loopback.py",
        *("--url", server_url, "--input", tmp_path / "long.wav", "--output", out),
    )
    wait(lambda: out.exists() and out.stat().st_size > 32_000, process)
    process.send_signal(number)
    text, _ = finish(process)
    assert "latency" in text
    sound = soundfile.read(out, dtype="int16")[0]
    assert f"sound │ {len(sound) / 16_000:.2f} s" in " ".join(text.split())
    same = min(len(sound) - 2560, 24 * 1280)
    assert np.abs(sound[:same].astype(int) - direct.sound[:same]).max() <= 1


def test_ctrl_c_ends_play_in_an_empty_room(launch, server_url, tmp_path, wait):
    out = tmp_path / "out.wav"
    process = launch("client/playback.py", "--url", server_url, "--room", "empty", "--output", out)
    wait(out.exists, process)
    process.send_signal(signal.SIGINT)
    finish(process)
    assert soundfile.info(out).frames == 0


def test_loopback_between_pipes(server_url, clip, direct):
    """`arecord | loopback --input - --output - | aplay`: the report goes to stderr."""
    command = [sys.executable, "-m", "xyt_stream.cli", "loopback", "--url", server_url]
    data = wav.header(16_000, None) + clip.tobytes()
    done = subprocess.run(
        [*command, "--input", "-", "--output", "-"], input=data, capture_output=True, timeout=180
    )
    assert done.returncode == 0, done.stderr
    assert b"latency" in done.stderr
    assert "standard output" in done.stderr.decode()
    sound, _ = soundfile.read(io.BytesIO(done.stdout), dtype="int16")
    assert np.abs(sound.astype(int) - direct.sound).max() <= 1


def test_output_may_not_be_the_input(launch, fixtures, tmp_path):
    (tmp_path / "a.flac").write_bytes((fixtures / "speech.flac").read_bytes())
    files = ("--input", tmp_path / "a.flac", "--output", tmp_path / "a.flac")
    assert "is read" in one_line(launch("client/loopback.py", *files))
    assert (tmp_path / "a.flac").read_bytes() == (fixtures / "speech.flac").read_bytes()


def test_refusals_are_one_line(launch, server_url, fixtures, tmp_path, clip, wait):
    soundfile.write(tmp_path / "long.wav", np.tile(clip, 100), 16_000)
    to_room = ("--url", server_url, "--room", "taken")
    speaker = launch("client/playback.py", *to_room, "--output", tmp_path / "out.wav")
    wait((tmp_path / "out.wav").exists, speaker)
    first = launch("client/mic.py", *to_room, "--input", tmp_path / "long.wav")
    wait(lambda: (tmp_path / "out.wav").stat().st_size > 32_000, first)
    second = launch("client/mic.py", *to_room, "--input", fixtures / "speech.flac")
    assert one_line(second) == "Error: The room already has a mic."
    first.send_signal(signal.SIGINT)
    finish(first)
    finish(speaker)
    nowhere = launch("client/mic.py", "--url", server_url, "--input", tmp_path / "missing.wav")
    assert "cannot read" in one_line(nowhere)
    unwritable = launch(
        "client/playback.py", *("--url", server_url, "--output", tmp_path / "no" / "out.wav")
    )
    assert "cannot write" in one_line(unwritable)


@pytest.mark.parametrize(("file", "device"), [("--input", "mic"), ("--output", "ear")])
def test_file_and_device_exclude_each_other(launch, file, device):
    """Before the file is looked for, and the server."""
    both = launch("client/loopback.py", file, "missing.wav", f"{file}-device", device)
    _, said = both.communicate(timeout=300)
    assert both.returncode == 2
    assert f"{file}-device" in said
    assert "Traceback" not in said


def test_no_server_and_port_in_use_are_one_line(launch, fixtures):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        server = launch("server.py", "--port", port)
        assert f"port {port} is in use" in one_line(server)
    clip = fixtures / "speech.flac"
    mic = launch("client/mic.py", "--url", f"ws://127.0.0.1:{port}", "--input", clip)
    assert f"cannot reach a server at ws://127.0.0.1:{port}" in one_line(mic)
