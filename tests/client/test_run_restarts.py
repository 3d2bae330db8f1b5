"""The programs while their server is killed and started again."""

from __future__ import annotations

import signal

import numpy as np
import soundfile

from .programs import finish


def size(path):
    return path.stat().st_size if path.exists() else 0


LOST = "The connection was lost: trying again."
ANEW = "The server was restarted or dropped the session: a new session begins."


def told(err):
    """What the user was told of the connection."""
    return [line.strip() for line in err.splitlines() if line.strip() in (LOST, ANEW)]


def serve(launch, clip, tmp_path):
    """A server, its address, and where its sound is written that is said to it in long.wav."""
    soundfile.write(tmp_path / "long.wav", np.tile(clip, 100), 16_000)
    server = launch("server.py", "--port", 0, "--max-load", 0)
    return server, server.stdout.readline().split()[-1], tmp_path / "out.wav"


def loopback(launch, url, tmp_path, wait):
    """A client that has begun to hear itself."""
    out = tmp_path / "out.wav"
    client = launch(
        "client/loopback.py", *("--url", url, "--input", tmp_path / "long.wav", "--output", out)
    )
    wait(lambda: size(out) > 32_000, client)
    return client


def start_again(launch, server, url):
    """A server's successor on the same port, after it was killed."""
    server.kill()
    server.communicate()
    again = launch("server.py", "--port", url.rpartition(":")[2], "--max-load", 0)
    assert again.stdout.readline().split()[-1] == url


def test_loopback_survives_a_server_restart(launch, clip, tmp_path, wait):
    """What came before is kept; what the new session says is written behind it."""
    server, url, out = serve(launch, clip, tmp_path)
    client = loopback(launch, url, tmp_path, wait)
    start_again(launch, server, url)
    before = size(out)
    wait(lambda: size(out) > before + 32_000, client)
    client.send_signal(signal.SIGINT)
    text, err = finish(client)
    assert told(err) == [LOST, ANEW]
    assert "latency" in text
    assert soundfile.info(out).frames >= (before + 32_000) // 2 - 22


def test_room_survives_a_server_restart(launch, clip, tmp_path, wait):
    server, url, out = serve(launch, clip, tmp_path)
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
        assert told(err) == [LOST, ANEW]


def test_ctrl_c_ends_without_a_reachable_server(launch, clip, tmp_path, wait):
    """Long before it would give the server up."""
    server, url, _ = serve(launch, clip, tmp_path)
    client = loopback(launch, url, tmp_path, wait)
    server.kill()
    client.stderr.readline()  # it says that the connection was lost
    client.send_signal(signal.SIGINT)
    _, err = finish(client, 130)
    assert "Traceback" not in err
