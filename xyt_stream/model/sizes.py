"""Compares a config's sizes with those of the tensors, before a network is built."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from xyt_stream.errors import ModelError
from xyt_stream.model.config import STEPS_PER_FRAME

PUBLISHED_CONTEXT = 375  # frames in a published window of 30 s
STACKS = {  # by field of ModelConfig
    "semantic_encoder": "encoder.semantic.stack",
    "semantic_adapter": "encoder.semantic_adapter",
    "acoustic_encoder": "encoder.acoustic.stack",
    "pre_rvq_adapter": "encoder.pre_rvq_adapter",
    "post_rvq_adapter": "decoder.post_rvq_adapter",
    "acoustic_decoder": "decoder.stack",
}
NAMED = 3  # faults that an error spells out


def sizes(tensors: Mapping[str, Tensor], path: Path) -> dict[str, Any]:
    """The fields of a ModelConfig that tensors under this package's names tell; not the heads.

    Raises:
        ModelError: a tensor that tells a size is missing or misshapen.
    """

    def axis(name: str, number: int) -> int:
        if name not in tensors:
            raise ModelError(f"{path} does not fit its config: {name} is missing")
        shape = tensors[name].shape
        if number >= len(shape):
            raise ModelError(f"{path} does not fit its config: {name} is {list(shape)}")
        return shape[number]

    def count(prefix: str) -> int:
        pattern = re.compile(re.escape(prefix) + r"\.(\d{1,6})\.")
        return len({found[1] for name in tensors if (found := pattern.match(name))})

    fields: dict[str, Any] = {}
    for field, prefix in STACKS.items():
        layers = count(f"{prefix}.layers")
        fields[field] = {"width": axis(f"{prefix}.layer_norm.weight", 0), "layers": layers}
        if layers:
            fields[field]["ffn"] = axis(f"{prefix}.layers.0.fc1.weight", 0)
    codebooks = "quantizer.codebooks"
    names = ("codebooks", "codebook_size", "dim")
    fields["quantizer"] = {name: axis(codebooks, number) for number, name in enumerate(names)}
    vocoder = "decoder.vocoder"
    blocks = count(f"{vocoder}.blocks")
    fields["vocoder"] = {
        "width": axis(f"{vocoder}.final_layer_norm.weight", 0),
        "blocks": blocks,
        "n_fft": axis(f"{vocoder}.head.out.bias", 0) - 2,
    }
    if blocks:
        fields["vocoder"]["ffn"] = axis(f"{vocoder}.blocks.0.pwconv1.weight", 0)
    fields["mels"] = axis("encoder.semantic.conv1.weight", 1)
    positions = "encoder.semantic.stack.sinusoids"
    if positions in tensors:
        fields["context"] = axis(positions, 0) // STEPS_PER_FRAME
    return fields


def check_sizes(stated: Mapping[str, Any], found: Mapping[str, Any], path: Path) -> None:
    """Compare a config's fields with those that `sizes` found.

    Raises:
        ModelError: naming fields that contradict each other.
    """
    wrong = _contradictions(stated, found, "")
    if not stated.get("causal") and "context" not in found:
        wrong += _contradictions(stated, {"context": PUBLISHED_CONTEXT}, "")
    if wrong:
        refuse(path, wrong)


def refuse(path: Path, wrong: list[str]) -> None:
    """Raise the ModelError that names the first few things wrong with a file."""
    more = f" and {len(wrong) - NAMED} more" if len(wrong) > NAMED else ""
    raise ModelError(f"{path} does not fit its config: {'; '.join(wrong[:NAMED])}{more}")


def _contradictions(stated: Mapping[str, Any], found: Mapping[str, Any], at: str) -> list[str]:
    wrong = []
    for name, size in found.items():
        value = stated.get(name)
        if isinstance(size, dict):
            inner = value if isinstance(value, dict) else {}
            wrong += _contradictions(inner, size, f"{at}{name}.")
        elif value is not None and value != size:
            wrong.append(f"{at}{name} is {value} in the config and {size} in the weights")
    return wrong
