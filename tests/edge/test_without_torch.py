from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np

from xyt_stream import Codec
from xyt_stream.audio import Pcm16, to_int16

from ..conftest import Through

CODE = """
import sys

allowed = {"xyt_stream", "numpy", "onnxruntime", "flatbuffers", "google", *sys.stdlib_module_names}
forbidden = set()

class Gate:
    @staticmethod
    def find_spec(name, path=None, target=None):
        top = name.partition(".")[0]
        if top not in allowed or top in sys.argv[3:]:
            forbidden.add(top)
            raise ImportError(f"no {name} here")

sys.meta_path.insert(0, Gate)

import numpy as np
from xyt_stream.edge import EdgeDecoder, EdgeEncoder

pcm = np.load(sys.argv[1]).astype(np.float32) / 32768
encoder, decoder = EdgeEncoder(), EdgeDecoder()
codes = np.concatenate([encoder.push(pcm), encoder.flush()], axis=1)
np.save(sys.argv[2], codes)
sound = np.concatenate([decoder.push(codes), decoder.flush()])
np.save(sys.argv[2] + ".sound.npy", sound)
assert not {"torch", "soundfile", "msgspec"} & sys.modules.keys()
"""


def run(*arguments: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", CODE, *map(str, arguments)],
        capture_output=True,
        text=True,
        check=False,
    )


def test_a_clip_is_coded_where_there_is_numpy_and_onnxruntime_only(
    tmp_path: Path, codec: Codec, clip: Pcm16
) -> None:
    direct = Through(codec, clip)
    np.save(tmp_path / "pcm.npy", clip)
    done = run(tmp_path / "pcm.npy", tmp_path / "codes.npy")
    assert done.returncode == 0, done.stderr
    assert np.array_equal(np.load(tmp_path / "codes.npy"), direct.codes)
    sound = np.load(tmp_path / "codes.npy.sound.npy")
    assert np.abs(to_int16(sound[: len(clip)]) - direct.sound).max() <= 4


def test_without_onnxruntime_one_line_names_the_extra(tmp_path: Path, clip: Pcm16) -> None:
    np.save(tmp_path / "pcm.npy", clip)
    done = run(tmp_path / "pcm.npy", tmp_path / "codes.npy", "onnxruntime")
    assert done.returncode == 1
    last = done.stderr.strip().splitlines()[-1]
    assert "MissingExtraError" in last
    assert "pip install xyt-stream" in last
