"""Recognises files of weights by their first bytes, not by their names."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from xyt_stream.errors import ModelError

SUFFIXES = (".safetensors", ".ckpt", ".bin", ".pt", ".pth")  # usual ones, best first
CONFIG_KEY = "xyt_config"  # in the header of a safetensors file that `checkpoint.save` wrote
INDEX = ".index.json"  # how the name of an index of shards ends


def container(path: Path) -> Literal["safetensors", "zip", "pickle", "index"] | None:
    """Which format a file of weights has; None if it is none.

    Raises:
        ModelError: it cannot be read.
    """
    if path.name.endswith(INDEX):
        return "index"
    try:
        if path.is_fifo():  # opening it waits for a writer
            raise ModelError(f"{path.name} is a pipe: a model is a file")
        with path.open("rb") as file:
            head = file.read(9)
    except OSError as error:
        raise ModelError(f"{path.name} cannot be read: {error.strerror}") from error
    if head[8:] == b"{" and int.from_bytes(head[:8], "little") < 1 << 32:
        return "safetensors"
    if head.startswith(b"PK\3\4"):  # torch.save
        return "zip"
    return "pickle" if head.startswith(b"\x80") else None  # torch.save before 2020
