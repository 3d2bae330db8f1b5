"""The one line that the commands with sound show in a terminal while they run."""

from __future__ import annotations

import sys
from pathlib import Path

from ..terminal import in_terminal

CLIP = Path(__file__).parents[2] / "demos" / "speech.flac"  # six seconds


def test_mic_and_play_show_state_bits_and_latency(server_url, tmp_path):
    command = (sys.executable, "-m", "xyt_stream.cli")
    room = ("--url", server_url, "--room", "live line")
    with in_terminal(*command, "play", *room, "--output", str(tmp_path / "a.wav")) as play:
        play.read_until("speaker in live line nobody speaks", "ping")
        with in_terminal(*command, "mic", *room, "--input", str(CLIP)) as mic:
            mic.read_until(
                "mic in live line live, 1 listens", "kbit/s", "ping", "bits a second sent"
            )
        play.read_until("speaker in live line live", "buffer", "sound written to")
