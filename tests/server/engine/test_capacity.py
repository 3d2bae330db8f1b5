from __future__ import annotations

import pytest

from xyt_stream.server.engine import capacity as module
from xyt_stream.server.engine.capacity import MOST, capacity


@pytest.mark.parametrize(
    ("milliseconds", "sessions"),
    [(lambda n: 100, 1), (lambda n: 7.5 + 2 * n, 10), (lambda n: 7.5 + n, 20), (lambda n: 1, MOST)],
)
def test_capacity_fills_35_hundredths_of_real_time(monkeypatch, milliseconds, sessions):
    monkeypatch.setattr(module, "_step_seconds", lambda _, n, __: milliseconds(n) / 1e3)
    assert capacity(None) == sessions


class Clock:
    """Seconds that a step moves on by what the test says, whatever it really takes.

    Args:
        codec: its encoders' steps move it.
        milliseconds: of each step, after the one that is not timed; by its number and its rows.
    """

    def __init__(self, codec, monkeypatch, milliseconds):
        self.now, self.steps = 0.0, 0
        real = codec.stream_encoder

        def stream_encoder(slots, *, lookahead):
            encoder = real(slots, lookahead=lookahead)
            step = encoder.step

            def timed_step(pcm, active, chosen):
                self.now += milliseconds(self.steps, len(pcm)) / 1e3
                self.steps += 1
                return step(pcm, active, chosen)

            encoder.step = timed_step
            return encoder

        monkeypatch.setattr(codec, "stream_encoder", stream_encoder, raising=False)

    def __call__(self):
        return self.now


def test_steps_are_measured_with_the_real_codec(codec, monkeypatch):
    clock = Clock(codec, monkeypatch, lambda _, rows: rows)
    assert module._step_seconds(codec, 4, 0, clock) == pytest.approx(0.004)


@pytest.mark.parametrize(("slow", "milliseconds"), [(1, 5), (2, 50)])
def test_slow_steps_count_but_for_one(codec, monkeypatch, slow, milliseconds):
    clock = Clock(codec, monkeypatch, lambda step, _: 50 if step > 9 - slow else 5)
    assert module._step_seconds(codec, 2, 0, clock) == pytest.approx(milliseconds / 1e3)
