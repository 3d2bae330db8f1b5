"""Packs training speech into one memory-mapped file of int16 samples, by source and speaker."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple, TypeVar

import numpy as np

from xyt_stream.audio import FRAME_SAMPLES, INPUT_RATE, Pcm16, find_clips, read_audio, to_int16
from xyt_stream.errors import AudioError

SAMPLES, INDEX = "speech.i16", "speech.json"
FEATURES = "teacher-"  # begins the names of files of features, which fit one packing only

Progress = Callable[[Sequence["Found"]], Iterable["Found"]]
OnSkipped = Callable[[Path, AudioError], None]

T = TypeVar("T")


class Found(NamedTuple):
    """A sound file that is not read yet. Sorting by the fields gives the order of packing."""

    source: str
    speaker: str
    name: str  # path relative to the data folder


class Clip(NamedTuple):
    """The place of one clip in the packed file.

    Args:
        name: path relative to the data folder.
        start: first sample, a multiple of FRAME_SAMPLES.
        samples: length without the silence that fills its last frame.
    """

    name: str
    source: str
    speaker: str
    start: int
    samples: int

    @property
    def end(self) -> int:
        """The first sample after the clip's last frame."""
        return self.start + -(-self.samples // FRAME_SAMPLES) * FRAME_SAMPLES


class Corpus:
    """Packed training speech, 115 MB for each hour, memory-mapped.

    Frame n starts at sample n * FRAME_SAMPLES.

    Args:
        folder: the folder that `open_corpus` packed into.
    """

    def __init__(self, folder: Path) -> None:
        self.samples: Pcm16 = np.memmap(folder / SAMPLES, np.int16, "r")
        index = json.loads((folder / INDEX).read_text())
        self.clips = [Clip(*fields) for fields in index["clips"]]
        self.seconds = sum(clip.samples for clip in self.clips) / INPUT_RATE

    def clip(self, clip: Clip) -> Pcm16:
        """Returns the clip, int16 [samples]."""
        return self.samples[clip.start : clip.start + clip.samples]


def load_clip(path: Path) -> Pcm16:
    """Reads a clip of any rate and channels as int16 [samples] at 16 kHz, mono."""
    return to_int16(read_audio(path, INPUT_RATE)[0])


def load_clips(
    files: Iterable[T], path_of: Callable[[T], Path], on_skipped: OnSkipped | None = None
) -> Iterator[tuple[T, Pcm16]]:
    """Reads clips one after the other, and yields them with their files; see `load_clip`.

    Args:
        files: of the clips.
        path_of: the path of a file.
        on_skipped: called with each file that cannot be read, which is left out; None: it raises.

    Raises:
        AudioError: no file can be read.
    """
    failed: AudioError | None = None
    loaded = False
    for file in files:
        path = path_of(file)
        try:
            clip = load_clip(path)
        except AudioError as error:
            if on_skipped is None:
                raise
            failed = failed or error
            on_skipped(path, error)
        else:
            loaded = True
            yield file, clip
    if failed is not None and not loaded:
        raise failed


def open_corpus(
    data: Path, folder: Path, progress: Progress = iter, on_skipped: OnSkipped | None = None
) -> Corpus:
    """Opens the corpus of `data`, and packs it into `folder` first if files are new or changed.

    Args:
        data: folder of speech.
        folder: for the packed speech.
        progress: wraps the list of files to show progress.
        on_skipped: as for `load_clips`.

    Raises:
        AudioError: there is no sound file, or one cannot be read, or none of them can.
    """
    files = describe(data)
    listed = [[*file, (data / file.name).stat().st_size] for file in files]
    index = folder / INDEX
    if not index.exists() or json.loads(index.read_text())["files"] != listed:
        for stale in (index, *folder.glob(f"{FEATURES}*")):
            stale.unlink(missing_ok=True)
        clips = _pack(data, folder / SAMPLES, progress(files), on_skipped)
        partial = index.with_suffix(".tmp")
        partial.write_text(json.dumps({"files": listed, "clips": clips}))
        partial.replace(index)
    return Corpus(folder)


def describe(data: Path) -> list[Found]:
    """Finds the source and the speaker of each sound file; returns them sorted.

    The source is the top folder inside `data`. Speakers come from index.tsv, in `data` or in its
    parent, with the columns "file" (path relative to index.tsv) and "speaker". A file that is not
    listed gets the number at the start of a LibriSpeech name (speaker-chapter-utterance), else its
    folder.
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


def _pack(
    data: Path, path: Path, files: Iterable[Found], on_skipped: OnSkipped | None
) -> list[Clip]:
    clips = []
    start = 0
    with path.open("wb") as out:
        for file, samples in load_clips(files, lambda file: data / file.name, on_skipped):
            clip = Clip(file.name, file.source, file.speaker, start, len(samples))
            out.write(samples.tobytes())
            out.write(bytes(2 * (clip.end - start - len(samples))))
            start = clip.end
            clips.append(clip)
    return clips
