"""Lists the sound files in a folder."""

from __future__ import annotations

from pathlib import Path

from xyt_stream.errors import AudioError

SUFFIXES = (".wav", ".flac", ".ogg", ".opus", ".mp3")


def find_clips(folder: Path) -> list[Path]:
    """Lists every sound file below `folder`, sorted.

    Raises:
        AudioError: there is none.
    """
    clips = sorted(path for path in folder.rglob("*") if path.suffix.lower() in SUFFIXES)
    if not clips:
        raise AudioError(f"{folder} holds no sound files ({', '.join(sorted(SUFFIXES))})")
    return clips
