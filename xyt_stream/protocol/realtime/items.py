"""Parses the items that a client creates, and keeps the items of a conversation in order."""

from __future__ import annotations

from typing import Annotated, Any

import msgspec
from msgspec import Meta

from xyt_stream.errors import EventError
from xyt_stream.protocol.realtime.client_events import invalid

MAX_ID_LENGTH = 64
_MOST_ITEMS = 1000  # kept, the latest
_MOST_BYTES = 2 * 1024 * 1024  # of JSON that the kept items take, unless one alone takes more

_MOST_ITEM_BYTES = 1 << 17  # of JSON without sound: writing more takes a millisecond and longer

ItemId = Annotated[str, Meta(min_length=1, max_length=MAX_ID_LENGTH)]

# The fields that an item of each type must have, beside its type.
_REQUIRED = {
    "message": ("role", "content"),
    "function_call": ("name", "arguments"),
    "function_call_output": ("call_id", "output"),
    "mcp_approval_request": ("server_label", "name", "arguments"),
    "mcp_approval_response": ("approval_request_id", "approve"),
    "mcp_call": ("server_label", "name", "arguments"),
    "mcp_list_tools": ("server_label", "tools"),
}
_ROLES = ("user", "assistant", "system")
_TEXT = ("input_text", "output_text", "text")
_AUDIO = ("input_audio", "output_audio", "audio")
_IMAGE = ("input_image",)

# Content of the user's audio. @openai/agents requires a transcript here, and no null elsewhere.
USER_AUDIO = {"type": "input_audio", "transcript": ""}


class ContentPart(msgspec.Struct, frozen=True):
    """A part of a message. `audio` is base64."""

    type: str
    text: str | None = None
    audio: str | None = None
    transcript: str | None = None


class NewItem(msgspec.Struct, frozen=True):
    """An item that the client adds to the conversation.

    Attributes:
        id: the client's; None: the server chooses one.
        item: the item as the server sends it: without its id, without audio and images.
        audio: base64 of the user's audio in it, one for each part.
    """

    id: str | None
    item: dict[str, Any]
    audio: tuple[str, ...] = ()


class _Given(msgspec.Struct, frozen=True):
    type: str
    id: ItemId | None = None
    role: str | None = None
    content: tuple[ContentPart, ...] | None = None


def new_item(given: dict[str, Any], param: str = "item") -> NewItem:
    """Parses an item of a client's event; `param` is the field of the event that holds it.

    Raises:
        EventError: it is not an item of the protocol, or too long to be kept.
    """
    new = _read_item(given, param)
    try:
        nested = msgspec.json.encode([[[new.item]]])  # as deep as events hold items
    except RecursionError:
        raise EventError("invalid_value", "The item is nested too deeply.", param) from None
    if len(nested) - len(b"[[[]]]") > _MOST_ITEM_BYTES:
        raise EventError(
            "string_above_max_length",
            f"An item has at most {_MOST_ITEM_BYTES} bytes beside its sound.",
            param,
        )
    return new


def _read_item(given: dict[str, Any], param: str) -> NewItem:
    try:
        read = msgspec.convert(given, _Given)
    except msgspec.ValidationError as error:
        raise invalid(error, param) from None
    if read.type not in _REQUIRED:
        raise _invalid_value(read.type, tuple(_REQUIRED), f"{param}.type")
    for name in _REQUIRED[read.type]:
        if given.get(name) is None:
            raise EventError(
                "missing_required_parameter",
                f"Missing required parameter: '{param}.{name}'.",
                f"{param}.{name}",
            )
    if read.type != "message":
        item = {name: value for name, value in given.items() if name not in ("id", "object")}
        return NewItem(read.id, item | {"object": "realtime.item", "status": "completed"})
    assert read.role is not None
    assert read.content is not None
    if read.role not in _ROLES:
        raise _invalid_value(read.role, _ROLES, f"{param}.role")
    content = [
        _part(part, read.role, f"{param}.content[{index}]")
        for index, part in enumerate(read.content)
    ]
    spoken = [part.audio for part in read.content if part.type in _AUDIO and part.audio]
    audio = tuple(spoken) if read.role == "user" else ()
    return NewItem(read.id, message(read.role, content), audio)


def message(role: str, content: list[dict[str, Any]], status: str = "completed") -> dict[str, Any]:
    """A message as the server sends it, without its id."""
    return {
        "object": "realtime.item",
        "type": "message",
        "status": status,
        "role": role,
        "content": content,
    }


