"""Exports a causal model as two ONNX graphs, which run without torch."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from xyt_stream.errors import MissingExtraError

if TYPE_CHECKING:
    from xyt_stream.edge.manifest import Manifest
    from xyt_stream.model.hub import Source

__all__ = ["export"]


def export(source: Source, folder: Path, *, int8_decoder: bool = False) -> Manifest:
    """As `folder.write`, once the packages that it needs are seen to be there.

    Raises:
        MissingExtraError: they are not installed.
        ModelError: as `folder.write`.
    """
    if not all(map(find_spec, ("onnx", "onnx_ir", "onnxscript", "onnxruntime"))):
        raise MissingExtraError("Exports", "export")
    from xyt_stream.export.folder import write

    return write(source, folder, int8_decoder=int8_decoder)
