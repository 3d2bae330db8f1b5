"""Checks the outcome of a command line."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple


class Result(NamedTuple):
    status: int | str | None
    out: str
    err: str


Run = Callable[..., Result]


def refused(result: Result, *says: str) -> None:
    """The user reads one clear line, and nothing pretends to have worked."""
    assert result.status == 1
    assert result.err.startswith("Error: ")
    assert result.err.count("\n") == 1
    for words in says:
        assert words in result.err
    assert "Traceback" not in result.out + result.err
