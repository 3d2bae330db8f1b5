from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest

from xyt_stream.audio import to_float32
from xyt_stream.protocol.realtime.settings import ServerVad
from xyt_stream.server.duplex.vad import SpeechDetector
from xyt_stream.server.realtime.turn_detector import SpeechStarted, SpeechStopped, TurnDetector


def silence(seconds):
    return np.zeros(round(seconds * 16_000), np.float32)


@pytest.fixture
def speech(clip):
    """Half a second of silence, two seconds of speech, a second of silence, and speech again."""
    return np.concatenate([silence(0.5), to_float32(clip), silence(1), to_float32(clip)])


def found(sound, settings=None, step=1280):
    turns = TurnDetector(SpeechDetector())
    chunks = [sound[start : start + step] for start in range(0, len(sound), step)]
    return [event for chunk in chunks for event in turns.push(chunk, settings or ServerVad())]


def test_turns_are_found_where_speech_is(speech, clip):
    start, stop, again = found(speech)
    assert isinstance(start, SpeechStarted)
    assert start.ms == pytest.approx(500 + 300 - 300, abs=60)  # this clip begins softly
    assert isinstance(stop, SpeechStopped)
    assert stop.ms == pytest.approx(500 + len(clip) / 16 + 500, abs=150)
    assert isinstance(again, SpeechStarted)


def test_chunk_sizes_do_not_matter(speech):
    assert found(speech) == found(speech, step=len(speech)) == found(speech, step=333)


def test_settings_decide_where_turns_are(speech):
    patient = found(speech, ServerVad(silence_duration_ms=2000))
    assert [type(event) for event in patient] == [SpeechStarted]
    close = found(speech, ServerVad(prefix_padding_ms=0))
    assert close[0].ms == found(speech)[0].ms + 300
    assert found(speech, ServerVad(threshold=1.0)) == []


def test_noise_is_not_speech():
    noise = np.random.default_rng(1).normal(0, 0.05, 48_000).astype(np.float32)
    assert found(noise) == []


def test_time_goes_on_while_nothing_is_heard(speech):
    turns = TurnDetector(SpeechDetector())
    turns.skip(16_000)
    (start,) = turns.push(speech[:20_000], ServerVad())
    assert start.ms == found(speech)[0].ms + 1000


def test_speech_ends_before_the_turn_does(speech, clip):
    turns = TurnDetector(SpeechDetector())
    heard = []
    for place in range(0, 16_000 // 2 + len(clip) + 16_000, 512):
        turns.push(speech[place : place + 512], ServerVad())
        heard.append((turns.speaking, turns.is_speech))
    assert (True, True) in heard
    assert (True, False) in heard  # the pause that ends the turn
    assert heard[-1] == (False, False)


def test_streams_share_the_weights_and_nothing_else(speech):
    """Each hears what the package's own model hears, whatever the others do meanwhile."""
    torch, silero_vad = pytest.importorskip("torch"), pytest.importorskip("silero_vad")
    threads = torch.get_num_threads()
    one, other, theirs = SpeechDetector(), SpeechDetector(), silero_vad.load_silero_vad()
    torch.set_num_threads(threads)
    other(speech[-512:])
    for piece in speech[: 512 * 60].reshape(-1, 512):
        with torch.inference_mode():
            expected = float(theirs(torch.from_numpy(piece), 16_000))
        assert one(piece) == pytest.approx(expected, abs=1e-4)
        other(piece[::-1].copy())
    other.reset()
    assert other(speech[:512]) == SpeechDetector()(speech[:512])


def test_loading_the_detector_leaves_torch_alone():
    """The package sets torch's threads to one, for the whole process, when it is imported."""
    code = """if True:
        import sys, xyt_stream.server.duplex.vad as vad
        vad.SpeechDetector()
        assert not {"torch", "silero_vad"} & sys.modules.keys()
    """
    subprocess.run([sys.executable, "-c", code], check=True)
