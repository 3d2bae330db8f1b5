from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import soundfile

from xyt_stream import Codec
from xyt_stream.audio import read_audio
from xyt_stream.streaming.clips import decode_clip, encode_clip

DEMO = Path(__file__).parents[2] / "demos" / "loopback.py"


def test_the_first_command_talks(codec: Codec, fixtures: Path, tmp_path: Path) -> None:
    clip = fixtures / "speech.flac"
    words = [sys.executable, str(DEMO), str(clip), "out.wav"]
    demo = subprocess.run(words, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert demo.returncode == 0, demo.stderr
    for figure in ("26 frames", "bits a second", "delay", "step", "latency", "out.wav"):
        assert figure in demo.stdout
    samples, _ = read_audio(clip)
    heard, rate = soundfile.read(tmp_path / "out.wav")
    assert rate == codec.output_rate
    direct = decode_clip(codec, encode_clip(codec, samples, 0), 0).numpy()
    assert len(heard) == round(len(samples) * codec.output_rate / codec.input_rate)
    np.testing.assert_allclose(heard, direct[: len(heard)].clip(-1, 1), atol=1.5 / 32_768)
