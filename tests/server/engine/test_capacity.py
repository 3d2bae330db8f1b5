from __future__ import annotations

import pytest

from xyt_stream.server.engine import capacity as module
from xyt_stream.server.engine.capacity import MOST, capacity


@pytest.mark.parametrize(
    ("milliseconds", "sessions"),
    [(lambda n: 100, 1), (lambda n: 8 + 2 * n, 16), (lambda n: 8 + n, 32), (lambda n: 1, MOST)],
)
def test_capacity_fills_half_of_real_time(monkeypatch, milliseconds, sessions):
    monkeypatch.setattr(module, "_step_seconds", lambda _, n, __: milliseconds(n) / 1e3)
    assert capacity(None) == sessions


def test_steps_are_measured_with_the_real_codec(codec, monkeypatch):
    """On a clock that a step of n streams moves on by n ms, whatever it really takes."""
    now, rows = [0.0], []

    def clock():
        if rows:
            now[0] += rows.pop() / 1e3
        return now[0]

    real = codec.stream_encoder

    def stream_encoder(slots, *, lookahead):
        encoder = real(slots, lookahead=lookahead)
        step = encoder.step
        encoder.step = lambda pcm, active: rows.append(len(pcm)) or step(pcm, active)
        return encoder

    monkeypatch.setattr(codec, "stream_encoder", stream_encoder, raising=False)
    seconds = module._step_seconds(codec, 4, 0, clock)
    assert seconds == pytest.approx(0.004)