def _part(part: ContentPart, role: str, param: str) -> dict[str, Any]:
    """A content part as the server sends it, with the type that the protocol has for the role."""
    side = "output" if role == "assistant" else "input"
    if part.type in _TEXT:
        return {"type": f"{side}_text", "text": part.text or ""}
    if part.type in _AUDIO:
        content = USER_AUDIO if side == "input" else {"type": "output_audio"}
        return content if part.transcript is None else content | {"transcript": part.transcript}
    if part.type in _IMAGE:
        return {"type": part.type}
    raise _invalid_value(part.type, _TEXT + _AUDIO + _IMAGE, f"{param}.type")


def _invalid_value(value: str, supported: tuple[str, ...], param: str) -> EventError:
    names = ", ".join(f"'{name}'" for name in supported)
    return EventError(
        "invalid_value", f"Invalid value: '{value[:64]}'. Supported values are: {names}.", param
    )


class _Entry(msgspec.Struct):
    item: dict[str, Any]
    audio_ms: int | None  # duration of the model's audio; None: the item has none
    size: int


class History:
    """The items of a conversation in order. The oldest are dropped beyond 1,000 items or 2 MiB."""

    def __init__(self) -> None:
        self._order: list[str] = []
        self._entries: dict[str, _Entry] = {}
        self._size = 0

    @property
    def last(self) -> str | None:
        """The id of the last item."""
        return self._order[-1] if self._order else None

    @property
    def size(self) -> int:
        """Bytes of JSON that the kept items take."""
        return self._size

    def knows(self, item_id: str) -> bool:
        """Whether there is an item of this id."""
        return item_id in self._entries

    def check_new(self, item_id: str | None, previous_item_id: str | None) -> None:
        """Checks that an item can be added after another; "root" is the beginning.

        Raises:
            EventError: `item_id` exists already, or `previous_item_id` does not.
        """
        if item_id in self._entries:
            raise EventError(
                "item_create_duplicate_item_id",
                f"Error adding item: an item with id '{item_id}' already exists.",
                "item.id",
            )
        if previous_item_id not in (None, "root") and previous_item_id not in self._entries:
            raise EventError(
                "item_create_invalid_previous_item_id",
                "Error adding item: the previous item with id "
                f"'{str(previous_item_id)[:MAX_ID_LENGTH]}' does not exist.",
                "previous_item_id",
            )

    def add(
        self,
        item: dict[str, Any],
        previous_item_id: str | None = None,
        *,
        audio_ms: int | None = None,
    ) -> str | None:
        """Adds an item after another, or at the end; returns the id of the item before it."""
        place = len(self._order)
        if previous_item_id == "root":
            place = 0
        elif previous_item_id in self._entries:
            place = self._order.index(previous_item_id) + 1
        previous = self._order[place - 1] if place else None
        entry = _Entry(item, audio_ms, len(msgspec.json.encode(item)))
        self._order.insert(place, item["id"])
        self._entries[item["id"]] = entry
        self._size += entry.size
        while len(self._order) > 1 and (len(self._order) > _MOST_ITEMS or self._size > _MOST_BYTES):
            self._forget(self._order[0] if self._order[0] != item["id"] else self._order[1])
        return previous

    def replace(self, item: dict[str, Any], audio_ms: int) -> None:
        """Updates the model's item; does nothing if it was deleted."""
        if entry := self._entries.get(item["id"]):
            entry.item, entry.audio_ms = item, audio_ms

    def get(self, item_id: str) -> dict[str, Any]:
        """Returns an item, for `conversation.item.retrieve`.

        Raises:
            EventError: there is no such item.
        """
        return self._entry(item_id, "retrieve", "retrieving").item

    def spoken_ms(self, item_id: str) -> int:
        """Duration in ms of the model's audio in an item, for `conversation.item.truncate`.

        Raises:
            EventError: there is no such item, or it has no audio of the model.
        """
        audio_ms = self._entry(item_id, "truncate", "truncating").audio_ms
        if audio_ms is None:
            raise EventError(
                "invalid_value", "Only model output audio messages can be truncated.", "item_id"
            )
        return audio_ms

    def delete(self, item_id: str) -> None:
        """Deletes an item.

        Raises:
            EventError: there is no such item.
        """
        self._entry(item_id, "delete", "deleting")
        self._forget(item_id)

    def _forget(self, item_id: str) -> None:
        self._order.remove(item_id)
        self._size -= self._entries.pop(item_id).size

    def _entry(self, item_id: str, verb: str, doing: str) -> _Entry:
        if item_id not in self._entries:
            raise EventError(
                f"item_{verb}_invalid_item_id",
                f"Error {doing} item: the item with id '{item_id[:MAX_ID_LENGTH]}' does not exist.",
                "item_id",
            )
        return self._entries[item_id]
