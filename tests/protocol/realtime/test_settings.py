from __future__ import annotations

import json

import msgspec
import pytest
from openai.types.realtime import RealtimeSessionCreateRequest

from xyt_stream.errors import EventError
from xyt_stream.protocol.realtime.client_events import parse_event
from xyt_stream.protocol.realtime.settings import (
    AlawFormat,
    PcmFormat,
    ServerVad,
    Settings,
    UlawFormat,
)


def changed(session, settings=None):
    session = {"type": "realtime", **session}
    event, _, error = parse_event(json.dumps({"type": "session.update", "session": session}))
    if error is not None:
        raise error
    return (settings or Settings()).changed(event.session)


def test_defaults_are_those_of_the_protocol():
    settings = Settings()
    assert settings.input == settings.output == PcmFormat(24_000)
    assert settings.turn_detection == ServerVad(0.5, 300, 500, True, True)
    assert settings.live


def test_unnamed_settings_stay():
    settings = changed({"audio": {"input": {"format": {"type": "audio/pcmu"}}}})
    assert settings == Settings(input=UlawFormat())
    settings = changed({"audio": {"output": {"format": {"type": "audio/pcma"}}}}, settings)
    assert settings == Settings(UlawFormat(), AlawFormat())
    turns = {"type": "server_vad", "silence_duration_ms": 200, "create_response": False}
    settings = changed({"audio": {"input": {"turn_detection": turns}}}, settings)
    turns = {"threshold": 0.8, "prefix_padding_ms": None}
    settings = changed({"audio": {"input": {"turn_detection": turns}}}, settings)
    assert settings.turn_detection == ServerVad(0.8, 300, 200, False, True)
    assert not settings.live
    settings = changed({"audio": {"input": {"turn_detection": None}}}, settings)
    assert settings == Settings(UlawFormat(), AlawFormat(), None)
    assert changed({}, settings) == settings


def test_only_null_turns_turn_detection_off():
    def turns(turn_detection, settings):
        update = {"audio": {"input": {"turn_detection": turn_detection}}}
        return changed(update, settings).turn_detection

    quick = Settings(turn_detection=ServerVad(silence_duration_ms=200))
    for kept in ({}, {"type": None}, {"type": "server_vad"}, {"silence_duration_ms": None}):
        assert turns(kept, quick) == quick.turn_detection
    assert changed({"audio": {"input": {}}}, quick) == quick
    assert changed({"audio": None}, quick) == quick
    assert turns(None, quick) is None
    assert turns({"threshold": 0.8}, Settings(turn_detection=None)) == ServerVad(0.8)


@pytest.mark.parametrize("speed", [0.25, 1, 1.5, 9])
def test_any_speed_is_accepted_and_the_models_own_is_reported(speed):
    settings = changed({"audio": {"output": {"speed": speed}}})
    assert settings.audio()["output"]["speed"] == 1.0


def test_unsupported_fields_are_ignored_and_not_echoed():
    settings = changed(
        {
            "instructions": "Be brief.",
            "tools": [{"type": "function", "name": "hang_up"}],
            "audio": {
                "input": {
                    "transcription": {"model": "some"},
                    "turn_detection": {"type": "semantic_vad", "eagerness": "low"},
                },
                "output": {"voice": "marin", "speed": 1.0},
            },
        }
    )
    assert settings == Settings()
    sent = settings.audio()
    assert sent["input"]["transcription"] is None
    assert "voice" not in sent["output"]


@pytest.mark.parametrize(
    ("session", "param"),
    [
        ({"type": "transcription"}, "session.type"),
        ({"output_modalities": ["text"]}, "session.output_modalities"),
        ({"audio": {"output": {"speed": "fast"}}}, "session.audio.output.speed"),
        ({"type": ""}, "session.type"),
        ({"audio": {"input": {"format": {"type": "audio/opus"}}}}, "session.audio.input.format"),
        (
            {"audio": {"output": {"format": {"type": "audio/pcm", "rate": 16_000}}}},
            "session.audio.output.format.rate",
        ),
        (
            {"audio": {"input": {"turn_detection": {"type": "server_vad", "threshold": 2}}}},
            "session.audio.input.turn_detection.threshold",
        ),
        (
            {"audio": {"input": {"turn_detection": {"type": "telepathy"}}}},
            "session.audio.input.turn_detection.type",
        ),
    ],
)
def test_unsupported_values_are_refused_by_name(session, param):
    with pytest.raises(EventError) as caught:
        changed(session)
    assert caught.value.param == param or caught.value.param == f"{param}.type"


def test_session_validates_as_the_sdk_type():
    sent = {"type": "realtime", "audio": json.loads(msgspec.json.encode(Settings().audio()))}
    session = RealtimeSessionCreateRequest.model_validate(sent, strict=True)
    assert session.audio.input.format.type == "audio/pcm"
    assert session.audio.input.turn_detection.silence_duration_ms == 500
    ulaw = json.loads(msgspec.json.encode(Settings(UlawFormat(), AlawFormat(), None).audio()))
    assert ulaw["input"]["format"] == {"type": "audio/pcmu"}
    assert ulaw["output"]["format"] == {"type": "audio/pcma"}
    assert ulaw["input"]["turn_detection"] is None
