"""Waits for processes and reads what they print."""

from __future__ import annotations


def finish(process, status=0):
    out, err = process.communicate(timeout=180)
    assert process.returncode == status, err
    return out, err


def one_line(process):
    """The one line that a failed program prints."""
    _, err = finish(process, 1)
    lines = err.strip().splitlines()
    assert len(lines) == 1, err
    return lines[0]
