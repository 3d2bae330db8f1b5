"""The events that a client may send, and reading them.

What is not known in an event is ignored: clients send much that means nothing to a model of sound.
"""

from __future__ import annotations

import re
from typing import TypeAlias, TypeVar

import msgspec
from msgspec import UNSET, UnsetType

from xyt_stream.errors import EventError
from xyt_stream.protocol.realtime.settings import Change


class Event(msgspec.Struct, frozen=True, kw_only=True):
    """Base; `event_id` is the client's name for it, for errors to refer to."""

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
    """What an item holds."""

    type: str = ""
    audio: bytes | None = None


class NewItem(msgspec.Struct, frozen=True):
    """What a client puts into the conversation."""

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


class _Wanted(msgspec.Struct, frozen=True):
    output_modalities: tuple[str, ...] | UnsetType | None = UNSET
    conversation: str | None = None
    input: list[msgspec.Raw] | None = None
    metadata: dict[str, str] | None = None


class ResponseCreate(Event, frozen=True, kw_only=True):
    """`response.create`"""

    response: _Wanted | None = None


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
    "conversation.item.delete": "The model has heard it, and cannot unhear it.",
    "conversation.item.retrieve": "No sound is kept.",
    "output_audio_buffer.clear": "That is for WebRTC and SIP: say response.cancel.",
}


class _Envelope(msgspec.Struct):
    type: str
    event_id: str | None = None


def parse_event(data: str | bytes) -> tuple[ClientEvent | None, str | None, EventError | None]:
    """What a client's message holds: the event; its `event_id`; and what is wrong with it, if
    something is, in which case there is no event.
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
        told = f"{reason}: {param}." if param else f"{reason}."
        raise EventError(code, told, param or None) from None
    except (msgspec.DecodeError, RecursionError, UnicodeError) as error:
        raise EventError("invalid_json", f"The event is not JSON: {error}.") from None
