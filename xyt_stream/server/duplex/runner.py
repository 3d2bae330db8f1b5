"""Runs the duplex models of this process in a thread of their own."""

from __future__ import annotations

import collections
import logging
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol, TypeAlias

import numpy as np

from xyt_stream.protocol.error_table import protocol_error
from xyt_stream.protocol.packing import CodeArray
from xyt_stream.server.duplex.models import Answer, Factory, contained, models_of
from xyt_stream.server.engine.engine import BUSY_RETRY
from xyt_stream.server.engine.load import Load
from xyt_stream.server.engine.worker import Worker

if TYPE_CHECKING:
    from xyt_stream.streaming.codec import Codec

_STOP_TIMEOUT = 2.0  # seconds that a model's step may still take when the server stops
_NICE = 5  # a model that is slow delays its own conversations; a late codec delays everybody's

_log = logging.getLogger(__name__)


class AnswerListener(Protocol):
    """Receives a model's answers. Called on the event loop's thread."""

    def on_answer(self, codes: CodeArray | None) -> None:
        """Takes the model's next frame, int64 [codebooks]; None: it says nothing."""

    def on_error(self) -> None:
        """The model has failed in this conversation: no more answers come."""


class DuplexHandle:
    """One conversation with a model. All methods are for the event loop's thread.

    Attributes:
        slot: of the conversation in the runner.
        session: for logs.
        listener: receives the answers.
        closed: whether the conversation is over.
    """

    def __init__(
        self, runner: DuplexRunner, slot: int, session: str, listener: AnswerListener
    ) -> None:
        self.slot = slot
        self.session = session
        self.listener = listener
        self.closed = False
        self._runner = runner

    def step(self, codes: CodeArray) -> None:
        """Gives the model the user's next frame, int64 [codebooks]; one answer follows."""
        self._runner.put(_Frame(self, codes))

    def clear(self, played: int) -> None:
        """Tells the model that the user interrupts it and has heard `played` of its frames."""
        self._runner.put(_Clear(self, played))

    def close(self) -> None:
        """Ends the conversation: no more answers come."""
        if not self.closed:
            self.closed = True
            self._runner.release(self)


@dataclass(frozen=True)
class _Open:
    handle: DuplexHandle


@dataclass(frozen=True)
class _Frame:
    handle: DuplexHandle
    codes: CodeArray


@dataclass(frozen=True)
class _Clear:
    handle: DuplexHandle
    played: int


@dataclass(frozen=True)
class _Close:
    handle: DuplexHandle


_Job: TypeAlias = _Open | _Frame | _Clear | _Close


