"""The programs with sound devices, or without any."""

from __future__ import annotations

import os
import signal
import subprocess

import numpy as np

from .programs import finish, one_line


def test_no_microphone_is_one_line(launch, server_url, no_devices):
    mic = launch("client/mic.py", "--url", server_url, env=no_devices)
    assert one_line(mic).startswith("Error: cannot open the microphone")


def loudness(samples, rate):
    """Level in dB of each 20 ms."""
    blocks = samples[: len(samples) // (rate // 50) * (rate // 50)].reshape(-1, rate // 50)
    return 20 * np.log10(np.sqrt(np.mean(np.square(blocks, dtype=float), axis=1)) + 10)


LIKE = 0.7  # gaps on a busy machine lower it; other speech comes to 0.64 at most


def likeness(recorded, sound):
    """Returns the likeness of the sound and the best part of a recording that may still grow."""
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
                timeout=180,
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
