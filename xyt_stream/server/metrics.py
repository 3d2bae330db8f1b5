"""Figures for Prometheus. No content, no names of rooms, no addresses."""

from __future__ import annotations

import collections
from collections.abc import Callable

import numpy as np
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

from xyt_stream.server.engine.engine import Step

_SECONDS = (0.002, 0.005, 0.01, 0.02, 0.03, 0.04, 0.06, 0.08, 0.12, 0.16, 0.32, 1.0)
_SHORT = (0.0005, 0.001)
_FRAMES = (1, 2, 4, 8, 16, 32, 64, 128, 256)
_MESSAGES = (0, 1, 2, 4, 8, 16, 32, 64, 128, 256)
_KEPT = 4096  # frames behind `answer_ms`


class Metrics:
    """What one server counts; each has its own registry."""

    def __init__(self) -> None:
        self.registry = registry = CollectorRegistry()
        self.sessions = Gauge(
            "xyt_sessions", "Sessions, those that wait for their client included", registry=registry
        )
        self.parked = Gauge(
            "xyt_sessions_parked", "Sessions that wait for their client", registry=registry
        )
        self.joined = Counter(
            "xyt_sessions_begun", "Sessions that began", ["role"], registry=registry
        )
        self.resumed = Counter("xyt_sessions_resumed", "Sessions taken up again", registry=registry)
        self.errors = Counter(
            "xyt_errors", "Sessions and connections refused or cut off", ["name"], registry=registry
        )
        self.dropped = Counter(
            "xyt_dropped_messages", "Sound that slow speakers lost", registry=registry
        )
        self.frames = Counter("xyt_frames", "Frames that went through steps", registry=registry)
        self.step = Histogram(
            "xyt_step_seconds", "One step on the device", registry=registry, buckets=_SECONDS
        )
        self.batch = Histogram(
            "xyt_step_frames", "Frames in one step", registry=registry, buckets=_FRAMES
        )
        # A label for each session would grow for ever: looked at once a second, as a distribution.
        self.queue = Histogram(
            "xyt_session_queue_messages",
            "Media that wait for one client's connection: of each session, once a second",
            registry=registry,
            buckets=_MESSAGES,
        )
        self.turnaround = Histogram(
            "xyt_frame_turnaround_seconds",
            "From a frame's last sample in the server until its codes or sound are ready",
            registry=registry,
            buckets=_SECONDS,
        )

        self.answer = Histogram(
            "xyt_frame_answer_seconds",
            "From reading a frame's last sample until what came of it is written: of sessions in "
            "real time that hear themselves",
            registry=registry,
            buckets=_SHORT + _SECONDS,
        )
        self._answers: collections.deque[float] = collections.deque(maxlen=_KEPT)
        self.duplex_step = Histogram(
            "xyt_duplex_step_seconds",
            "One step of the speech model in this process",
            registry=registry,
            buckets=_SECONDS,
        )
        self.duplex_failures = Counter(
            "xyt_duplex_failures", "Conversations that it failed in", registry=registry
        )

    def gauge(self, name: str, about: str, value: Callable[[], float]) -> None:
        """A figure that is asked for when somebody reads."""
        Gauge(name, about, registry=self.registry).set_function(value)

    def stepped(self, step: Step) -> None:
        """A step was made."""
        self.step.observe(step.seconds)
        self.batch.observe(step.frames)
        self.frames.inc(step.frames)
        for seconds in step.turnaround:
            self.turnaround.observe(seconds)

    def answered(self, seconds: float) -> None:
        """What came of a frame was written so long after the frame was read."""
        self.answer.observe(seconds)
        self._answers.append(seconds)

    def answer_ms(self) -> dict[str, float] | None:
        """The same of the latest frames, exactly; None before the first."""
        if not self._answers:
            return None
        p50, p99, most = np.percentile(np.array(self._answers), (50, 99, 100)) * 1e3
        return {"p50": float(p50), "p99": float(p99), "max": float(most)}

    def page(self) -> bytes:
        """In Prometheus' text format."""
        return generate_latest(self.registry)
