"""Runs functions in the engine's thread, between two steps."""

from __future__ import annotations

import asyncio
import collections
from collections.abc import Callable
from contextlib import suppress
from typing import Any, TypeVar

from xyt_stream.errors import HandoverError
from xyt_stream.server.engine.worker import Worker

_T = TypeVar("_T")


class Jobs:
    """Functions that a worker's thread calls between its steps, in order.

    Args:
        worker: whose thread calls `do`.
    """

    def __init__(self, worker: Worker) -> None:
        self._worker = worker
        self._jobs: collections.deque[tuple[Callable[[], Any], asyncio.Future[Any]]]
        self._jobs = collections.deque()

    @property
    def waiting(self) -> bool:
        """Whether there is a job to do."""
        return bool(self._jobs)

    async def run(self, job: Callable[[], _T]) -> _T:
        """Has the thread call `job`; returns its result. For the event loop's thread.

        Raises:
            HandoverError: the thread has ended; and all that `job` raises.
        """
        if not self._worker.alive:
            raise HandoverError("the engine has stopped")
        future: asyncio.Future[_T] = asyncio.get_running_loop().create_future()
        with self._worker.wake:
            self._jobs.append((job, future))
            self._worker.wake.notify()
        return await future

    def do(self) -> None:
        """Does all jobs. For the worker's thread."""
        while self._jobs:
            job, future = self._jobs.popleft()
            try:
                result = job()
            except Exception as error:
                self._worker.post(_settle, future.set_exception, error)
            else:
                self._worker.post(_settle, future.set_result, result)


def _settle(settle: Callable[[Any], None], value: Any) -> None:
    with suppress(asyncio.InvalidStateError):  # nobody waits for it any more
        settle(value)
