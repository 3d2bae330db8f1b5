"""Queues the speech of a model at another computer, and sends messages to its client."""

from __future__ import annotations

import collections
from collections.abc import Callable

import msgspec
import numpy as np

from xyt_stream.protocol.messages import Control
from xyt_stream.protocol.packing import CodeArray
from xyt_stream.server.duplex.interruption import Interruption, PendingInterruptions
from xyt_stream.server.saved import SavedConversation, SavedInterruption
from xyt_stream.server.saved_arrays import Array, array, codes_of


class RemoteModel:
    """A conversation's remote model, connected or not. For the event loop's thread.

    Its length is the number of queued frames.

    Args:
        codebooks: of its codes.
    """

    def __init__(self, codebooks: int) -> None:
        self._codebooks = codebooks
        self._frames: collections.deque[CodeArray] = collections.deque()
        self._interruptions = PendingInterruptions()
        self._send: Callable[[Control], None] = discard

    def __len__(self) -> int:
        """Number of queued frames."""
        return len(self._frames)

    def attach(self, send: Callable[[Control], None]) -> None:
        """The model has connected; `send` sends its client a control message."""
        self._send = send

    def detach(self) -> None:
        """The model has disconnected; its frames stay queued."""
        self._send = discard

    def send(self, message: Control) -> None:
        """Sends the model's client a message, if it is connected."""
        self._send(message)

    def add(self, codes: CodeArray) -> None:
        """Queues frames, int64 [codebooks, frames]."""
        self._frames.extend(codes.T)

    def pop(self) -> CodeArray:
        """Takes the first queued frame, int64 [codebooks]."""
        return self._frames.popleft()

    @property
    def last_interruption(self) -> Interruption | None:
        """The newest interruption that the user's client has not reported on; None: none waits."""
        return self._interruptions.last

    def interrupt(self, interruption: Interruption) -> None:
        """Drops the queued frames; sends the client `cleared` once the position is known."""
        self._frames.clear()
        self._interruptions.add(interruption, self._send)

    def report_unplayed(self, frames: int) -> None:
        """The user's client dropped so many received frames at the oldest interruption."""
        self._interruptions.report(frames)

    def save_frames(self) -> Array:
        """The queued frames, int64 [frames, codebooks], for another server."""
        # A relay has no codec: it does not know the number of codebooks before the first frame.
        none = np.zeros((0, self._codebooks), np.int64)
        return array(np.stack(self._frames) if self._frames else none)

    def save_interruptions(self) -> list[SavedInterruption]:
        """The interruptions that are not reported, for another server."""
        return [SavedInterruption(**vars(each)) for each in self._interruptions.waiting]

    def load(self, saved: SavedConversation) -> None:
        """Goes on as the model of another server's conversation.

        Raises:
            HandoverError: it does not fit.
        """
        self._frames.extend(codes_of(saved.remote, None, None))
        for each in saved.interruptions:
            self._interruptions.add(Interruption(**msgspec.structs.asdict(each)), self._send)


def discard(message: Control) -> None:
    """Sends a message to nobody."""
