"""Writes a file under another name and renames it when it is whole."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def part_file(path: Path) -> Iterator[Path]:
    """Yields the path to write to; afterwards it becomes `path`, or is removed after an error.

    The part file lies in the folder of `path` and has the same suffix. An existing `path` that is
    no regular file, such as a pipe, is written to directly.

    Raises:
        OSError: the part file cannot be renamed.
    """
    path = path.resolve()  # a symbolic link stays one
    if path.exists() and not path.is_file():
        yield path
        return
    part = path.with_name(f".{path.stem}.{os.getpid()}.part{path.suffix}")
    try:
        yield part
        if path.exists():
            shutil.copymode(path, part)
        os.replace(part, path)
    except BaseException:
        part.unlink(missing_ok=True)
        raise
