"""The published fixture in other dialects: names, nesting, containers and configs."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import torch
import yaml
from safetensors.torch import save_file

State = dict[str, torch.Tensor]

FLAT_NAMES = {"semantic_encoder_adapter": "semantic_adapter"}
OUTSIDE = ("num_quantizers", "codebook_size", "codebook_dim")  # of the quantizer's, in flat configs


def published_state(fixtures: Path) -> State:
    path = fixtures / "published" / "xy24k" / "weights.ckpt"
    state: State = torch.load(path, weights_only=True)["generator"]
    return state


def published_params(fixtures: Path) -> dict[str, Any]:
    text = (fixtures / "published" / "xy24k" / "config.yaml").read_text()
    params: dict[str, Any] = yaml.safe_load(text)["generator_params"]
    return params


def renamed(state: State, *pairs: tuple[str, str]) -> State:
    for old, new in pairs:
        state = {re.sub(old, new, key): tensor for key, tensor in state.items()}
    return state


def prefixed(state: State, prefix: str) -> State:
    return {prefix + key: tensor for key, tensor in state.items()}


def folded(state: State) -> State:
    """Without weight norm, as transformers saves it: convolutions of kernel 1."""
    state = dict(state)
    for key in ("quantizer.input_proj.weight", "quantizer.output_proj.weight"):
        state[key] = torch._weight_norm(state.pop(f"{key}_v"), state.pop(f"{key}_g"), 0)
        assert state[key].ndim == 3
    return state


def rates() -> dict[str, int]:
    return {
        "input_sampling_rate": 16_000,
        "sampling_rate": 24_000,
        "encoder_downsample_rate": 1280,
        "decoder_upsample_rate": 1920,
    }


def sections(params: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {
        key.removesuffix("_kwargs"): dict(value)
        for key, value in params.items()
        if key.endswith("_kwargs")
    }


def sub_configs(params: dict[str, Any], *, convolution: bool) -> dict[str, Any]:
    parts = sections(params)
    if convolution:
        down, up = parts.pop("downsample"), parts.pop("upsample")
        parts["convolution"] = {
            "d_model": down["d_model"],
            "downsample_avg_pooler": down["avg_pooler"],
            "upsample_stride": up["stride"],
        }
    configs = {f"{name}_config": part for name, part in parts.items()}
    return {"model_type": "xy_tokenizer", **rates(), **configs}


def flat(params: dict[str, Any]) -> dict[str, Any]:
    values: dict[str, Any] = {"model_type": "xy_tokenizer", **rates(), "code_dim": 48}
    for section, fields in sections(params).items():
        for field, value in fields.items():
            short = re.sub("^(encoder|decoder)_", "", field)
            name = f"{FLAT_NAMES.get(section, section)}_{short}"
            values[field if field in OUTSIDE else name] = value
    values["hop_length"] = values.pop("feature_extractor_hop_length")
    return values


def fused(codec: dict[str, Any]) -> dict[str, Any]:
    """The config of a language model with a codec inside."""
    return {
        "model_type": "moss_ttsd",
        "codec_model_type": "xy_tokenizer",
        "codec_config": codec,
        "hidden_size": 64,
        "sampling_rate": 999,
        "speech_pad_token": 1024,
    }


def language_model() -> State:
    names = ("embed_tokens", "layers.0.mlp.up_proj", "layers.0.self_attn.q_proj", "norm")
    return {f"language_model.{name}.weight": torch.zeros(4, 4) for name in names}


def shard(state: State, folder: Path, suffix: str, parts: int = 3) -> dict[str, str]:
    """Write shards and their index; in which of them each tensor is."""
    stem = {"safetensors": "model", "bin": "pytorch_model"}[suffix]
    names = sorted(state)
    weight_map = {}
    for part in range(parts):
        file = f"{stem}-{part + 1:05}-of-{parts:05}.{suffix}"
        own = {name: state[name].contiguous() for name in names[part::parts]}
        save_file(own, folder / file) if suffix == "safetensors" else torch.save(own, folder / file)
        weight_map |= dict.fromkeys(own, file)
    index = {"metadata": {"total_size": 1}, "weight_map": weight_map}
    (folder / f"{stem}.{suffix}.index.json").write_text(json.dumps(index))
    return weight_map
