"""Keeps weights in their safetensors file: a graph points to where each of them lies."""

from __future__ import annotations

import json
from collections.abc import Collection
from pathlib import Path
from typing import Any

import onnx_ir as ir

from xyt_stream.model.formats import CONFIG_KEY
from xyt_stream.model.quantizer import rename_codebooks

METADATA = "__metadata__"  # the header's entry that is no tensor
LENGTH_BYTES = 8  # of the number in front of a safetensors header
DTYPES = {
    "F32": ir.DataType.FLOAT,
    "F16": ir.DataType.FLOAT16,
    "BF16": ir.DataType.BFLOAT16,
}


def point(model: ir.Model, file: Path, inputs: Collection[str]) -> None:
    """Make weights of all inputs of a graph but `inputs`.

    They are read in the type that the file has, and cast to float32 in the graph.

    Args:
        file: a safetensors file of this package, in the folder that the graph will lie in.
    """
    start, entries = _header(file)
    casts = []
    for value in list(model.graph.inputs):
        if value.name in inputs:
            continue
        name = str(value.name)
        model.graph.inputs.remove(value)
        tensor = _tensor(name, entries[name], file, start)
        stored = ir.Value(
            name=name, shape=value.shape, type=ir.TensorType(tensor.dtype), const_value=tensor
        )
        model.graph.register_initializer(stored)
        cast = ir.node("Cast", [stored], {"to": ir.DataType.FLOAT}, name=f"{name}/cast")
        cast.outputs[0].name = f"{name}/float32"
        ir.convenience.replace_all_uses_with(value, cast.outputs[0])
        casts.append(cast)
    model.graph.insert_before(model.graph[0], casts)


def _tensor(name: str, entry: dict[str, Any], file: Path, start: int) -> ir.ExternalTensor:
    begin, end = entry["data_offsets"]
    return ir.ExternalTensor(
        file.name,
        start + begin,
        end - begin,
        DTYPES[entry["dtype"]],
        shape=ir.Shape(entry["shape"]),
        name=name,
        base_dir=file.parent,
    )


def is_own(file: Path) -> bool:
    """Whether a weights file that could be loaded is one that a graph may point into."""
    with file.open("rb") as opened:
        safetensors = opened.read(LENGTH_BYTES + 1).endswith(b"{")
    return safetensors and CONFIG_KEY in _header(file)[1].get(METADATA, {})


def _header(file: Path) -> tuple[int, dict[str, Any]]:
    """The byte that the tensors begin at, and the header's entry of each by its name here."""
    with file.open("rb") as opened:
        length = int.from_bytes(opened.read(LENGTH_BYTES), "little")
        entries = json.loads(opened.read(length))
    rename_codebooks(entries, "quantizer.")
    return LENGTH_BYTES + length, entries
