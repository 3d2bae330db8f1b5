from __future__ import annotations

from typing import Any

import msgspec
import pytest

from xyt_stream.errors import ModelError
from xyt_stream.model.config import ModelConfig, mini


def test_survives_json_shaped_values():
    assert ModelConfig.from_dict(mini().to_dict()) == mini()


def changed(path: str, value: object) -> dict[str, Any]:
    """The default's values with another one at "field" or "part.field"."""
    values = mini().to_dict()
    *parts, field = path.split(".")
    target = values[parts[0]] if parts else values
    target[field] = value
    return values


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("mels", "80"),
        ("mels", 80.0),
        ("mels", True),
        ("mels", None),
        ("mels", -1),
        ("mels", 1 << 30),
        ("causal", 1),
        ("causal", "yes"),
        ("name", 5),
        ("context", [20]),
        ("quantizer", 8),
        ("quantizer.codebooks", 0),
        ("quantizer.codebooks", 1 << 34),
        ("semantic_encoder.width", "192"),
        ("semantic_encoder.width", 3 << 20),
        ("semantic_encoder.layers", 1_000_000),
        ("vocoder.hop", 160.0),
        ("vocoder.hop", 0),
    ],
)
def test_wrong_type_or_size_is_refused_in_one_line(path, value):
    with pytest.raises(ModelError, match=path) as refused:
        ModelConfig.from_dict(changed(path, value))
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize("path", ["wings", "vocoder.wings"])
def test_unknown_field_is_named(path):
    with pytest.raises(ModelError, match="wings"):
        ModelConfig.from_dict(changed(path, 2))


@pytest.mark.parametrize("values", [None, [], "mini", {}, {1: 2}])
def test_no_config_at_all_is_refused(values):
    with pytest.raises(ModelError, match="the config does not fit"):
        ModelConfig.from_dict(values)


@pytest.mark.parametrize(("part", "field"), [(None, "context"), ("vocoder", "n_fft")])
def test_missing_field_is_named(part, field):
    values = mini().to_dict()
    del (values[part] if part else values)[field]
    with pytest.raises(ModelError, match=field):
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
        msgspec.structs.replace(
            mini(),
            output_rate=24_000,
            vocoder=msgspec.structs.replace(mini().vocoder, n_fft=720, hop=240),
        ).frame_samples_out
        == 1920
    )
