"""Defines the client's events and parses them.

Unknown fields are ignored: clients send many that mean nothing to an audio-only model.
"""

from __future__ import annotations

import re
from contextlib import suppress
from typing import Annotated, Any, TypeAlias, TypeVar, get_args

import msgspec
from msgspec import UNSET, Meta, UnsetType

from xyt_stream.errors import EventError
from xyt_stream.protocol.realtime.settings import AudioChange, Change

_MOST_VALUES = 10_000  # of one event: as many take 5 ms, in which no other client is served

_EventId = Annotated[str, Meta(max_length=512)]


class Event(msgspec.Struct, frozen=True, kw_only=True, tag_field="type"):
    """Base class; errors refer to the client's `event_id`."""

    event_id: _EventId | None = None


class SessionUpdate(Event, frozen=True, kw_only=True, tag="session.update"):
    """`session.update`"""

    session: Change


class InputAppend(Event, frozen=True, kw_only=True, tag="input_audio_buffer.append"):
    """`input_audio_buffer.append`; `audio` is base64."""

    audio: str


class InputCommit(Event, frozen=True, kw_only=True, tag="input_audio_buffer.commit"):
    """`input_audio_buffer.commit`"""


class InputClear(Event, frozen=True, kw_only=True, tag="input_audio_buffer.clear"):
    """`input_audio_buffer.clear`"""


class ItemCreate(Event, frozen=True, kw_only=True, tag="conversation.item.create"):
    """`conversation.item.create`; `item` is read by `items.new_item`."""

    item: dict[str, Any]
    previous_item_id: str | None = None


class ItemRetrieve(Event, frozen=True, kw_only=True, tag="conversation.item.retrieve"):
    """`conversation.item.retrieve`"""

    item_id: str


class ItemDelete(Event, frozen=True, kw_only=True, tag="conversation.item.delete"):
    """`conversation.item.delete`"""

    item_id: str


class ItemTruncate(Event, frozen=True, kw_only=True, tag="conversation.item.truncate"):
    """`conversation.item.truncate`"""

    item_id: str
    content_index: Annotated[int, Meta(ge=0)] = 0
    audio_end_ms: Annotated[int, Meta(ge=0)]


class ResponseOptions(msgspec.Struct, frozen=True):
    """The options of one response."""

    output_modalities: tuple[str, ...] | UnsetType | None = UNSET
    conversation: str | None = None
    input: list[dict[str, Any]] | None = None
    audio: AudioChange | UnsetType | None = UNSET
    metadata: Any = None


class ResponseCreate(Event, frozen=True, kw_only=True, tag="response.create"):
    """`response.create`"""

    response: ResponseOptions | None = None


class ResponseCancel(Event, frozen=True, kw_only=True, tag="response.cancel"):
    """`response.cancel`"""

    response_id: str | None = None


ClientEvent: TypeAlias = (
    SessionUpdate
    | InputAppend
    | InputCommit
    | InputClear
    | ItemCreate
    | ItemRetrieve
    | ItemDelete
    | ItemTruncate
    | ResponseCreate
    | ResponseCancel
)

_EVENTS: dict[str, type[ClientEvent]] = {
    str(each.__struct_config__.tag): each for each in get_args(ClientEvent)
}
_DECODER: msgspec.json.Decoder[ClientEvent] = msgspec.json.Decoder(ClientEvent)
_REFUSED = {
    "output_audio_buffer.clear": "This event is for WebRTC and SIP: send response.cancel.",
}


_MALFORMED = (msgspec.DecodeError, RecursionError, UnicodeError)  # and what derives from them


class _Envelope(msgspec.Struct):
    type: str
    event_id: _EventId | None = None


def parse_event(data: str | bytes) -> tuple[ClientEvent | None, str | None, EventError | None]:
    """Parses a client's message; never raises.

    Returns:
        The event, its `event_id` and the error. Either the event or the error is None.
    """
    event_id = None
    try:
        if isinstance(data, bytes):
            raise EventError("invalid_event", "Events are JSON, in text messages.")
        if _has_too_many_values(data):
            raise EventError("invalid_event", f"An event holds at most {_MOST_VALUES} values.")
        with suppress(*_MALFORMED):
            event = _DECODER.decode(data)
            return event, event.event_id, None
        # To read it again costs the time of a large event twice, so only a wrong one is.
        envelope = _parse(data, _Envelope)
        event_id = envelope.event_id
        if envelope.type in _REFUSED:
            raise EventError("not_supported", _REFUSED[envelope.type], "type")
        if envelope.type not in _EVENTS:
            raise EventError("invalid_value", f"There is no event '{envelope.type[:64]}'.", "type")
        return _parse(data, _EVENTS[envelope.type]), event_id, None
    except EventError as error:
        return None, event_id, error


def _has_too_many_values(text: str) -> bool:
    """Whether JSON has more lists, objects and elements than an event may have."""
    if not _has_too_many_separators(text):
        return False
    # Those in strings do not count: text has commas.
    bare = text.replace("\\\\", "").replace('\\"', "")
    if bare.count('"') > 4 * (_MOST_VALUES + 1):  # an element has two strings at most
        return True
    return _has_too_many_separators("".join(bare.split('"')[::2]))


def _has_too_many_separators(text: str) -> bool:
    """Whether it has more commas and opening brackets than an event may have values.

    It takes a tenth of a millisecond for megabytes of sound, where `str.count` takes four.
    """
    if len(text) <= _MOST_VALUES:
        return False
    left = _MOST_VALUES
    for separator in ",[{":
        place = text.find(separator)
        while place >= 0:
            left -= 1
            if left < 0:
                return True
            place = text.find(separator, place + 1)
    return False


_T = TypeVar("_T", bound=msgspec.Struct)


def _parse(text: str, shape: type[_T]) -> _T:
    try:
        return msgspec.json.decode(text, type=shape)
    except msgspec.ValidationError as error:
        raise invalid(error) from None
    except _MALFORMED as error:
        raise EventError("invalid_json", f"The event is not JSON: {error}.") from None


# A pattern of msgspec's messages, and OpenAI's code for such an error.
_CODES = (
    (r"missing required field", "missing_required_parameter"),
    (r"Expected `int` >", "integer_below_min_value"),
    (r"Expected `int` <", "integer_above_max_value"),
    (r"Expected `float` >", "decimal_below_min_value"),
    (r"Expected `float` <", "decimal_above_max_value"),
    (r"Expected `str` of length >", "string_below_min_length"),
    (r"Expected `str` of length <", "string_above_max_length"),
    (r"Expected `[^`]*`, got `", "invalid_type"),
)


def invalid(error: msgspec.ValidationError, within: str = "") -> EventError:
    """Makes an error of msgspec's one of the protocol's.

    Args:
        within: the field of the event that was validated; empty: the whole event.
    """
    reason, _, path = str(error).partition(" - at `")
    missing = re.search(r"missing required field `(\w+)`", reason)
    path = path.rstrip("`").lstrip("$.")
    param = ".".join(filter(None, (within, path, missing and missing[1])))
    code = next((code for words, code in _CODES if re.search(words, reason)), "invalid_value")
    sentence = f"{reason}: {param}." if param else f"{reason}."
    return EventError(code, sentence, param or None)
