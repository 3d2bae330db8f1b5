"""The commands while their server is killed and started again."""

from __future__ import annotations

import signal

import numpy as np
import soundfile

from .programs import finish


def size(path):
    return path.stat().st_size if path.exists() else 0


LOST = "The connection was lost: trying again."
ANEW = "The server was restarted or dropped the session: a new session begins."


def connection_lines(err):
    """Returns the lines about the connection."""
    return [line.strip() for line in err.splitlines() if line.strip() in (LOST, ANEW)]


def loopback(launch, url, tmp_path, out):
    return launch(
        "client/loopback.py", *("--url", url, "--input", tmp_path / "long.wav", "--output", out)
    )


def test_commands_survive_a_server_restart(launch, clip, tmp_path, wait):
    """The files keep what came before, and what the new session sends is written behind it.

    Meanwhile, Ctrl-C ends a command at once, long before it would give the server up.
    """
    soundfile.write(tmp_path / "long.wav", np.tile(clip, 100), 16_000)
    server = launch("server.py", "--port", 0, "--max-load", 0)
    url = server.stdout.readline().split()[-1]
    outs = [tmp_path / f"{name}.wav" for name in ("loopback", "play", "impatient")]
    play = launch("client/playback.py", "--url", url, "--output", outs[1])
    wait(outs[1].exists, play)
    mic = launch("client/mic.py", "--url", url, "--input", tmp_path / "long.wav")
    client = loopback(launch, url, tmp_path, outs[0])
    impatient = loopback(launch, url, tmp_path, outs[2])
    wait(lambda: all(size(out) > 32_000 for out in outs), client)

    server.kill()
    server.communicate()
    impatient.stderr.readline()  # it says that the connection was lost
    impatient.send_signal(signal.SIGINT)
    _, err = finish(impatient, 130)
    assert "Traceback" not in err

    again = launch("server.py", "--port", url.rpartition(":")[2], "--max-load", 0)
    assert again.stdout.readline().split()[-1] == url
    before = [size(out) for out in outs]
    wait(lambda: all(size(out) > old + 32_000 for out, old in zip(outs[:2], before, strict=False)))
    for process in (mic, client):
        process.send_signal(signal.SIGINT)
    for process in (mic, client, play):
        text, err = finish(process)
        assert connection_lines(err) == [LOST, ANEW]
        assert ("latency" in text) == (process is client)
    assert soundfile.info(outs[0]).frames >= (before[0] + 32_000) // 2 - 22
