from __future__ import annotations

import dataclasses
import io
import json
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
import soundfile
from rich.console import Console

from xyt_stream import Codec
from xyt_stream.audio import Samples, fit_length, read_audio
from xyt_stream.errors import AudioError, CodeError
from xyt_stream.evaluate.baselines import Baseline
from xyt_stream.evaluate.metrics import pesq, stoi
from xyt_stream.evaluate.report import Report, entropy_bits, evaluate
from xyt_stream.evaluate.similarity import speaker_similarity
from xyt_stream.evaluate.words import WordErrors
from xyt_stream.streaming.clips import decode_clip, encode_clip

pytest.importorskip("pesq")
pytest.importorskip("resemblyzer", exc_type=ImportError)


@pytest.fixture(scope="module")
def report(
    codec: Codec, fixtures: Path, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Report, Path]:
    folder = tmp_path_factory.mktemp("speech")
    (folder / "deep").mkdir()
    for name in ("speech.flac", "deep/speech.ogg"):
        (folder / name).write_bytes((fixtures / Path(name).name).read_bytes())
    soundfile.write(folder / "silence.wav", np.zeros(16_000), 16_000)
    (folder / "broken.wav").write_text("no sound")
    (folder / "notes.txt").write_text("no sound")
    return evaluate(codec, folder), folder


def test_scores_are_of_the_live_decoded_sound(
    report: tuple[Report, Path], codec: Codec, fixtures: Path
) -> None:
    samples, _ = read_audio(fixtures / "speech.flac")
    decoded = decode_clip(codec, encode_clip(codec, samples, 0), 0).numpy()
    decoded = fit_length(decoded, len(samples))
    score = {score.name: score for score in report[0].scores.files}["speech.flac"]
    assert score.seconds == len(samples) / 16_000
    assert score.measures["stoi"] == pytest.approx(stoi(samples, decoded), abs=1e-3)
    assert score.measures["pesq_wb"] == pytest.approx(pesq(samples, decoded), abs=1e-2)
    assert score.measures["pesq_nb"] == pytest.approx(pesq(samples, decoded, mode="nb"), abs=1e-2)
    assert score.measures["sim"] == pytest.approx(speaker_similarity(samples, decoded), abs=1e-3)


def test_files_without_speech_and_broken_ones_are_named_and_skipped(
    report: tuple[Report, Path],
) -> None:
    scores = report[0].scores
    assert [score.name for score in scores.files] == ["deep/speech.ogg", "speech.flac"]
    assert list(scores.skipped) == ["broken.wav", "silence.wav"]


def test_json_is_flat_and_tables_list_the_files(report: tuple[Report, Path], codec: Codec) -> None:
    scores, _ = report
    flat = json.loads(json.dumps(scores.flat(), allow_nan=False))
    assert flat["files"] == 2
    stois = [score.measures["stoi"] for score in scores.scores.files]
    assert flat["stoi"] == pytest.approx(np.mean(stois))
    assert {"pesq_wb", "pesq_nb", "sim", "mel_db", "real_time_factor"} <= flat.keys()
    assert len(flat["code_usage"]) == len(flat["code_entropy_bits"]) == codec.num_codebooks
    assert all(0 < share <= 1 for share in flat["code_usage"])
    assert all(0 <= bits <= 10 for bits in flat["code_entropy_bits"])
    assert flat["original"]["stoi"] == pytest.approx(1)
    assert flat["original"]["mel_db"] == 0
    screen = io.StringIO()
    Console(file=screen, width=120).print(*scores.tables())
    assert "deep/speech.ogg" in screen.getvalue()


def test_every_table_begins_with_the_original(report: tuple[Report, Path]) -> None:
    compared = dataclasses.replace(report[0], baselines={"faint": report[0].scores})
    files, means, _ = compared.tables()
    for table in (files, means):
        first, stois = ([*column.cells] for column in table.columns[:2])
        assert "original" in str(first[0])
        assert float(str(stois[0])) == pytest.approx(1, abs=1e-3)


