"""Names standard input and output, which take the place of a file where its name is "-"."""

from __future__ import annotations

from pathlib import Path

STREAM = "-"  # standard input or output in the place of a file


def is_standard(path: str | Path | None) -> bool:
    """Whether this name stands for standard input or output."""
    return str(path) == STREAM


def source_name(path: str | Path) -> str:
    """The name of a file to read, for a message."""
    return "standard input" if is_standard(path) else str(path)


def target_name(path: str | Path) -> str:
    """The name of a file to write, for a message."""
    return "standard output" if is_standard(path) else str(path)
