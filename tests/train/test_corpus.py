from __future__ import annotations

import json
import os
from pathlib import Path

import numpy as np
import pytest
import soundfile

from xyt_stream.audio import find_clips
from xyt_stream.errors import AudioError
from xyt_stream.train.corpus import Corpus, describe, load_clip, open_corpus


def test_clips_below_a_folder_are_found(speech: Path) -> None:
    (speech / "one" / "notes.txt").write_text("not sound")
    assert [p.relative_to(speech).as_posix() for p in find_clips(speech)] == [
        *("one/a.flac", "one/b.flac", "two/a.flac", "two/b.flac")
    ]


def test_a_folder_without_sound_is_named(tmp_path: Path) -> None:
    with pytest.raises(AudioError, match=tmp_path.name):
        find_clips(tmp_path)


def test_any_rate_and_channels_will_do(fixtures: Path) -> None:
    clip = load_clip(fixtures / "stereo44k.wav")
    assert clip.dtype == np.int16
    assert len(clip) == 16_005  # 44,113 at 44.1 kHz


def test_each_clip_is_packed_whole_on_a_frame(speech: Path, tmp_path: Path) -> None:
    corpus = open_corpus(speech, tmp_path)
    assert len(corpus.clips) == 4
    for clip in corpus.clips:
        assert clip.start % 1280 == 0
        assert np.array_equal(corpus.clip(clip), load_clip(speech / clip.name))
        assert not corpus.samples[clip.start + clip.samples : clip.end].any()
    assert corpus.clips[-1].end == len(corpus.samples)
    assert corpus.seconds == sum(clip.samples for clip in corpus.clips) / 16_000


def test_speech_is_packed_once_and_again_when_it_changes(speech: Path, tmp_path: Path) -> None:
    read: list[str] = []

    def listen(files):
        for file in files:
            read.append(file.name)
            yield file

    open_corpus(speech, tmp_path, listen)
    (tmp_path / "teacher-base.f16").write_bytes(b"features of this packing")
    again = open_corpus(speech, tmp_path, listen)
    assert len(read) == 4
    assert (tmp_path / "teacher-base.f16").exists()
    soundfile.write(speech / "two" / "c.wav", np.full(3_000, 0.25), 16_000)
    changed = open_corpus(speech, tmp_path, listen)
    assert len(changed.clips) == len(again.clips) + 1
    assert (changed.clip(changed.clips[-1]) == 8192).all()
    assert not (tmp_path / "teacher-base.f16").exists()


def test_a_stop_while_packing_leaves_no_corpus(speech: Path, tmp_path: Path) -> None:
    (speech / "two" / "c.wav").write_bytes(b"no sound")
    with pytest.raises(AudioError, match=r"c\.wav"):
        open_corpus(speech, tmp_path)
    os.remove(speech / "two" / "c.wav")
    assert len(open_corpus(speech, tmp_path).clips) == 4
    assert len(Corpus(tmp_path).clips) == 4
    assert len(json.loads((tmp_path / "speech.json").read_text())["clips"]) == 4


def test_files_that_cannot_be_read_are_left_out_where_that_is_told(
    speech: Path, tmp_path: Path
) -> None:
    (speech / "one" / "a.flac").write_bytes(b"no sound")
    skipped: list[Path] = []
    corpus = open_corpus(speech, tmp_path, on_skipped=lambda path, _: skipped.append(path))
    assert skipped == [speech / "one" / "a.flac"]
    assert [clip.name for clip in corpus.clips] == ["one/b.flac", "two/a.flac", "two/b.flac"]
    for clip in corpus.clips:
        assert np.array_equal(corpus.clip(clip), load_clip(speech / clip.name))
    for path in speech.rglob("*.flac"):
        path.write_bytes(b"no sound")
    with pytest.raises(AudioError, match=r"a\.flac"):
        open_corpus(speech, tmp_path, on_skipped=lambda *_: None)


def test_speakers_come_from_an_index_and_from_names(speech: Path) -> None:
    lines = ["file\tsource\tspeaker", "speech/one/a.flac\tone\tanna", "speech/one/b.flac\tone\t"]
    (speech.parent / "index.tsv").write_text("\n".join(lines))
    os.rename(speech / "two" / "a.flac", speech / "two" / "103-1240-0000.flac")
    assert {file.name: file.speaker for file in describe(speech)} == {
        "one/a.flac": "anna",
        "one/b.flac": "one",
        "two/103-1240-0000.flac": "103",
        "two/b.flac": "two",
    }
