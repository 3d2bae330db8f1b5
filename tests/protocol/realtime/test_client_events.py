from __future__ import annotations

import base64
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from xyt_stream.protocol.realtime.client_events import (
    InputAppend,
    ItemCreate,
    ResponseCreate,
    parse_event,
)


def test_audio_is_base64():
    audio = base64.b64encode(b"\x01\x02\x03\x04").decode()
    message = {"type": "input_audio_buffer.append", "audio": audio, "event_id": "a"}
    event, event_id, error = parse_event(json.dumps(message))
    assert event == InputAppend(event_id="a", audio=b"\x01\x02\x03\x04")
    assert (event_id, error) == ("a", None)


def test_unknown_fields_are_ignored():
    event, _, _ = parse_event('{"type": "response.create", "response": {"voice": "x"}, "new": 1}')
    assert isinstance(event, ResponseCreate)
    item = {"type": "message", "role": "user", "content": [{"type": "input_text", "text": "Hi"}]}
    event, _, _ = parse_event(json.dumps({"type": "conversation.item.create", "item": item}))
    assert isinstance(event, ItemCreate)
    assert event.item.content[0].type == "input_text"


@pytest.mark.parametrize(
    ("message", "code", "param", "event_id"),
    [
        ("{", "invalid_json", None, None),
        ("[]", "invalid_value", None, None),
        ("{}", "missing_required_parameter", "type", None),
        ('{"type": "shout", "event_id": "e1"}', "invalid_value", "type", "e1"),
        ('{"type": 3}', "invalid_value", "type", None),
        (b"\x01\x02", "invalid_event", None, None),
        ('{"type": "input_audio_buffer.append"}', "missing_required_parameter", "audio", None),
        (
            '{"type": "input_audio_buffer.append", "audio": "?", "event_id": "e2"}',
            "invalid_value",
            "audio",
            "e2",
        ),
        ('{"type": "conversation.item.delete", "item_id": "i"}', "not_supported", "type", None),
        ('{"type": "conversation.item.retrieve", "item_id": "i"}', "not_supported", "type", None),
        ('{"type": "output_audio_buffer.clear"}', "not_supported", "type", None),
    ],
)
def test_bad_events_get_an_error_with_code_and_param(message, code, param, event_id):
    event, given_id, error = parse_event(message)
    assert event is None
    assert (error.code, error.param, given_id) == (code, param, event_id)
    assert str(error).endswith(".")


@given(st.text() | st.binary())
def test_garbage_never_raises(message):
    event, _, error = parse_event(message)
    assert (event is None) != (error is None)
