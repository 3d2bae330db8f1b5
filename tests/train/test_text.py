from __future__ import annotations

import shutil

import pytest
import torch

from xyt_stream.errors import AudioError
from xyt_stream.train.text import CTCHead, Transcripts, collate, edit_distance


@pytest.fixture
def folder(tmp_path, fixtures):
    for i in range(5):
        shutil.copy(fixtures / "speech.flac", tmp_path / f"clip{i}.flac")
    lines = [f"clip{i}|Da ist Eis {i}" for i in range(5)]
    (tmp_path / "metadata.csv").write_text("\n".join([*lines, "gone|nobody said this"]))
    return tmp_path


def test_reads_sentences_of_the_clips_that_are_there(folder):
    texts = Transcripts(folder, size=3, seed=0)
    assert len(texts.clips) + len(texts.kept) == 5
    spelled = {
        "".join(texts.alphabet[i - 1] for i in clip.characters)
        for clip in [*texts.clips, *texts.kept]
    }
    assert spelled == {f"da ist eis {i}" for i in range(5)}


def test_kept_clips_are_never_in_a_batch(folder):
    texts = Transcripts(folder, size=3, seed=0)
    kept = {tuple(clip.characters.tolist()) for clip in texts.kept}
    assert kept
    for step in range(10):
        wav, clips = texts[step]
        assert wav.shape[1] % 1280 == 0
        assert not kept & {tuple(clip.characters.tolist()) for clip in clips}


def test_a_sentence_too_long_for_its_clip_is_left_out(folder):
    (folder / "metadata.csv").write_text("clip0|" + "x" * 200 + "\nclip1|ja\nclip2|nein")
    texts = Transcripts(folder, size=3, seed=0)
    assert len(texts.clips) + len(texts.kept) == 2


def test_no_text_is_named(tmp_path):
    with pytest.raises(AudioError, match=r"metadata\.csv"):
        Transcripts(tmp_path, size=3, seed=0)


@pytest.mark.parametrize(
    ("a", "b", "edits"),
    [
        ("kitten", "sitting", 3),
        ("", "abc", 3),
        ("abc", "", 3),
        ("same", "same", 0),
        ("ab", "ba", 2),
    ],
)
def test_edit_distance(a, b, edits):
    assert edit_distance([*map(ord, a)], [*map(ord, b)]) == edits


def test_a_head_learns_to_read(folder):
    texts = Transcripts(folder, size=3, seed=0)
    wav, clips = collate(texts.clips[:2])
    latent = torch.randn(2, wav.shape[1] // 1280, 16)
    head = CTCHead(16, len(texts.alphabet))
    assert head.error_rate(latent, clips) > 0.5
    optimizer = torch.optim.Adam(head.parameters(), lr=3e-3)
    for _ in range(200):
        loss = head.loss(latent, clips)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert head.error_rate(latent, clips) < 0.1
