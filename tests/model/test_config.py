from __future__ import annotations

import dataclasses

import pytest

from xyt_stream.errors import ModelError
from xyt_stream.model.config import ModelConfig, mini


def test_survives_json_shaped_values():
    assert ModelConfig.from_dict(mini().to_dict()) == mini()


def test_names_the_unknown_field():
    with pytest.raises(ModelError, match="wings"):
        ModelConfig.from_dict({**mini().to_dict(), "wings": 2})


def test_names_the_missing_field():
    values = mini().to_dict()
    del values["context"]
    with pytest.raises(ModelError, match="context"):
        ModelConfig.from_dict(values)


@pytest.mark.parametrize(
    ("part", "change", "named"),
    [
        ("vocoder", {"hop": 100}, "hop"),
        ("vocoder", {"n_fft": 500}, "n_fft"),
        ("acoustic_decoder", {"heads": 5}, "acoustic_decoder"),
    ],
)
def test_refuses_sizes_that_do_not_fit(part, change, named):
    values = mini().to_dict()
    values[part] |= change
    with pytest.raises(ModelError, match=named):
        ModelConfig.from_dict(values)


def test_default_frame_is_80_ms():
    assert mini().frame_samples_out == 1280
    assert (
        dataclasses.replace(
            mini(),
            output_rate=24_000,
            vocoder=dataclasses.replace(mini().vocoder, n_fft=720, hop=240),
        ).frame_samples_out
        == 1920
    )