def test_word_errors_are_counted_over_all_words_and_opinions_predicted(
    codec: Codec, fixtures: Path, tmp_path: Path
) -> None:
    pytest.importorskip("distillmos", exc_type=ImportError)
    for name in ("a.flac", "b.flac"):
        (tmp_path / name).write_bytes((fixtures / "speech.flac").read_bytes())
    counted = iter([WordErrors(0, 30)] * 2 + [WordErrors(0, 30), WordErrors(9, 10)])

    class Recogniser:
        def errors(self, reference: Samples, degraded: Samples) -> WordErrors:
            return next(counted)

    report = evaluate(codec, tmp_path, opinions=True, recogniser=cast("Any", Recogniser()))
    assert report.flat()["wer"] == pytest.approx(9 / 40)
    assert report.flat()["original"]["wer"] == 0
    assert 1 < report.flat()["mos"] < report.flat()["original"]["mos"] < 5


def test_entropy_follows_its_definition() -> None:
    assert entropy_bits(np.array([5, 5, 5, 5])) == pytest.approx(2)
    assert entropy_bits(np.array([0, 9, 0])) == 0
    assert entropy_bits(np.array([1, 1, 2])) == pytest.approx(1.5)


def test_a_folder_without_speech_is_refused(codec: Codec, tmp_path: Path) -> None:
    with pytest.raises(AudioError, match="no sound files"):
        evaluate(codec, tmp_path)
    soundfile.write(tmp_path / "silence.wav", np.zeros(16_000), 16_000)
    with pytest.raises(AudioError, match=r"can be scored; \S+: "):
        evaluate(codec, tmp_path)


def test_too_many_codebooks_are_refused(codec: Codec, fixtures: Path) -> None:
    with pytest.raises(CodeError, match="has 8 codebooks, not 9"):
        evaluate(codec, fixtures, codebooks=9)


def test_a_baseline_is_scored_on_the_same_files(
    codec: Codec, fixtures: Path, tmp_path: Path
) -> None:
    (tmp_path / "a.flac").write_bytes((fixtures / "speech.flac").read_bytes())
    faint = Baseline("faint", (), "none", lambda samples: 0.5 * samples)
    report = evaluate(codec, tmp_path, baselines=[faint])
    means = report.flat()["peers"]["faint"]
    assert means["stoi"] == pytest.approx(1, abs=1e-3)
    assert 3 < means["mel_db"] < 20 * np.log10(2)  # less than 6 dB: pauses stay pauses
    report.write_csv(tmp_path / "scores.csv")
    lines = (tmp_path / "scores.csv").read_text().splitlines()
    assert [line.split(",")[:2] for line in lines] == [
        ["codec", "file"],
        ["original", "a.flac"],
        ["mini", "a.flac"],
        ["faint", "a.flac"],
    ]


def test_the_decoded_sound_is_the_scored_one(codec: Codec, fixtures: Path, tmp_path: Path) -> None:
    (tmp_path / "a.flac").write_bytes((fixtures / "speech.flac").read_bytes())
    soundfile.write(tmp_path / "silence.wav", np.zeros(16_000), 16_000)
    decoded = {}
    report = evaluate(
        codec,
        tmp_path,
        codebooks=2,
        on_decoded=lambda name, *sounds: decoded.update({name: sounds}),
    )
    assert list(decoded) == ["a.flac"]  # silence has no scores
    (score,) = report.scores.files
    assert stoi(*decoded["a.flac"]) == score.measures["stoi"]


def test_fewer_codebooks_are_worse(codec: Codec, fixtures: Path, tmp_path: Path) -> None:
    (tmp_path / "a.flac").write_bytes((fixtures / "speech.flac").read_bytes())
    one, all_of_them = (evaluate(codec, tmp_path, codebooks=n).flat() for n in (1, None))
    assert (one["codebooks"], all_of_them["codebooks"]) == (1, 8)
    assert one["mel_db"] > all_of_them["mel_db"]
    assert one["code_usage"] == all_of_them["code_usage"]
