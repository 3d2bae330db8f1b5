"""Computes features of the training speech with Whisper's encoder (arXiv 2212.04356).

The features do not change while the codec learns, so they are computed once and kept in a file.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F

from xyt_stream.audio import FRAME_SAMPLES, INPUT_RATE, to_float32
from xyt_stream.errors import MissingExtraError, ModelError
from xyt_stream.model.config import STEPS_PER_FRAME
from xyt_stream.model.features import LogMel
from xyt_stream.model.timeline import ClipTimeline
from xyt_stream.train.corpus import FEATURES, Clip, Corpus

MELS = 80
WINDOW = 29 * INPUT_RATE // FRAME_SAMPLES  # frames; Whisper has positions for 30 s
SILENCE = 6  # frames appended to each clip: Whisper was trained on clips with silence after them

Progress = Callable[[Sequence[Clip]], Iterable[Clip]]


class Teacher:
    """Runs the encoder of a Whisper model by ctranslate2.

    Args:
        name: a folder in ctranslate2's format, or a hub name such as "base".
        device: "cpu" or "cuda".

    Raises:
        ModelError: the model is missing, damaged, or takes other mel features.
        MissingExtraError: faster-whisper is not installed.
    """

    def __init__(self, name: str, device: str) -> None:
        try:
            import ctranslate2
            from faster_whisper.utils import download_model
        except ImportError:
            raise MissingExtraError("A teacher", "train") from None
        precision = "float16" if device == "cuda" else "int8"  # cosine to float32: 0.996
        try:
            folder = name if Path(name).is_dir() else download_model(name)
            self.model: Any = ctranslate2.models.Whisper(
                folder, device=device, compute_type=precision, intra_threads=torch.get_num_threads()
            )
        except (OSError, RuntimeError, ValueError) as error:
            raise ModelError(f"the teacher {name} cannot be opened: {error}") from error
        if self.model.n_mels != MELS:
            raise ModelError(f"the teacher {name} takes {self.model.n_mels} mel bins, not {MELS}")
        self._view = ctranslate2.StorageView.from_array
        self.mel = LogMel(MELS, causal=False)
        self.dim = self.features(np.zeros(FRAME_SAMPLES, np.int16)).shape[1]

    def features(self, samples: npt.NDArray[np.int16]) -> npt.NDArray[np.float16]:
        """Returns the mean of the hidden states in each frame: int16 [samples] -> [frames, dim]."""
        frames = -(-len(samples) // FRAME_SAMPLES)
        parts = [
            self._window(samples[first * FRAME_SAMPLES : (first + WINDOW) * FRAME_SAMPLES])
            for first in range(0, frames, WINDOW)
        ]
        return np.concatenate(parts)

    def _window(self, samples: npt.NDArray[np.int16]) -> npt.NDArray[np.float16]:
        frames = -(-len(samples) // FRAME_SAMPLES)
        padded = frames + SILENCE
        wav = torch.from_numpy(to_float32(samples))[None]
        wav = F.pad(wav, (0, padded * FRAME_SAMPLES - wav.shape[1]))
        timeline = ClipTimeline(padded, causal=False, context=0, device=wav.device)
        mel = self.mel(wav, timeline)[:, :-1].transpose(1, 2)
        hidden = self.model.encode(self._view(mel.contiguous().numpy()), to_cpu=True)
        states = np.asarray(hidden)[0, : frames * STEPS_PER_FRAME]
        means: npt.NDArray[np.float16] = (
            states.reshape(frames, STEPS_PER_FRAME, -1).mean(1).astype(np.float16)
        )
        return means


def teach(corpus: Corpus, folder: Path, name: str, device: str, progress: Progress = iter) -> None:
    """Computes the features of every clip that has none yet; `open_features` reads them.

    Clips are taken in random order, so that a partial file covers all sources.

    Args:
        folder: the folder of the corpus.
        name, device: see Teacher.
        progress: wraps the list of clips to show progress.
    """
    path = _path(folder, name)
    if path.exists() and not _missing(corpus, open_features(corpus, folder, name)):
        return
    teacher = Teacher(name, device)
    shape = (len(corpus.samples) // FRAME_SAMPLES, teacher.dim)
    features = np.memmap(path, np.float16, "r+" if path.exists() else "w+", shape=shape)
    missing = _missing(corpus, features)
    for clip in progress(missing):
        found = teacher.features(corpus.clip(clip))
        first = clip.start // FRAME_SAMPLES
        features[first + 1 : first + len(found)] = found[1:]
        features[first] = found[0]  # written last: marks the clip as complete
    features.flush()


def open_features(corpus: Corpus, folder: Path, name: str) -> npt.NDArray[np.float16]:
    """Opens the features of all frames of the corpus, [frames, dim]; missing ones are zero."""
    rows = len(corpus.samples) // FRAME_SAMPLES
    return np.memmap(_path(folder, name), np.float16, "r").reshape(rows, -1)


def _path(folder: Path, name: str) -> Path:
    return folder / f"{FEATURES}{Path(name).name}.f16"


def _missing(corpus: Corpus, features: npt.NDArray[np.float16]) -> list[Clip]:
    order = np.random.default_rng(0).permutation(len(corpus.clips))
    clips = [corpus.clips[i] for i in order]
    return [clip for clip in clips if not features[clip.start // FRAME_SAMPLES].any()]
