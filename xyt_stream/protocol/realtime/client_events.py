"""Defines the client's events and parses them.

Unknown fields are ignored: clients send many that mean nothing to an audio-only model.
"""

from __future__ import annotations

import re
from typing import TypeAlias, TypeVar

import msgspec
from msgspec import UNSET, UnsetType

from xyt_stream.errors import EventError
from xyt_stream.protocol.realtime.settings import Change


class Event(msgspec.Struct, frozen=True, kw_only=True):
    """Base class; errors refer to the client's `event_id`."""

    event_id: str | None = None


class SessionUpdate(Event, frozen=True, kw_only=True):
    """`session.update`"""

    session: Change


class InputAppend(Event, frozen=True, kw_only=True):
    """`input_audio_buffer.append`"""

    audio: bytes  # base64 on the wire


class InputCommit(Event, frozen=True, kw_only=True):
    """`input_audio_buffer.commit`"""


class InputClear(Event, frozen=True, kw_only=True):
    """`input_audio_buffer.clear`"""


class ContentPart(msgspec.Struct, frozen=True):
    """One part of an item's content."""

    type: str = ""
    audio: bytes | None = None


class NewItem(msgspec.Struct, frozen=True):
    """An item that the client adds to the conversation."""

    type: str
    role: str | None = None
    id: str | None = None
    content: tuple[ContentPart, ...] = ()


class ItemCreate(Event, frozen=True, kw_only=True):
    """`conversation.item.create`"""

    item: NewItem
    previous_item_id: str | None = None


class ItemTruncate(Event, frozen=True, kw_only=True):
    """`conversation.item.truncate`"""

    item_id: str
    content_index: int = 0
    audio_end_ms: int


class _ResponseOptions(msgspec.Struct, frozen=True):
    output_modalities: tuple[str, ...] | UnsetType | None = UNSET
    conversation: str | None = None
    input: list[msgspec.Raw] | None = None
    metadata: dict[str, str] | None = None


class ResponseCreate(Event, frozen=True, kw_only=True):
    """`response.create`"""

    response: _ResponseOptions | None = None


class ResponseCancel(Event, frozen=True, kw_only=True):
    """`response.cancel`"""

    response_id: str | None = None


ClientEvent: TypeAlias = (
    SessionUpdate
    | InputAppend
    | InputCommit
    | InputClear
    | ItemCreate
    | ItemTruncate
    | ResponseCreate
    | ResponseCancel
)

_EVENTS: dict[str, type[ClientEvent]] = {
    "session.update": SessionUpdate,
    "input_audio_buffer.append": InputAppend,
    "input_audio_buffer.commit": InputCommit,
    "input_audio_buffer.clear": InputClear,
    "conversation.item.create": ItemCreate,
    "conversation.item.truncate": ItemTruncate,
    "response.create": ResponseCreate,
    "response.cancel": ResponseCancel,
}
_REFUSED = {
    "conversation.item.delete": "The model has processed the item already.",
    "conversation.item.retrieve": "The server keeps no audio of items.",
    "output_audio_buffer.clear": "This event is for WebRTC and SIP: send response.cancel.",
}


class _Envelope(msgspec.Struct):
    type: str
    event_id: str | None = None


def parse_event(data: str | bytes) -> tuple[ClientEvent | None, str | None, EventError | None]:
    """Parses a client's message; never raises.

    Returns:
        The event, its `event_id` and the error. Either the event or the error is None.
    """
    event_id = None
    try:
        if isinstance(data, bytes):
            raise EventError("invalid_event", "Events are JSON, in text messages.")
        envelope = _parse(data, _Envelope)
        event_id = envelope.event_id
        if envelope.type in _REFUSED:
            raise EventError("not_supported", _REFUSED[envelope.type], "type")
        if envelope.type not in _EVENTS:
            raise EventError("invalid_value", f"There is no event '{envelope.type[:64]}'.", "type")
        return _parse(data, _EVENTS[envelope.type]), event_id, None
    except EventError as error:
        return None, event_id, error


_T = TypeVar("_T", bound=msgspec.Struct)


def _parse(text: str, shape: type[_T]) -> _T:
    try:
        return msgspec.json.decode(text, type=shape)
    except msgspec.ValidationError as error:
        reason, _, path = str(error).partition(" - at `")
        missing = re.search(r"missing required field `(\w+)`", reason)
        param = ".".join(filter(None, (path.rstrip("`").lstrip("$."), missing and missing[1])))
        code = "missing_required_parameter" if missing else "invalid_value"
        sentence = f"{reason}: {param}." if param else f"{reason}."
        raise EventError(code, sentence, param or None) from None

    except (msgspec.DecodeError, RecursionError, UnicodeError) as error:
        raise EventError("invalid_json", f"The event is not JSON: {error}.") from None
