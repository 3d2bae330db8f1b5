from __future__ import annotations

import numpy as np
import pytest

from xyt_stream.audio import resample
from xyt_stream.server.duplex.vad import SpeechChange, TurnRecorder, VADParams, VoiceActivity

WINDOW = 512


class Scripted:
    """A detector that believes the samples: each window's first one is its probability."""

    window = WINDOW

    def __call__(self, samples):
        return float(samples[0])

    def reset(self):
        pass


def windows(*probabilities):
    return np.repeat(np.array(probabilities, np.float32), WINDOW)


def scripted(**params):
    return VoiceActivity(params=VADParams(**params), detector=Scripted())


def test_speech_starts_after_start_secs_and_stops_after_stop_secs():
    vad = scripted(confidence=0.5, start_secs=3 * WINDOW / 16_000, stop_secs=2 * WINDOW / 16_000)
    assert vad.push(windows(0, 0, 1, 1)) == []
    assert vad.push(windows(1)) == [SpeechChange(True, 2 * WINDOW)]
    assert vad.speaking
    assert vad.push(windows(1, 0)) == []
    assert vad.push(windows(0, 0)) == [SpeechChange(False, 8 * WINDOW)]
    assert not vad.speaking


def test_clicks_and_pauses_change_nothing():
    vad = scripted(start_secs=0.06, stop_secs=0.06)
    assert vad.push(windows(1, 0, 1, 0, 1, 0)) == []
    assert [change.speaking for change in vad.push(windows(1, 1))] == [True]
    assert vad.push(windows(0, 1, 0, 1, 0, 1)) == []


@pytest.mark.parametrize(("confidence", "found"), [(0.6, 1), (0.61, 0)])
def test_confidence_is_the_least_probability_of_speech(confidence, found):
    vad = scripted(confidence=confidence, start_secs=0.06)
    assert len(vad.push(windows(0.6, 0.6))) == found


def test_without_params_the_position_still_moves_on():
    vad = VoiceActivity(params=None, detector=Scripted())
    assert vad.push(windows(1, 1, 1, 1)) == []
    vad.params = VADParams(start_secs=0.06)
    assert vad.push(windows(1, 1)) == [SpeechChange(True, 4 * WINDOW)]


def test_a_stopped_speech_must_start_again():
    vad = scripted(start_secs=0.06)
    vad.push(windows(1, 1))
    vad.stop()
    assert not vad.speaking
    assert vad.push(windows(1, 1)) == [SpeechChange(True, 2 * WINDOW)]


def test_speech_is_distinguished_from_silence_at_any_rate(clip):
    silence = np.zeros(16_000, np.float32)
    sound = np.concatenate([silence, clip / np.float32(32768), silence])
    for rate in (16_000, 24_000):
        vad = VoiceActivity(rate)
        resampled = resample(sound, 16_000, rate)
        size = rate * 80 // 1000
        speaking = []
        for start in range(0, len(resampled), size):
            vad.push(resampled[start : start + size])
            speaking.append(vad.speaking)
        assert not any(speaking[:12])
        assert all(speaking[17:38])
        assert not any(speaking[-2:])


def code(number):
    return np.full(8, number)


def test_a_turn_begins_before_its_speech_was_noticed():
    turns = TurnRecorder()
    ended = []
    for number in range(40):
        turn = turns.push(code(number), 12 <= number < 29)
        assert turns.speaking == (12 <= number < 29)
        if turn is not None:
            ended.append((number, turn[0].tolist()))
    # Noticed at frame 12, begins 5 frames before; silent for 9 frames at frame 29, keeps 2 of them.
    assert ended == [(29, list(range(7, 23)))]


def test_a_turn_that_is_too_long_keeps_its_end():
    turns = TurnRecorder()
    ended = [turns.push(code(number), number < 1000) for number in range(1100)]
    (turn,) = [each for each in ended if each is not None]
    assert turn.shape == (8, 377)
    assert turn[0, -1] == 993
