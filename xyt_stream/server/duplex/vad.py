"""Detects speech in sound: Silero's model, one hysteresis over it, and turns cut out of frames."""

from __future__ import annotations

import collections
import functools
import importlib.util
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from xyt_stream.audio import INPUT_RATE, Samples, StreamResampler
from xyt_stream.protocol.packing import CodeArray

if TYPE_CHECKING:
    import onnxruntime

_CONTEXT = 64  # samples before a window that the network sees
_STATE = (2, 1, 128)  # of the network's recurrent layer
_RATE = np.array(INPUT_RATE)
_BEFORE = 5  # frames of a turn before its speech was noticed: words begin softly
_CUT = 7  # frames of silence at a turn's end that are not part of it
_LONGEST = 384  # frames kept of a turn; a longer one loses its beginning


class SpeechDetector:
    """Silero's voice activity model on one stream; all streams share its weights.

    Attributes:
        window: samples at 16 kHz that one call takes.
    """

    window = 512

    def __init__(self) -> None:
        self._network = load_network()
        self._state: Samples
        self._heard: Samples
        self.reset()

    def __call__(self, samples: Samples) -> float:
        """Probability, 0 to 1, that float32 [window] at 16 kHz is speech."""
        self._heard[0, _CONTEXT:] = samples
        inputs = {"input": self._heard, "state": self._state, "sr": _RATE}
        speech, self._state = self._network.run(None, inputs)
        self._heard[0, :_CONTEXT] = samples[-_CONTEXT:]
        return float(speech[0, 0])

    def reset(self) -> None:
        """Forgets the stream; the next window begins another."""
        self._state = np.zeros(_STATE, np.float32)
        self._heard = np.zeros((1, _CONTEXT + self.window), np.float32)


@functools.cache
def load_network() -> onnxruntime.InferenceSession:
    """Loads Silero's network, whose weights come with its package; any thread may run it.

    onnxruntime takes a third of torch's time for it, and asks for the interpreter's lock once.

    Raises:
        ModuleNotFoundError: the package is not installed.
    """
    import onnxruntime  # not at the top: a server without such a model does without

    # The package itself is not imported: it sets torch's threads to one for the whole process.
    package = importlib.util.find_spec("silero_vad")
    if package is None or package.origin is None:
        raise ModuleNotFoundError("No module named 'silero_vad'", name="silero_vad")
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 4  # nothing but fatal errors: others are raised
    file = Path(package.origin).parent / "data" / "silero_vad_op18_ifless.onnx"
    return onnxruntime.InferenceSession(file, options, providers=["CPUExecutionProvider"])


@dataclass(frozen=True)
class VADParams:
    """Decides where speech starts and stops.

    Attributes:
        confidence: probability from which a window counts as speech, 0 to 1.
        start_secs: seconds of uninterrupted speech that start it; a cough is shorter.
        stop_secs: seconds of uninterrupted silence that stop it.
    """

    confidence: float = 0.5
    start_secs: float = 0.09
    stop_secs: float = 0.7


@dataclass(frozen=True)
class SpeechChange:
    """The start or the stop of speech.

    Attributes:
        speaking: whether speech starts.
        sample: position at 16 kHz since the stream's beginning: of the first window of speech, or
            of the end of the silence that stopped it.
    """

    speaking: bool
    sample: int


class VoiceActivity:
    """Finds where speech starts and stops in one stream of sound.

    Args:
        rate: Hz of the sound.
        params: of the hysteresis; None: nothing is looked for, but the position moves on.
        detector: a fresh one; without it, one is loaded.

    Attributes:
        params: may be changed at any time.
        speaking: whether there is speech now.
    """

    def __init__(
        self,
        rate: int = INPUT_RATE,
        params: VADParams | None = VADParams(),
        detector: SpeechDetector | None = None,
    ) -> None:
        self.params = params
        self._rate = rate
        self._detector = detector or SpeechDetector()
        self.reset()

    def reset(self) -> None:
        """Begins another stream."""
        self._detector.reset()
        self._resampler = StreamResampler(self._rate, INPUT_RATE)
        self._rest = np.zeros(0, np.float32)  # less than a window
        self._position = 0  # samples
        self.stop()

    def stop(self) -> None:
        """Ends the current speech at once; the stream goes on."""
        self.speaking = False
        self._opposed = 0  # samples in a row that contradict `speaking`

    @property
    def is_speech(self) -> bool:
        """Whether the latest window is speech, of a stretch of speech that goes on."""
        return self.speaking and self._opposed == 0

    def skip(self, samples: int) -> None:
        """Moves the position on by so many samples at 16 kHz that are not heard."""
        self._position += samples

    def push(self, samples: Samples) -> list[SpeechChange]:
        """Takes float32 [n], any number; returns the changes found in it."""
        window = self._detector.window
        samples = np.concatenate([self._rest, self._resampler.push(samples)])
        whole = len(samples) // window * window
        self._rest = samples[whole:]
        changes = []
        for piece in samples[:whole].reshape(-1, window):
            self._position += window
            if self.params is not None and (change := self._judge(piece, self.params)):
                changes.append(change)
        return changes

    def _judge(self, piece: Samples, params: VADParams) -> SpeechChange | None:
        speech = self._detector(piece) >= params.confidence
        self._opposed = self._opposed + len(piece) if speech != self.speaking else 0
        needed = params.stop_secs if self.speaking else params.start_secs
        if self._opposed == 0 or self._opposed < needed * INPUT_RATE:
            return None
        self.speaking = not self.speaking
        begun, self._opposed = self._position - self._opposed, 0
        return SpeechChange(self.speaking, begun if self.speaking else self._position)


class TurnRecorder:
    """Cuts a stream of frames into turns, for a model that answers after each.

    Attributes:
        speaking: whether a turn goes on.
    """

    def __init__(self) -> None:
        self.speaking = False
        self._frames: collections.deque[CodeArray] = collections.deque(maxlen=_LONGEST)

    def push(self, codes: CodeArray, speaking: bool) -> CodeArray | None:
        """Adds a frame and whether there is speech at its end.

        Args:
            codes: int64 [codebooks].
            speaking: see VoiceActivity, with its default parameters.

        Returns:
            The turn that this frame ends, int64 [codebooks, frames]; None if it ends none.
        """
        self._frames.append(codes)
        ended = self.speaking and not speaking
        self.speaking = speaking
        if ended:
            turn = np.stack(list(self._frames)[:-_CUT], axis=1)
            self._frames.clear()
            return turn
        while not speaking and len(self._frames) > _BEFORE:
            self._frames.popleft()
        return None
