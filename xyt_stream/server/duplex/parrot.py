"""Repeats the user, as a duplex model: `--duplex xyt_stream.server.duplex.parrot:Parrot`.

It shows the methods that a model needs, and whether a whole setup works: it listens, notices the
end of a turn, repeats the same codes, and stops when it is interrupted.
"""

from __future__ import annotations

import collections

import numpy as np

from xyt_stream.protocol.packing import CodeArray
from xyt_stream.server.duplex.vad import TurnRecorder, VoiceActivity
from xyt_stream.streaming.codec import Codec


class Parrot:
    """Repeats each turn of the user. See models.py for its methods.

    Args:
        codec: the server's; it decodes the user's codes for the speech detector.
    """

    def __init__(self, codec: Codec) -> None:
        self._decoder = codec.stream_decoder()
        # The first step is compiled, which would hold up the sound of every session.
        self._decoder.push(np.zeros((codec.num_codebooks, 1), np.int64))
        self._vad = VoiceActivity(codec.output_rate)

    def open(self, session: str) -> None:
        self._decoder.reset()
        self._vad.reset()
        self._turns = TurnRecorder()
        self._answer: collections.deque[CodeArray] = collections.deque()

    def step(self, codes: CodeArray) -> CodeArray | None:
        self._vad.push(np.asarray(self._decoder.push(codes[:, None])))
        turn = self._turns.push(codes, self._vad.speaking)
        if self._turns.speaking:
            self._answer.clear()
        if turn is not None:
            self._answer.extend(turn.T)
        return self._answer.popleft() if self._answer else None

    def clear(self, played: int) -> None:
        self._answer.clear()

    def close(self) -> None:
        self._answer.clear()
