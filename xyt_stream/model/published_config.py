"""Translates published configs, in all their dialects, to the fields of a ModelConfig.

There are three, and each may be nested in another model's config:

    sections     semantic_encoder_kwargs: {d_model: 768, encoder_layers: 12, ...}   first release
    sub-configs  semantic_encoder_config: {d_model: 768, encoder_layers: 12, ...}   transformers
    flat         semantic_encoder_d_model: 768, semantic_encoder_layers: 12, ...    transformers
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from xyt_stream.audio import FRAME_SAMPLES, INPUT_RATE
from xyt_stream.errors import ModelError
from xyt_stream.model.config import (
    MEL_HOP,
    MEL_WINDOW,
    MELS_PER_FRAME,
    STEPS_PER_FRAME,
)
from xyt_stream.model.sizes import PUBLISHED_CONTEXT

# Keys under which a codec's config lies; beside the first two, its rates may lie.
OUTER = ("generator_params", "params")
FUSED = ("codec_config", "xy_tokenizer_config", "audio_tokenizer_config")

KINDS = ("kwargs", "config")  # how the names of sections end

ENCODER = {
    "width": "d_model",
    "layers": "encoder_layers",
    "heads": "encoder_attention_heads",
    "ffn": "encoder_ffn_dim",
}
DECODER = {field: name.replace("encoder_", "decoder_") for field, name in ENCODER.items()}
QUANTIZER = {"dim": "rvq_dim", "codebooks": "num_quantizers", "codebook_size": "codebook_size"}
VOCODER = {
    "width": "dim",
    "ffn": "intermediate_dim",
    "blocks": "num_layers",
    "n_fft": "n_fft",
    "hop": "hop_size",
}
# Field of ModelConfig: section, prefix in flat configs, its fields and their names.
SECTIONS = {
    "semantic_encoder": ("semantic_encoder", "semantic_encoder", ENCODER),
    "semantic_adapter": ("semantic_encoder_adapter", "semantic_adapter", ENCODER),
    "acoustic_encoder": ("acoustic_encoder", "acoustic_encoder", ENCODER),
    "pre_rvq_adapter": ("pre_rvq_adapter", "pre_rvq_adapter", ENCODER),
    "quantizer": ("quantizer", "quantizer", QUANTIZER),
    "post_rvq_adapter": ("post_rvq_adapter", "post_rvq_adapter", ENCODER),
    "acoustic_decoder": ("acoustic_decoder", "acoustic_decoder", DECODER),
    "vocoder": ("vocos", "vocos", VOCODER),
}
MELS = ("feature_extractor.feature_size", "feature_extractor_feature_size")
INPUT_RATES = ("input_sample_rate", "input_sampling_rate", "sample_rate")
OUTPUT_RATES = ("output_sample_rate", "sampling_rate", "sample_rate")
# Values that this network has, if a config names them.
FIXED: tuple[tuple[tuple[str, ...], Any], ...] = (
    (INPUT_RATES, INPUT_RATE),
    (("encoder_downsample_rate",), FRAME_SAMPLES),
    (("feature_extractor.n_fft", "feature_extractor_n_fft"), MEL_WINDOW),
    (("feature_extractor.hop_length", "hop_length"), MEL_HOP),
    (("feature_extractor.chunk_length", "feature_extractor_chunk_length"), 30),  # s
    (
        ("semantic_encoder_adapter.max_source_positions", "semantic_adapter_max_source_positions"),
        PUBLISHED_CONTEXT * STEPS_PER_FRAME,
    ),
    (
        ("downsample.avg_pooler", "convolution.downsample_avg_pooler", "downsample_avg_pooler"),
        STEPS_PER_FRAME,
    ),
    (("upsample.stride", "convolution.upsample_stride", "upsample_stride"), STEPS_PER_FRAME),
    (("vocos.padding", "vocos_padding"), "same"),
)


def translate_config(
    values: Mapping[str, Any], found: Mapping[str, Any], name: str
) -> dict[str, Any]:
    """A published config as the fields of a ModelConfig.

    Args:
        values: as the file has them.
        found: sizes of the weights, for fields that the config lacks.
        name: of the model.

    Raises:
        ModelError: naming a field that is missing, or that this network cannot be.
    """
    codec = _codec(values)
    for paths, wanted in FIXED:
        stated = _look(codec, paths, name)
        if stated not in (None, wanted):
            raise _misfit(name, f"{paths[0]} is {stated}, not {wanted}")
    fields = dict(found)
    for field, (section, flat, names) in SECTIONS.items():
        stated = {
            ours: _look(codec, _paths(section, flat, its), name) for ours, its in names.items()
        }
        fields[field] = fields[field] | {k: v for k, v in stated.items() if v is not None}
        if names in (ENCODER, DECODER) and stated["heads"] is None:
            raise ModelError(f"the config of {name} lacks {section}'s {names['heads']}")
    vocoder = fields["vocoder"]
    vocoder.setdefault("hop", vocoder["n_fft"] // 4)  # windows are four hops of 10 ms
    mels, rate = _look(codec, MELS, name), _look(codec, OUTPUT_RATES, name)
    return {
        **fields,
        "name": name,
        "causal": False,
        "context": PUBLISHED_CONTEXT,
        "mels": fields["mels"] if mels is None else mels,
        "output_rate": rate or vocoder["hop"] * MELS_PER_FRAME * INPUT_RATE // FRAME_SAMPLES,
    }


def _codec(values: Mapping[str, Any]) -> Mapping[str, Any]:
    """The part of a config that is the codec's."""
    for key in FUSED:
        if isinstance(values.get(key), dict):
            values = values[key]
    for key in OUTER:
        if isinstance(values.get(key), dict):
            values = {**values, **values[key]}
    return values


def _paths(section: str, flat: str, name: str) -> tuple[str, ...]:
    short = name.removeprefix("encoder_").removeprefix("decoder_")
    bare = (name,) if section == "quantizer" else ()
    return (f"{section}.{name}", f"{flat}_{short}", *bare)


def _look(codec: Mapping[str, Any], paths: tuple[str, ...], name: str) -> Any:
    """The first of `paths` that a config has, "section.field" or "field"; None if it has none."""
    for path in paths:
        section, _, field = path.rpartition(".")
        places = [codec.get(f"{section}_{kind}") for kind in KINDS] if section else [codec]
        for place in places:
            value = place.get(field) if isinstance(place, dict) else None
            if isinstance(value, float) and value.is_integer():
                return int(value)
            if value is not None:
                if not isinstance(value, int | float | str):
                    raise _misfit(name, f"{path} is no number")
                return value
    return None


def _misfit(name: str, reason: str) -> ModelError:
    return ModelError(f"the config of {name} does not fit: {reason}")
