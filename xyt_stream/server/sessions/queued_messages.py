"""Makes the messages of codes that queues hold, and counts the bytes that a message takes."""

from __future__ import annotations

from xyt_stream.protocol.machine import Codes, Pcm
from xyt_stream.protocol.messages import Control
from xyt_stream.protocol.packing import CodeArray
from xyt_stream.server.admission.memory import OBJECT


def size_of(message: Pcm | Codes | Control) -> int:
    """Bytes of memory that a queued message takes; codes take more than on the wire."""
    if isinstance(message, Pcm):
        return OBJECT + message.samples.nbytes
    return OBJECT + (message.codes.nbytes if isinstance(message, Codes) else 0)


class _Latest:
    """Makes one message of a frame for all listeners of its stream, which come one after another.

    So a frame is encoded once, however many listeners it has.
    """

    def __init__(self) -> None:
        self._codes: CodeArray | None = None
        self._message: Codes | None = None

    def of(self, index: int, codes: CodeArray) -> Codes:
        """The message of frame `index`, int64 [codebooks]."""
        message = self._message
        if message is None or codes is not self._codes or message.frame != index:
            self._codes = codes
            self._message = message = Codes(index, codes[:, None])
        return message


codes_message = _Latest().of
