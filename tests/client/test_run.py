"""The programs as users run them: each in a process of its own."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile


def finish(process, status=0):
    out, err = process.communicate(timeout=60)
    assert process.returncode == status, err
    return out, err


def one_line(process):
    """What a program that failed has told its user."""
    _, err = finish(process, 1)
    lines = err.strip().splitlines()
    assert len(lines) == 1, err
    return lines[0]


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


def test_talking_with_the_server_s_model(launch, fixtures, tmp_path, direct):
    """It says what it hears, so that it can be told what it has said."""
    models = Path(__file__).parents[1] / "server"
    server = launch(
        "server.py",
        *("--port", "0", "--duplex", "duplex_models:Echo"),
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


def test_a_mic_and_two_speakers(launch, server_url, fixtures, tmp_path, direct, wait):
    speakers = {
        path: launch(
            "client/playback.py", *("--url", server_url, "--room", "stage", "--output", path)
        )
        for path in (tmp_path / "one.wav", tmp_path / "two.wav")
    }
    for path, process in speakers.items():
        wait(path.exists, process)
    mic = launch(
        "client/mic.py",
        *("--url", server_url, "--room", "stage", "--input", fixtures / "speech.flac"),
    )
    finish(mic)
    for path, process in speakers.items():
        finish(process)
        within_a_step(path, direct.sound)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_ctrl_c_ends_cleanly_with_a_complete_file(
    launch, server_url, clip, direct, tmp_path, wait, number
):
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


def test_ctrl_c_ends_a_speaker_in_an_empty_room(launch, server_url, tmp_path, wait):
    out = tmp_path / "out.wav"
    process = launch("client/playback.py", "--url", server_url, "--room", "empty", "--output", out)
    wait(out.exists, process)
    process.send_signal(signal.SIGINT)
    finish(process)
    assert soundfile.info(out).frames == 0


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


def test_no_server_and_a_port_in_use_are_one_line(launch, fixtures):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        server = launch("server.py", "--port", port)
        assert f"port {port} is in use" in one_line(server)
    clip = fixtures / "speech.flac"
    mic = launch("client/mic.py", "--url", f"ws://127.0.0.1:{port}", "--input", clip)
    assert f"cannot reach a server at ws://127.0.0.1:{port}" in one_line(mic)


LOST = "The connection was lost: trying again."
ANEW = "The server was started again, or gave the session up: a new one begins."


def size(path):
    return path.stat().st_size if path.exists() else 0


def start_again(launch, server, url):
    """A server's successor on the same port, after it was killed."""
    server.kill()
    server.communicate()
    again = launch("server.py", "--port", url.rpartition(":")[2])
    assert again.stdout.readline().split()[-1] == url


def test_loopback_goes_on_when_its_server_was_killed_and_started_again(
    launch, clip, tmp_path, wait
):
    """What came before is kept; what the new session says is written behind it."""
    soundfile.write(tmp_path / "long.wav", np.tile(clip, 100), 16_000)
    server = launch("server.py", "--port", 0)
    url = server.stdout.readline().split()[-1]
    out = tmp_path / "out.wav"
    client = launch(
        "client/loopback.py", *("--url", url, "--input", tmp_path / "long.wav", "--output", out)
    )
    wait(lambda: size(out) > 32_000, client)
    start_again(launch, server, url)
    before = size(out)
    wait(lambda: size(out) > before + 32_000, client)
    client.send_signal(signal.SIGINT)
    text, err = finish(client)
    assert err.split("\n")[:2] == [LOST, ANEW]
    assert "latency" in text
    assert soundfile.info(out).frames >= (before + 32_000) // 2 - 22


def test_a_room_fills_again_when_its_server_was_killed_and_started_again(
    launch, clip, tmp_path, wait
):
    soundfile.write(tmp_path / "long.wav", np.tile(clip, 100), 16_000)
    server = launch("server.py", "--port", 0)
    url = server.stdout.readline().split()[-1]
    out = tmp_path / "out.wav"
    speaker = launch("client/playback.py", "--url", url, "--output", out)
    wait(out.exists, speaker)
    mic = launch("client/mic.py", "--url", url, "--input", tmp_path / "long.wav")
    wait(lambda: size(out) > 32_000, mic)
    start_again(launch, server, url)
    before = size(out)
    wait(lambda: size(out) > before + 32_000, mic)
    mic.send_signal(signal.SIGINT)
    for process in (mic, speaker):
        _, err = finish(process)
        assert err.strip().split("\n") == [LOST, ANEW]


def test_no_microphone_is_one_line(launch, server_url, no_devices):
    mic = launch("client/mic.py", "--url", server_url, env=no_devices)
    assert one_line(mic).startswith("Error: there is no microphone that works")


def loudness(samples, rate):
    """Level in dB of each 20 ms."""
    blocks = samples[: len(samples) // (rate // 50) * (rate // 50)].reshape(-1, rate // 50)
    return 20 * np.log10(np.sqrt(np.mean(np.square(blocks, dtype=float), axis=1)) + 10)


LIKE = 0.7  # gaps on a busy machine lower it; other speech comes to 0.64 at most


def likeness(recorded, sound):
    """How like the sound the likest part of a recording is that may still go on."""
    played = loudness(np.fromfile(recorded, "<i2", offset=44), 16_000)
    spoken = loudness(sound, 16_000)
    windows = (played[start : start + len(spoken)] for start in range(len(played) - len(spoken)))
    # Silence before and after is like nothing at all.
    alike = (np.corrcoef(window, spoken)[0, 1] for window in windows if np.ptp(window) > 0)
    return max(alike, default=0)


def test_from_microphone_to_loudspeaker(
    launch, server_url, fixtures, pulse, direct, tmp_path, wait
):
    """A clip is played into the microphone; the loudspeaker must say it, coded and decoded."""
    env = {**os.environ, **pulse}

    def streams(kind):
        listed = subprocess.run(
            ["pactl", "list", "short", kind], env=env, capture_output=True, text=True, check=True
        )
        return len(listed.stdout.splitlines())

    recorded = tmp_path / "loudspeaker.wav"
    idle = streams("source-outputs")  # the virtual microphone itself is one
    recorder = subprocess.Popen(
        ["parecord", "--device=loudspeaker.monitor", "--rate=16000", "--channels=1", recorded],
        env=env,
    )
    try:
        wait(lambda: streams("source-outputs") == idle + 1, recorder)
        client = launch(
            "client/loopback.py",
            *("--url", server_url, "--input-device", "pulse", "--output-device", "pulse"),
            env=pulse,
        )
        wait(lambda: streams("source-outputs") == idle + 2 and streams("sink-inputs") >= 1, client)
        # On a busy machine sound comes in pieces: it is said again until it was heard in one.
        for _ in range(6):
            subprocess.run(
                ["paplay", "--device=voice", fixtures / "speech.flac"],
                env=env,
                check=True,
                timeout=60,
            )
            heard = recorded.stat().st_size
            wait(lambda heard=heard: recorded.stat().st_size > heard + 2 * 32_000, client)
            if likeness(recorded, direct.sound) > LIKE:
                break
        client.send_signal(signal.SIGINT)
        out, _ = finish(client)
    finally:
        recorder.send_signal(signal.SIGINT)
        recorder.wait(30)
    assert "pulse" in out
    assert likeness(recorded, direct.sound) > LIKE
