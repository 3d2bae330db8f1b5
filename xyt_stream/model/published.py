"""The published checkpoints, in all their dialects, as this package's config and names."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from xyt_stream.audio import FRAME_SAMPLES, INPUT_RATE
from xyt_stream.errors import ModelError
from xyt_stream.model.config import (
    MEL_HOP,
    MEL_WINDOW,
    STEPS_PER_FRAME,
    ModelConfig,
)

# Published prefixes and where they go; the first that fits wins.
PREFIXES = (
    (r"(semantic|acoustic)_encoder\.(conv[12])\.", r"encoder.\1.\2."),
    (r"(semantic|acoustic)_encoder\.", r"encoder.\1.stack."),
    (r"semantic_encoder_adapter\.", "encoder.semantic_adapter."),
    (r"(pre_rvq_adapter|downsample)\.", r"encoder.\1."),
    (r"quantizer\.", "quantizer."),
    (r"(post_rvq_adapter|upsample)\.", r"decoder.\1."),
    (r"acoustic_decoder\.(deconv[12])\.", r"decoder.\1."),
    (r"acoustic_decoder\.", "decoder.stack."),
    (r"(?:enhanced_)?vocos\.backbone\.convnext\.", "decoder.vocoder.blocks."),
    (r"(?:enhanced_)?vocos\.backbone\.", "decoder.vocoder."),
    (r"(?:enhanced_)?vocos\.head\.", "decoder.vocoder.head."),
)
# What training left behind, and constants that are computed here.
UNUSED = re.compile(r"\.(inited|cluster_size|embed_avg|istft\.window)$")
WEIGHT_NORM = {
    ".weight_g": ".weight_g",
    ".weight_v": ".weight_v",
    ".parametrizations.weight.original0": ".weight_g",
    ".parametrizations.weight.original1": ".weight_v",
}
FIXED = {
    "feature_extractor_kwargs": {"n_fft": MEL_WINDOW, "hop_length": MEL_HOP, "chunk_length": 30},
    "downsample_kwargs": {"avg_pooler": STEPS_PER_FRAME},
    "upsample_kwargs": {"stride": STEPS_PER_FRAME},
}


def translate_config(values: Mapping[str, Any], name: str) -> ModelConfig:
    """A published config (`generator_params`, or the hub's `params`) as a ModelConfig.

    Raises:
        ModelError: naming the field that is missing or that this network cannot be.
    """
    params = values.get("generator_params") or values.get("params") or values
    rates = {**values, **params}
    try:
        return _translate(params, rates, name)
    except KeyError as error:
        raise ModelError(f"the config of {name} lacks {error}") from error
    except TypeError as error:
        raise ModelError(f"the config of {name} does not fit: {error}") from error


def _translate(params: Mapping[str, Any], rates: Mapping[str, Any], name: str) -> ModelConfig:
    input_rate = rates.get("input_sample_rate") or rates["sample_rate"]
    output_rate = rates.get("output_sample_rate") or rates["sample_rate"]
    vocos, quantizer = params["vocos_kwargs"], params["quantizer_kwargs"]
    expected = [("sample rate", input_rate, INPUT_RATE), ("padding", vocos["padding"], "same")]
    for section, fields in FIXED.items():
        expected += [(f"{section}.{k}", params[section][k], v) for k, v in fields.items()]
    if "encoder_downsample_rate" in rates:
        found = rates["encoder_downsample_rate"]
        expected.append(("encoder_downsample_rate", found, FRAME_SAMPLES))
    for field, found, wanted in expected:
        if found != wanted:
            raise ModelError(f"the config of {name} does not fit: {field} is {found}, not {wanted}")
    sizes: dict[str, Any] = {
        "name": name,
        "causal": False,
        "context": params["semantic_encoder_adapter_kwargs"]["max_source_positions"]
        // STEPS_PER_FRAME,
        "output_rate": output_rate,
        "mels": params["feature_extractor_kwargs"]["feature_size"],
        "semantic_encoder": _stack(params["semantic_encoder_kwargs"]),
        "semantic_adapter": _stack(params["semantic_encoder_adapter_kwargs"]),
        "acoustic_encoder": _stack(params["acoustic_encoder_kwargs"]),
        "pre_rvq_adapter": _stack(params["pre_rvq_adapter_kwargs"]),
        "quantizer": {
            "dim": quantizer["rvq_dim"],
            "codebooks": quantizer["num_quantizers"],
            "codebook_size": quantizer["codebook_size"],
        },
        "post_rvq_adapter": _stack(params["post_rvq_adapter_kwargs"]),
        "acoustic_decoder": _stack(params["acoustic_decoder_kwargs"], "decoder"),
        "vocoder": {
            "width": vocos["dim"],
            "ffn": vocos["intermediate_dim"],
            "blocks": vocos["num_layers"],
            "n_fft": vocos["n_fft"],
            "hop": vocos["hop_size"],
        },
    }
    return ModelConfig.from_dict(sizes)


def _stack(section: Mapping[str, Any], side: str = "encoder") -> dict[str, Any]:
    return {
        "width": section["d_model"],
        "layers": section[f"{side}_layers"],
        "heads": section[f"{side}_attention_heads"],
        "ffn": section[f"{side}_ffn_dim"],
    }


def translate_weights(published: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Published tensors under this package's names, in its shapes.

    Weight norm is folded, the three attention projections are joined, and convolutions whose
    stride is their kernel become the linear maps they are. Names that nobody knows stay as they
    are, for the caller to complain about.
    """
    tensors = {_rename(k): v.float() for k, v in published.items() if not UNUSED.search(k)}
    for key in [k for k in tensors if k.endswith(".weight_v")]:
        base = key.removesuffix("_v")
        if f"{base}_g" in tensors:
            v, g = tensors.pop(key), tensors.pop(f"{base}_g")
            tensors[base] = torch._weight_norm(v, g, 0).squeeze(-1)
    for key in [k for k in tensors if k.endswith(".self_attn.q_proj.weight")]:
        _join_attention(tensors, key.removesuffix("q_proj.weight"))
    for key in ("encoder.downsample.gate_proj.weight", "encoder.downsample.up_proj.weight"):
        if key in tensors and tensors[key].ndim == 3:  # [out, in, step] over step-major input
            tensors[key] = tensors[key].transpose(1, 2).flatten(1)
    key = "decoder.upsample.up_conv.weight"
    if key in tensors and tensors[key].ndim == 3:  # [in, out, step] to step-major output
        tensors[key] = tensors[key].permute(2, 1, 0).flatten(0, 1)
    books = sorted(
        (k for k in tensors if re.fullmatch(r"quantizer\.quantizers\.\d+\.codebook", k)),
        key=lambda k: int(k.split(".")[2]),
    )
    if books:
        tensors["quantizer.codebooks"] = torch.stack([tensors.pop(k) for k in books])
    return tensors


def _rename(key: str) -> str:
    key = key.replace(".mlp.fc", ".fc").replace("positional_embedding", "sinusoids")
    for old, new in WEIGHT_NORM.items():
        if key.endswith(old):
            key = key.removesuffix(old) + new
    for pattern, place in PREFIXES:
        renamed, found = re.subn("^" + pattern, place, key)
        if found:
            return renamed
    return key


def _join_attention(tensors: dict[str, Tensor], base: str) -> None:
    """q, k and v as one map; the published k has no bias, which is a bias of zero."""
    parts = [f"{base}{p}_proj" for p in "qkv"]
    if any(f"{part}.weight" not in tensors for part in parts):
        return
    weights = [tensors.pop(f"{part}.weight") for part in parts]
    zero = torch.zeros(weights[0].shape[0])
    tensors[f"{base}qkv.weight"] = torch.cat(weights)
    tensors[f"{base}qkv.bias"] = torch.cat([tensors.pop(f"{p}.bias", zero) for p in parts])
