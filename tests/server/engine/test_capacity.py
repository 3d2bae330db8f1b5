from __future__ import annotations

import pytest

from xyt_stream.server.engine import capacity as module
from xyt_stream.server.engine.capacity import MOST, capacity


@pytest.mark.parametrize(
    ("milliseconds", "sessions"),
    [(lambda n: 100, 1), (lambda n: 8 + 2 * n, 16), (lambda n: 8 + n, 32), (lambda n: 1, MOST)],
)
def test_as_many_as_fill_half_of_real_time(monkeypatch, milliseconds, sessions):
    monkeypatch.setattr(module, "_step_seconds", lambda _, n, __: milliseconds(n) / 1e3)
    assert capacity(None) == sessions


def test_this_machine_carries_some(codec):
    assert 1 <= capacity(codec) <= MOST
