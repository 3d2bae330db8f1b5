"""The thread in which duplex models of this process think."""

from __future__ import annotations

import collections
import logging
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol, TypeAlias

import numpy as np

from xyt_stream.protocol.error_table import protocol_error
from xyt_stream.protocol.packing import CodeArray
from xyt_stream.server.duplex.models import Answer, Factory, models_of
from xyt_stream.server.engine.engine import BUSY_RETRY
from xyt_stream.server.engine.worker import Worker
from xyt_stream.streaming.codec import Codec

_PATIENCE = 2.0  # seconds that a step may still take when the server stops

_log = logging.getLogger(__name__)


class Partner(Protocol):
    """Whoever talks with a model; called on the event loop."""

    def answered(self, codes: CodeArray | None) -> None:
        """What the model says in the next frame, int64 [codebooks]; None: nothing."""

    def fail(self) -> None:
        """The model has failed in this conversation; no more will come."""


class Seat:
    """One conversation with a model. All methods are for the event loop's thread."""

    def __init__(self, host: Host, slot: int, session: str, partner: Partner) -> None:
        self.slot = slot
        self.session = session
        self.partner = partner
        self.over = False
        self._host = host

    def step(self, codes: CodeArray) -> None:
        """The user's next frame, int64 [codebooks]; its answer will come."""
        self._host.put(_Frame(self, codes))

    def clear(self, played: int) -> None:
        """The user wants quiet, having heard so many frames of the model's."""
        self._host.put(_Clear(self, played))

    def close(self) -> None:
        """The conversation is over: no more answers."""
        if not self.over:
            self.over = True
            self._host.leave(self)


@dataclass(frozen=True)
class _Open:
    seat: Seat


@dataclass(frozen=True)
class _Frame:
    seat: Seat
    codes: CodeArray


@dataclass(frozen=True)
class _Clear:
    seat: Seat
    played: int


@dataclass(frozen=True)
class _Close:
    seat: Seat


_Job: TypeAlias = _Open | _Frame | _Clear | _Close


class Host:
    """Holds conversations with a model, off the event loop.

    Args:
        factory: see models.py.
        codec: the server's.
        slots: conversations at once.
        on_step: told on the event loop how many seconds a step took.
        on_failure: told on the event loop of each conversation that a model has failed in.

    Attributes:
        name: of the factory.

    Raises:
        ServeError: the model cannot be made.
    """

    def __init__(
        self,
        factory: Factory,
        codec: Codec,
        slots: int,
        *,
        on_step: Callable[[float], None] = lambda seconds: None,
        on_failure: Callable[[], None] = lambda: None,
    ) -> None:
        self.name = str(getattr(factory, "__name__", type(factory).__name__))
        self._books, self._size = codec.num_codebooks, codec.codebook_size
        self._on_step = on_step
        self._on_failure = on_failure
        self._models = models_of(factory, codec, slots)
        self._slots = slots
        self._free = list(range(slots))
        self._codes = np.zeros((slots, self._books), np.int64)
        self._jobs: collections.deque[_Job] = collections.deque()
        self._worker = Worker("xyt-duplex", self._run)
        self._wake = self._worker.wake  # the jobs belong to whoever holds it

    def start(self) -> None:
        """Starts the thread; answers come to the running event loop."""
        self._worker.start()

    def stop(self) -> None:
        """Ends the thread after the step it is in."""
        self._worker.stop(_PATIENCE)

    def open(self, session: str, partner: Partner) -> Seat:
        """A conversation begins.

        Raises:
            ProtocolError: busy.
        """
        if not self._free:
            raise protocol_error("busy", retry_after=BUSY_RETRY)
        seat = Seat(self, self._free.pop(), session, partner)
        self.put(_Open(seat))
        return seat

    def leave(self, seat: Seat) -> None:
        """A conversation is over. Jobs are done in order, so its slot is free at once."""
        self.put(_Close(seat))
        self._free.append(seat.slot)

    def put(self, job: _Job) -> None:
        with self._wake:
            self._jobs.append(job)
            self._wake.notify()

    def _run(self) -> None:
        while True:
            with self._wake:
                self._wake.wait_for(lambda: self._worker.closing or self._jobs)
                if self._worker.closing:
                    return
                frames = self._take_frames()
                job = None if frames else self._jobs.popleft()
            if frames:
                self._step(frames)
            elif job is not None:
                self._do(job)

    def _take_frames(self) -> list[_Frame]:
        """Frames of different conversations, as many as come first."""
        taken: dict[int, _Frame] = {}
        while self._jobs and isinstance(job := self._jobs[0], _Frame):
            if job.seat.slot in taken:
                break
            taken[job.seat.slot] = job
            self._jobs.popleft()
        return list(taken.values())

    def _step(self, frames: list[_Frame]) -> None:
        frames = [frame for frame in frames if not frame.seat.over]
        active = np.zeros(self._slots, np.bool_)
        for frame in frames:
            active[frame.seat.slot] = True
            self._codes[frame.seat.slot] = frame.codes
        if not frames:
            return
        started = time.monotonic()
        try:
            answers = self._models.step(self._codes, active)
        except Exception as error:
            answers = [error] * self._slots
        ready = [(frame.seat, self._checked(answers[frame.seat.slot])) for frame in frames]
        seconds = time.monotonic() - started
        self._worker.tell(self._on_step, seconds)
        self._worker.tell(self._deliver, ready)

    def _do(self, job: _Job) -> None:
        seat = job.seat
        try:
            if isinstance(job, _Open):
                self._models.open(seat.slot, seat.session)
            elif isinstance(job, _Clear):
                self._models.clear(seat.slot, job.played)
            else:
                self._models.close(seat.slot)
        except Exception as error:
            self._worker.tell(self._deliver, [(seat, error)])

    def _checked(self, answer: Answer) -> Answer:
        if answer is None or isinstance(answer, Exception):
            return answer
        codes = np.asarray(answer)
        if codes.shape != (self._books,) or not np.issubdtype(codes.dtype, np.integer):
            return ValueError(
                f"its codes must be integers [{self._books}], not {codes.dtype} {list(codes.shape)}"
            )
        if codes.min() < 0 or codes.max() >= self._size:
            return ValueError(f"a code of it is out of range: 0 to {self._size - 1}")
        return codes.astype(np.int64)  # a copy: the model may write into its own again

    def _deliver(self, answers: list[tuple[Seat, Answer]]) -> None:
        for seat, answer in answers:
            if isinstance(answer, Exception):
                fields = {"session": seat.session}
                self._on_failure()
                _log.error("duplex model failed", exc_info=answer, extra={"fields": fields})
                if not seat.over:
                    seat.partner.fail()
            elif not seat.over:
                seat.partner.answered(answer)
