"""All training speech in one memory-mapped file of 16-bit samples, sorted by source and speaker."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from xyt_stream.audio import FRAME_SAMPLES, INPUT_RATE, Pcm16, read_audio, to_int16
from xyt_stream.errors import AudioError

SUFFIXES = {".wav", ".flac", ".ogg", ".opus", ".mp3"}
SAMPLES, INDEX = "speech.i16", "speech.json"
FEATURES = "teacher-"  # begins the names of files of features, which fit one packing only

Progress = Callable[[Sequence["Found"]], Iterable["Found"]]


class Found(NamedTuple):
    """A sound file before it is read; fields sort it into its place."""

    source: str
    speaker: str
    name: str  # path inside the data folder


class Clip(NamedTuple):
    """A clip in the file of samples.

    Args:
        name: path inside the data folder.
        start: its first sample, a multiple of FRAME_SAMPLES.
        samples: its length; silence follows up to a whole frame.
    """

    name: str
    source: str
    speaker: str
    start: int
    samples: int

    @property
    def end(self) -> int:
        """The first sample after the clip and its silence."""
        return self.start + -(-self.samples // FRAME_SAMPLES) * FRAME_SAMPLES


class Corpus:
    """Training speech, about 115 MB an hour, read from disk as it is needed.

    Frame number n of the whole is samples n * FRAME_SAMPLES on.

    Args:
        folder: where `pack` has written.
    """

    def __init__(self, folder: Path) -> None:
        self.samples: Pcm16 = np.memmap(folder / SAMPLES, np.int16, "r")
        index = json.loads((folder / INDEX).read_text())
        self.clips = [Clip(*fields) for fields in index["clips"]]
        self.seconds = sum(clip.samples for clip in self.clips) / INPUT_RATE

    def clip(self, clip: Clip) -> Pcm16:
        """The clip's own samples."""
        return self.samples[clip.start : clip.start + clip.samples]


def find_clips(folder: Path) -> list[Path]:
    """Every sound file below `folder`, sorted; AudioError when there is none."""
    clips = sorted(p for p in folder.rglob("*") if p.suffix.lower() in SUFFIXES)
    if not clips:
        raise AudioError(f"{folder} holds no sound files ({', '.join(sorted(SUFFIXES))})")
    return clips


def load_clip(path: Path) -> Pcm16:
    """One clip, whatever its rate and channels, as int16 [samples] at 16 kHz."""
    return to_int16(read_audio(path, INPUT_RATE)[0])


def open_corpus(data: Path, folder: Path, progress: Progress = iter) -> Corpus:
    """The corpus of the sound files below `data`, packed into `folder` unless it is there already.

    Args:
        progress: wraps the list of files, to show how far along packing is.

    Raises:
        AudioError: there is no sound file, or one cannot be read.
    """
    files = describe(data)
    listed = [[*file, (data / file.name).stat().st_size] for file in files]
    index = folder / INDEX
    if not index.exists() or json.loads(index.read_text())["files"] != listed:
        for stale in (index, *folder.glob(f"{FEATURES}*")):
            stale.unlink(missing_ok=True)
        clips = _pack(data, folder / SAMPLES, progress(files))
        partial = index.with_suffix(".tmp")
        partial.write_text(json.dumps({"files": listed, "clips": clips}))
        partial.replace(index)
    return Corpus(folder)


def describe(data: Path) -> list[Found]:
    """Each sound file's source and speaker, sorted.

    The source is the folder at the top of `data`. Speakers come from an index.tsv (columns file and
    speaker; paths from where it lies) in `data` or one folder up. Other files are their folder's
    one speaker, unless named as in LibriSpeech: speaker-chapter-utterance, all numbers.
    """
    speakers = {}
    for table in (data.parent / "index.tsv", data / "index.tsv"):
        if table.is_file():
            with table.open(newline="", encoding="utf-8") as lines:
                for row in csv.DictReader(lines, delimiter="\t"):
                    if row.get("file") and row.get("speaker"):
                        speakers[table.parent / row["file"]] = row["speaker"]
    found = []
    for path in find_clips(data):
        inside = path.relative_to(data)
        source = inside.parts[0] if len(inside.parts) > 1 else ""
        speaker = speakers.get(path) or _speaker(inside)
        found.append(Found(source, speaker, inside.as_posix()))
    return sorted(found)


def _speaker(path: Path) -> str:
    numbers = path.stem.split("-")
    if len(numbers) == 3 and all(number.isdigit() for number in numbers):
        return numbers[0]
    return path.parent.as_posix()


def _pack(data: Path, path: Path, files: Iterable[Found]) -> list[Clip]:
    clips = []
    start = 0
    with path.open("wb") as out:
        for file in files:
            samples = load_clip(data / file.name)
            clip = Clip(file.name, file.source, file.speaker, start, len(samples))
            out.write(samples.tobytes())
            out.write(bytes(2 * (clip.end - start - len(samples))))
            start = clip.end
            clips.append(clip)
    return clips
