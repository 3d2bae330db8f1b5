"""A duplex model that repeats the user: `--duplex xyt_stream.server.duplex.parrot:Parrot`.

It shows what a model has to do, and whether everything works: it listens, notices when the user has
ended, says the same codes, and falls silent when it is interrupted.
"""

from __future__ import annotations

import collections

import numpy as np

from xyt_stream.audio import INPUT_RATE, Samples, StreamResampler
from xyt_stream.protocol.packing import CodeArray
from xyt_stream.server.duplex.vad import SpeechDetector
from xyt_stream.streaming.codec import Codec

_BEGINS = 0.5  # of being speech, for silence to end
_GOES_ON = 0.35  # for speech to go on
_SURE = 2  # frames of speech before it is taken for one
_BEFORE = 3  # frames that a turn begins before that: words begin softly
_PAUSE = 9  # frames without speech that end a turn
_AFTER = 2  # of them that are the turn's
_LONGEST = 375  # frames of a turn; of a longer one its end is kept


class Ear:
    """Whether there is speech in a stream of sound.

    Args:
        rate: Hz of the sound.
    """

    def __init__(self, rate: int) -> None:
        self._rate = rate
        self._detector = SpeechDetector()
        self.reset()

    def reset(self) -> None:
        """Another stream follows."""
        self._detector.reset()
        self._resampler = StreamResampler(self._rate, INPUT_RATE)
        self._rest = np.zeros(0, np.float32)
        self._likely = 0.0
        self._speech = False

    def hear(self, samples: Samples) -> bool:
        """Whether there is speech in float32 [n], any number, or in what came just before."""
        window = self._detector.window
        samples = np.concatenate([self._rest, self._resampler.push(samples)])
        whole = len(samples) // window * window
        self._rest = samples[whole:]
        if whole:
            windows = samples[:whole].reshape(-1, window)
            self._likely = max(self._detector(each) for each in windows)
        self._speech = self._likely >= (_GOES_ON if self._speech else _BEGINS)
        return self._speech


class Turns:
    """Cuts what is heard into turns.

    Attributes:
        speaking: whether a turn goes on.
    """

    def __init__(self) -> None:
        self.speaking = False
        self._heard: collections.deque[CodeArray] = collections.deque(maxlen=_LONGEST + _PAUSE)
        self._count = 0  # frames of speech in a row, or without in a turn

    def step(self, codes: CodeArray, speech: bool) -> CodeArray | None:
        """The next frame, int64 [codebooks]; a turn that has ended with it, [codebooks, frames]."""
        self._heard.append(codes)
        self._count = self._count + 1 if speech != self.speaking else 0
        if not self.speaking:
            while len(self._heard) > self._count + _BEFORE:
                self._heard.popleft()
            if self._count >= _SURE:
                self.speaking, self._count = True, 0
        elif self._count >= _PAUSE:
            self.speaking, self._count = False, 0
            turn = np.stack(list(self._heard)[: _AFTER - _PAUSE], axis=1)
            self._heard.clear()
            return turn
        return None


class Parrot:
    """See models.py for its methods.

    Args:
        codec: the server's; what is heard is decoded again, for the detector.
    """

    def __init__(self, codec: Codec) -> None:
        self._decoder = codec.stream_decoder()
        self._ear = Ear(codec.output_rate)

    def open(self, session: str) -> None:
        self._decoder.reset()
        self._ear.reset()
        self._turns = Turns()
        self._reply: collections.deque[CodeArray] = collections.deque()

    def step(self, codes: CodeArray) -> CodeArray | None:
        speech = self._ear.hear(np.asarray(self._decoder.push(codes[:, None])))
        turn = self._turns.step(codes, speech)
        if self._turns.speaking:
            self._reply.clear()
        if turn is not None:
            self._reply.extend(turn.T)
        return self._reply.popleft() if self._reply else None

    def clear(self, played: int) -> None:
        self._reply.clear()

    def close(self) -> None:
        self._reply.clear()
