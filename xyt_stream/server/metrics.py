"""Counts and measures for Prometheus, without content, names of rooms or addresses."""

from __future__ import annotations

from collections.abc import Callable

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

from xyt_stream.server.engine.engine import StepFigures

_SECONDS = (0.002, 0.005, 0.01, 0.02, 0.03, 0.04, 0.06, 0.08, 0.12, 0.16, 0.32, 1.0)
_SHORT = (0.0005, 0.001)
_FRAMES = (1, 2, 4, 8, 16, 32, 64, 128, 256)
_MESSAGES = (0, 1, 2, 4, 8, 16, 32, 64, 128, 256)


class Metrics:
    """The metrics of one server, in a registry of its own. For the event loop's thread."""

    def __init__(self) -> None:
        self.registry = registry = CollectorRegistry()
        self.sessions = Gauge(
            "xyt_sessions", "Sessions, suspended ones included", registry=registry
        )
        self.suspended = Gauge(
            "xyt_sessions_suspended",
            "Sessions that wait for a disconnected client",
            registry=registry,
        )
        self.opened = Counter(
            "xyt_sessions_opened", "Sessions that were opened", ["role"], registry=registry
        )
        self.resumed = Counter(
            "xyt_sessions_resumed", "Sessions that were resumed", registry=registry
        )
        self.handovers = Counter(
            "xyt_handovers",
            "Sessions given up to other nodes or taken over, and moves that failed",
            ["result"],
            registry=registry,
        )
        self.subscribed = Counter(
            "xyt_subscribed_frames",
            "Frames of rooms that were sent to other nodes, that came from them, and that were "
            "lost on the way",
            ["direction"],
            registry=registry,
        )
        self.errors = Counter(
            "xyt_errors", "Sessions and connections refused or ended", ["name"], registry=registry
        )
        self.dropped = Counter(
            "xyt_dropped_messages", "Media messages that slow listeners lost", registry=registry
        )
        self.late = Counter(
            "xyt_late_frames", "Frames left out because steps are too slow", registry=registry
        )
        self.frames = Counter("xyt_frames", "Frames that went through steps", registry=registry)
        self.relayed = Counter(
            "xyt_relayed_frames", "Frames that came as codes and left as codes", registry=registry
        )
        self.step = Histogram(
            "xyt_step_seconds", "One step on the device", registry=registry, buckets=_SECONDS
        )
        self.batch = Histogram(
            "xyt_step_frames", "Frames in one step", registry=registry, buckets=_FRAMES
        )
        # A label for each session would grow without bound, so this samples a distribution.
        self.queue = Histogram(
            "xyt_session_queue_messages",
            "Media messages queued for one client: of each session, once a second",
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
            "From reading a frame's last sample until its result is written: of sessions in real "
            "time that receive their own sound",
            registry=registry,
            buckets=_SHORT + _SECONDS,
        )
        self.duplex_step = Histogram(
            "xyt_duplex_step_seconds",
            "One step of the speech model in this process",
            registry=registry,
            buckets=_SECONDS,
        )
        self.duplex_failures = Counter(
            "xyt_duplex_failures",
            "Conversations in which the speech model failed",
            registry=registry,
        )

    def gauge(self, name: str, about: str, value: Callable[[], float]) -> None:
        """Adds a gauge whose value is computed when the metrics are read."""
        Gauge(name, about, registry=self.registry).set_function(value)

    def record_step(self, step: StepFigures) -> None:
        """Adds the figures of one step."""
        self.step.observe(step.seconds)
        self.batch.observe(step.frames)
        self.frames.inc(step.frames)
        for seconds in step.turnaround:
            self.turnaround.observe(seconds)

    def page(self) -> bytes:
        """All metrics in Prometheus' text format."""
        return generate_latest(self.registry)