class DuplexRunner:
    """Holds conversations with a model, off the event loop.

    Public methods are for the event loop's thread; the model is called in the runner's thread only.

    Args:
        factory: makes the model, see models.py.
        codec: the server's.
        slots: number of concurrent conversations.
        max_load: share of real time that the steps of all conversations may take; 0: any.
        on_step: called on the event loop with the seconds that a step took.
        on_failure: called on the event loop for each conversation in which a model has failed.

    Attributes:
        name: of the factory.
        load: of the thread, for all open conversations.

    Raises:
        ServeError: the model cannot be made.
    """

    def __init__(
        self,
        factory: Factory,
        codec: Codec,
        slots: int,
        *,
        max_load: float = 0.0,
        on_step: Callable[[float], None] = lambda seconds: None,
        on_failure: Callable[[], None] = lambda: None,
    ) -> None:
        self.name = str(getattr(factory, "__name__", type(factory).__name__))
        self._codebooks, self._codebook_size = codec.num_codebooks, codec.codebook_size
        self.load = Load()
        self._one = Load()  # of one conversation, unless one model steps all
        self._max_load = max_load
        # One model after the other is stepped, unless one model steps all conversations at once.
        self._batched = bool(getattr(factory, "batched", False))
        self._on_step = on_step
        self._on_failure = on_failure
        self._models = models_of(factory, codec, slots)
        self._slots = slots
        self._free = list(range(slots))
        self._codes = np.zeros((slots, self._codebooks), np.int64)
        self._jobs: collections.deque[_Job] = collections.deque()
        self._worker = Worker("xyt-duplex", self._run, self._fail_all, nice=_NICE)
        self._handles: dict[int, DuplexHandle] = {}  # by slot
        self._wake = self._worker.wake  # guards `_jobs`

    def start(self) -> None:
        """Starts the thread; answers come to the event loop that runs now."""
        self._worker.start()

    def stop(self) -> None:
        """Ends the thread after its current step."""
        self._worker.stop(_STOP_TIMEOUT)

    @property
    def alive(self) -> bool:
        """Whether the thread runs."""
        return self._worker.alive

    def open(self, session: str, listener: AnswerListener) -> DuplexHandle:
        """Begins a conversation.

        Raises:
            ProtocolError: busy: no slot is free, or the model would not keep up; internal: the
                model's thread has failed.
        """
        if self._worker.failed:
            raise protocol_error("internal", "The model has failed.")
        if not self._free:
            raise protocol_error("busy", retry_after=BUSY_RETRY)
        if 0 < self._max_load < self._load_with_another:
            reason = "The model cannot keep up with another conversation: try again later."
            raise protocol_error("busy", reason, retry_after=BUSY_RETRY)
        handle = DuplexHandle(self, self._free.pop(), session, listener)
        self._handles[handle.slot] = handle
        self.put(_Open(handle))
        return handle

    @property
    def conversations(self) -> list[str]:
        """The sessions that talk with the model, oldest first."""
        return [handle.session for handle in self._handles.values()]

    @property
    def _load_with_another(self) -> float:
        """Counts conversations that have just begun as those that were measured."""
        count = len(self._handles)
        if not count:
            return 0.0
        return max(self.load.share, self._one.share * (count + 1))

    def release(self, handle: DuplexHandle) -> None:
        """Frees a conversation's slot, at once: the thread does all jobs in order."""
        self.put(_Close(handle))
        del self._handles[handle.slot]
        self._free.append(handle.slot)

    def put(self, job: _Job) -> None:
        """Adds a job for the thread."""
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
        """The frames of different conversations that come before any other job."""
        taken: dict[int, _Frame] = {}
        while self._jobs and isinstance(job := self._jobs[0], _Frame):
            if job.handle.slot in taken:
                break
            taken[job.handle.slot] = job
            self._jobs.popleft()
        return list(taken.values())

    def _step(self, frames: list[_Frame]) -> None:
        frames = [frame for frame in frames if not frame.handle.closed]
        active = np.zeros(self._slots, np.bool_)
        for frame in frames:
            active[frame.handle.slot] = True
            self._codes[frame.handle.slot] = frame.codes
        if not frames:
            return
        started = time.monotonic()
        try:
            answers = self._models.step(self._codes, active)
            ready = [(frame.handle, self._check(answers[frame.handle.slot])) for frame in frames]
        except BaseException as error:  # whatever a foreign model raises: the thread goes on
            failure = contained(error)
            ready = [(frame.handle, failure) for frame in frames]
        seconds = time.monotonic() - started
        self._worker.post(self._on_step, seconds)
        self._worker.post(self._record_load, started, len(frames))
        self._worker.post(self._deliver, ready)

    def _do(self, job: _Job) -> None:
        handle = job.handle
        try:
            if isinstance(job, _Open):
                self._models.open(handle.slot, handle.session)
            elif isinstance(job, _Clear):
                self._models.clear(handle.slot, job.played)
            else:
                self._models.close(handle.slot)
        except BaseException as error:
            self._worker.post(self._deliver, [(handle, contained(error))])

    def _check(self, answer: Answer) -> Answer:
        """A copy of a model's answer as int64 [codebooks], or the reason why it is invalid."""
        if answer is None or isinstance(answer, Exception):
            return answer
        codes = np.asarray(answer)
        if codes.shape != (self._codebooks,) or not np.issubdtype(codes.dtype, np.integer):
            return ValueError(
                f"its codes must be integers [{self._codebooks}], "
                f"not {codes.dtype} {list(codes.shape)}"
            )
        if codes.min() < 0 or codes.max() >= self._codebook_size:
            return ValueError(f"a code of it is out of range: 0 to {self._codebook_size - 1}")
        return codes.astype(np.int64)  # a copy: the model may reuse its array

    def _fail_all(self) -> None:
        """Ends all conversations: the thread has failed."""
        for handle in list(self._handles.values()):
            handle.listener.on_error()

    def _record_load(self, started: float, frames: int) -> None:
        """Notes a step of so many conversations as what a step of all open ones takes."""
        seconds = time.monotonic() - started
        if not self._batched:
            self._one.record(seconds / frames)
            seconds *= max(1.0, len(self._handles) / frames)
        self.load.record(seconds)

    def _deliver(self, answers: list[tuple[DuplexHandle, Answer]]) -> None:
        for handle, answer in answers:
            if isinstance(answer, Exception):
                fields = {"session": handle.session}
                self._on_failure()
                _log.error("duplex model failed", exc_info=answer, extra={"fields": fields})
                if not handle.closed:
                    handle.listener.on_error()
            elif not handle.closed:
                handle.listener.on_answer(answer)
