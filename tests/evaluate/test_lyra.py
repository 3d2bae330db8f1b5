"""Lyra's own files cannot be had here: models of the same signatures take their place."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tests.evaluate.lyra_models import BITS, FRAME, STEP, basis, write_models
from xyt_stream.audio import Samples
from xyt_stream.errors import ModelError
from xyt_stream.evaluate.lyra import FILES, lyra

schema = pytest.importorskip("ai_edge_litert.schema_py_generated")


@pytest.fixture
def sound() -> Samples:
    random = np.random.default_rng(3)
    return random.normal(0, 0.1, 10 * FRAME + 57).astype(np.float32)


def expected(sound: Samples, quantizers: int) -> Samples:
    frames = np.pad(sound, (0, -len(sound) % FRAME)).reshape(-1, FRAME)
    features = np.round(frames @ basis().T / STEP)[:, :quantizers] * STEP
    return (features @ basis()[:quantizers]).ravel()[: len(sound)]


@pytest.mark.parametrize("bit_rate", [3200, 6000, 9200])
def test_a_frame_takes_as_many_quantizers_as_the_bit_rate_pays(tmp_path, sound, bit_rate):
    write_models(tmp_path, schema)
    decoded = lyra(tmp_path, bit_rate).roundtrip(sound)
    assert decoded.shape == sound.shape
    np.testing.assert_allclose(decoded, expected(sound, bit_rate // 50 // BITS), atol=1e-5)


def test_decoded_sound_is_aligned(tmp_path, sound):
    write_models(tmp_path, schema, lag=40)
    decoded = lyra(tmp_path, 9200).roundtrip(sound)
    whole = expected(sound, 46)[:-FRAME]
    assert np.corrcoef(decoded[: len(whole)], whole)[0, 1] > 0.8  # 40 of 320 samples wrap around


def test_missing_files_are_named(tmp_path):
    with pytest.raises(ModelError, match=r"soundstream_encoder\.tflite, quantizer\.tflite"):
        lyra(tmp_path)


@pytest.mark.parametrize("name", FILES)
def test_a_damaged_file_is_one_clear_error(tmp_path: Path, name: str):
    write_models(tmp_path, schema)
    path = tmp_path / name
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(ModelError, match=r"refused|does not hold"):
        lyra(tmp_path)


def test_files_in_each_others_place_are_one_clear_error(tmp_path: Path):
    write_models(tmp_path, schema)
    (tmp_path / FILES[0]).rename(tmp_path / "x")
    (tmp_path / FILES[1]).rename(tmp_path / FILES[0])
    (tmp_path / "x").rename(tmp_path / FILES[1])
    with pytest.raises(ModelError, match="does not hold Lyra's models"):
        lyra(tmp_path)
