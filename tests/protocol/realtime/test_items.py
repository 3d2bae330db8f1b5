"""The items that clients create, and the conversation's list of them."""

from __future__ import annotations

import pytest
from openai.types.realtime import ConversationItem
from pydantic import TypeAdapter

from xyt_stream.errors import EventError
from xyt_stream.protocol.realtime.items import History, new_item

ITEM = TypeAdapter(ConversationItem)


def message(role, *content):
    return {"type": "message", "role": role, "content": list(content)}


@pytest.mark.parametrize(
    ("given", "sent"),
    [
        (message("user", {"type": "input_text", "text": "a"}), {"type": "input_text", "text": "a"}),
        (message("user", {"type": "text", "text": "a"}), {"type": "input_text", "text": "a"}),
        (message("system", {"type": "text", "text": "a"}), {"type": "input_text", "text": "a"}),
        (
            message("assistant", {"type": "text", "text": "a"}),
            {"type": "output_text", "text": "a"},
        ),
        (
            message("assistant", {"type": "input_text", "text": "a"}),
            {"type": "output_text", "text": "a"},
        ),
        (
            message("assistant", {"type": "output_audio", "transcript": "a"}),
            {"type": "output_audio", "transcript": "a"},
        ),
        (message("assistant", {"type": "audio", "audio": "AAAA"}), {"type": "output_audio"}),
        (
            message("user", {"type": "input_audio", "audio": None, "transcript": "a"}),
            {"type": "input_audio", "transcript": "a"},
        ),
        (message("user", {"type": "input_image", "image_url": "data:"}), {"type": "input_image"}),
    ],
)
def test_content_parts_get_the_names_of_their_role(given, sent):
    new = new_item(given)
    assert new.item["content"] == [sent]
    ITEM.validate_python({"id": "i", **new.item})
    assert new.audio == ()


def test_only_the_users_sound_is_heard():
    parts = [{"type": "input_audio", "audio": "AAAA"}, {"type": "input_text", "text": "a"}]
    assert new_item(message("user", *parts)).audio == ("AAAA",)
    assert new_item(message("assistant", *parts)).audio == ()


@pytest.mark.parametrize(
    "item",
    [
        {"type": "function_call", "name": "f", "arguments": "{}", "call_id": "c"},
        {"type": "function_call_output", "call_id": "c", "output": "1"},
        {"type": "mcp_approval_response", "approval_request_id": "r", "approve": False},
        {"type": "mcp_list_tools", "server_label": "s", "tools": []},
        {"type": "mcp_call", "server_label": "s", "name": "f", "arguments": "{}"},
        {"type": "mcp_approval_request", "server_label": "s", "name": "f", "arguments": "{}"},
    ],
)
def test_items_of_every_type_are_reported_as_given(item):
    new = new_item({**item, "id": "mine"})
    assert new.id == "mine"
    assert item.items() <= new.item.items()
    ITEM.validate_python({**new.item, "id": "mine"})


@pytest.mark.parametrize(
    ("item", "code", "param"),
    [
        ({}, "missing_required_parameter", "item.type"),
        ({"type": "telepathy"}, "invalid_value", "item.type"),
        ({"type": "message", "content": []}, "missing_required_parameter", "item.role"),
        ({"type": "message", "role": "user"}, "missing_required_parameter", "item.content"),
        (message("owner"), "invalid_value", "item.role"),
        (message("user", {"type": "smell"}), "invalid_value", "item.content[0].type"),
        (message("user", {"text": "a"}), "missing_required_parameter", "item.content[0].type"),
        ({**message("user"), "content": "Hello"}, "invalid_type", "item.content"),
        ({**message("user"), "id": 3}, "invalid_type", "item.id"),
        ({**message("user"), "id": "x" * 65}, "string_above_max_length", "item.id"),
        ({"type": "function_call_output"}, "missing_required_parameter", "item.call_id"),
    ],
)
def test_invalid_items_are_refused(item, code, param):
    with pytest.raises(EventError) as caught:
        new_item(item)
    assert (caught.value.code, caught.value.param) == (code, param)


def test_history_refuses_ids_twice_and_places_that_are_not_there():
    history = History()
    history.add({"id": "a"})
    history.check_new("b", "a")
    history.check_new(None, "root")
    for item_id, previous, code in (
        ("a", None, "item_create_duplicate_item_id"),
        ("b", "c", "item_create_invalid_previous_item_id"),
    ):
        with pytest.raises(EventError) as caught:
            history.check_new(item_id, previous)
        assert caught.value.code == code
    history.delete("a")
    history.check_new("a", None)
    assert history.last is None


def test_history_forgets_the_oldest():
    history = History()
    for number in range(3000):
        history.add({"id": f"{number}"})
    assert history.last == "2999"
    assert history.knows("2000")
    assert not history.knows("1000")
    history.add({"id": "large", "text": "x" * 3_000_000})
    assert history.knows("large")
    assert not history.knows("2999")
    history.add({"id": "small"})
    assert history.knows("small")
    assert not history.knows("large")


@pytest.mark.parametrize("text", ["a", "\x01", "é"])
def test_items_that_take_long_to_write_are_refused(text):
    def item(count):
        content = [{"type": "input_text", "text": count * text}]
        return {"type": "message", "role": "user", "content": content}

    assert new_item(item(20_000)).item["content"][0]["text"] == 20_000 * text
    with pytest.raises(EventError) as refused:
        new_item(item(200_000))
    assert refused.value.code == "string_above_max_length"
    sound = {"type": "input_audio", "audio": 1_000_000 * "AAAA"}
    given = {"type": "message", "role": "user", "content": [sound]}
    assert new_item(given).audio == (sound["audio"],)
