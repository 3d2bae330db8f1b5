from __future__ import annotations

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


def test_event_is_parsed_with_its_id():
    message = {"type": "input_audio_buffer.append", "audio": "AQID", "event_id": "a"}
    event, event_id, error = parse_event(json.dumps(message))
    assert event == InputAppend(event_id="a", audio="AQID")
    assert (event_id, error) == ("a", None)


def test_unknown_fields_are_ignored():
    event, _, _ = parse_event('{"type": "response.create", "response": {"voice": "x"}, "new": 1}')
    assert isinstance(event, ResponseCreate)
    item = {"type": "message", "role": "user", "content": [{"type": "input_text", "text": "Hi"}]}
    event, _, _ = parse_event(json.dumps({"type": "conversation.item.create", "item": item}))
    assert isinstance(event, ItemCreate)
    assert event.item == item


@pytest.mark.parametrize(
    ("message", "code", "param", "event_id"),
    [
        ("{", "invalid_json", None, None),
        ("[]", "invalid_type", None, None),
        ("{}", "missing_required_parameter", "type", None),
        ('{"type": "shout", "event_id": "e1"}', "invalid_value", "type", "e1"),
        ('{"type": 3}', "invalid_type", "type", None),
        (b"\x01\x02", "invalid_event", None, None),
        ('{"type": "input_audio_buffer.append"}', "missing_required_parameter", "audio", None),
        (
            '{"type": "input_audio_buffer.append", "audio": 1, "event_id": "e2"}',
            "invalid_type",
            "audio",
            "e2",
        ),
        (
            '{"type": "conversation.item.truncate", "item_id": "i", "audio_end_ms": -1}',
            "integer_below_min_value",
            "audio_end_ms",
            None,
        ),
        (
            '{"type": "conversation.item.truncate", "item_id": "i", "audio_end_ms": 0.5}',
            "invalid_type",
            "audio_end_ms",
            None,
        ),
        ('{"type": "conversation.item.delete"}', "missing_required_parameter", "item_id", None),
        ('{"type": "response.create", "response": 1}', "invalid_type", "response", None),
        (
            '{"type": "response.create", "response": {"input": [1]}}',
            "invalid_type",
            "response.input[0]",
            None,
        ),
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


@pytest.mark.parametrize("value", ["[]", "{}", '""', "0", '{"":""}'])
def test_events_of_too_many_values_are_refused_before_they_are_read(value):
    def event(count):
        values = ",".join(count * [value])
        return f'{{"type":"conversation.item.create","item":{{"type":"message","a":[{values}]}}}}'

    assert parse_event(event(4_990 if value[0] in "[{" else 9_990))[2] is None
    error = parse_event(event(100_000))[2]
    assert error is not None
    assert "10000 values" in str(error)


@pytest.mark.parametrize("text", [",", "[{", '"', "\\", '\\", ["', "é,"])
def test_what_a_text_contains_is_not_counted(text):
    content = [{"type": "input_text", "text": 20_000 * text}]
    item = {"type": "message", "role": "user", "content": content}
    event, _, error = parse_event(json.dumps({"type": "conversation.item.create", "item": item}))
    assert error is None
    assert isinstance(event, ItemCreate)
    assert event.item == item
