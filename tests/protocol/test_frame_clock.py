from __future__ import annotations

from xyt_stream.protocol.frame_clock import FrameClock


class Clock:
    now = 0.0

    def __call__(self):
        return self.now


def test_frame_is_timed_from_its_last_sample():
    clock = Clock()
    frames = FrameClock(100, clock)
    frames.fill(99)
    assert frames.done(0) is None  # it is not full
    clock.now = 1.0
    frames.fill(1)
    clock.now = 1.5
    frames.fill(250)
    clock.now = 1.75
    assert [frames.done(frame) for frame in range(4)] == [0.75, 0.25, 0.25, None]
    assert frames.done(0) is None  # only once


def test_untimed_frames_are_counted():
    frames = FrameClock(100, Clock())
    frames.fill(200, timed=False)
    frames.fill(100)
    assert [frames.done(frame) for frame in range(3)] == [None, None, 0.0]
