"""A mic and three speakers, each behind a line of 4 kb/s and 150 ms each way.

The lines carry real IP packets between network namespaces and are shaped in this process
(hosts.py), as `tc netem` would do it where the kernel has that.
"""

from __future__ import annotations

import re
import subprocess
import sys
import time

import numpy as np
import pytest
import soundfile

from .hosts import some_hosts

RATE = 4000  # bits a second of each line in each direction, headers of TCP and IP included
DELAY = 0.15  # seconds
TOGETHER = 10  # frames of a message


def start(host, *arguments):
    with host.inside():
        return subprocess.Popen(
            [sys.executable, "-m", "xyt_stream.cli", *map(str, arguments)],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )


def finish(process):
    out, err = process.communicate(timeout=240)
    assert process.returncode == 0, err
    return out


@pytest.mark.slow
def test_speech_crosses_lines_of_4_kilobits_whole(codec, clip, direct, tmp_path):
    stoi = pytest.importorskip("pystoi").stoi
    clip = np.tile(clip, 6)  # 12 seconds
    direct = type(direct)(codec, clip)
    soundfile.write(tmp_path / "said.wav", clip, 16_000)
    files = [tmp_path / f"{number}.wav" for number in range(3)]
    with some_hosts(5) as ((server, *homes), cable):
        cable.rate = RATE
        cable.lateness = lambda: DELAY
        relay = start(server, "serve", "--relay", "--host", server.address, "--allow-anyone")
        processes = [relay]
        try:
            url = re.search(r"ws://\S+", relay.stdout.readline()).group()
            options = ("--url", url, "--codec", "here")
            speakers = [
                start(home, "play", *options, "--output", file)
                for home, file in zip(homes[1:], files, strict=True)
            ]
            processes += speakers
            deadline = time.monotonic() + 120
            while not all(file.exists() for file in files):  # until every speaker is in the room
                assert time.monotonic() < deadline
                time.sleep(0.1)
            mic = start(
                homes[0],
                *("mic", *options, "--frames-a-message", TOGETHER),
                *("--input", tmp_path / "said.wav"),
            )
            processes.append(mic)
            reports = [finish(each) for each in (mic, *speakers)]
        finally:
            for process in processes:
                process.kill()
                process.wait()
    local = stoi(clip / 32768, direct.sound / 32768, 16_000)
    for file in files:
        heard, _ = soundfile.read(file, dtype="int16")
        assert len(heard) == direct.codes.shape[1] * 1280  # every frame
        assert np.abs(heard[: len(clip) - 1280].astype(int) - direct.sound[:-1280]).max() <= 4
        scored = stoi(clip / 32768, heard[: len(clip)] / 32768, 16_000)
        print(f"STOI {scored:.4f}, of the local round trip {local:.4f}")
        assert abs(scored - local) < 0.001
    for report in reports:
        print(report.strip().splitlines()[-1] if "bits" in report else report)
