"""Sends speech through a real server and back, in real time, and writes out.wav: run this first.

`make demo` runs it. It starts `xyt-stream serve` as a process on a free port, streams the clip
beside this file with `xyt-stream loopback`, and prints the measurements.
"""

from __future__ import annotations

import argparse
import re
import subprocess
import sys
from pathlib import Path

from xyt_stream.cli import main

CLIP = Path(__file__).with_name("speech.flac")
COMMAND = [sys.executable, "-m", "xyt_stream.cli", "serve", "--port", "0"]
COMMAND += ["--log-level", "warning"]


def demo(clip: str, out: str) -> None:
    with subprocess.Popen(COMMAND, stdout=subprocess.PIPE, text=True) as server:
        assert server.stdout
        try:
            address = re.search(r"ws://\S+", server.stdout.readline())
            if address is None:
                sys.exit("The server did not start; what it said stands above.")
            main(["loopback", "--url", address.group(), "--input", clip, "--output", out])
        finally:
            server.terminate()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("clip", nargs="?", default=str(CLIP), help="a sound file of speech")
    parser.add_argument("out", nargs="?", default="out.wav", help="the sound file to write")
    demo(**vars(parser.parse_args()))
