"""Defines the messages between the nodes of one room, which handover/channel.py authenticates."""

from __future__ import annotations

from typing import Annotated, TypeAlias

import msgspec

from xyt_stream.protocol.messages import Model
from xyt_stream.protocol.roles import Voice
from xyt_stream.server.handover.channel import Dialect

PATH = "/v1/rooms"
SUBPROTOCOL = "xyt.rooms.v2"
MAX_BYTES = 1 << 20  # of one message
CLOSED_IN_ORDER = (1000, 1001)  # close codes of a node that has nothing more to ask, or stops
MAX_ITEMS = 512  # of one message

Index: TypeAlias = Annotated[int, msgspec.Meta(ge=0, lt=1 << 32)]  # as in clients' messages


class _Item(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """Base class of the items; the subscriber gives each of its rooms a `number`."""

    number: int


class Want(_Item, frozen=True, tag="want"):
    """Asks the other node to send `Has` whenever a mic or a user enters this room."""

    room: str


class Unwant(_Item, frozen=True, tag="unwant"):
    """Asks for nothing more of the room, no `Has` either."""


class Start(_Item, frozen=True, tag="start"):
    """Asks for a stream: from its frame `next` on, or with None from now on.

    Attributes:
        model: of a conversation, the same for its model: `next` is then for its user.
    """

    stream: str
    next: int | None
    model: int | None = None


class Stop(_Item, frozen=True, tag="stop"):
    """Asks for no more of the stream; `Has` is still sent when the room has another."""


class Listeners(_Item, frozen=True, tag="listeners"):
    """So many speakers of the subscriber's own hear the stream that it has started."""

    listeners: int


class Has(_Item, frozen=True, tag="has"):
    """The room has a mic or a conversation.

    Attributes:
        stream: id of the session of the mic or the user, the same at all nodes that it moves to.
        model: of the codes.
        sealed: whether they are sealed.
        is_conversation: whether it has a user in place of a mic, and two voices.
    """

    stream: str
    model: Model
    sealed: bool
    is_conversation: bool


class Frame(_Item, frozen=True, tag="frame"):
    """A frame of codes, packed as for clients; `voice` is "user" for a mic."""

    index: Index
    payload: bytes
    voice: Voice


class Silent(_Item, frozen=True, tag="silent"):
    """Frame `index` of a conversation, in which its model is silent."""

    index: Index


class Interrupted(_Item, frozen=True, tag="clear"):
    """The model is interrupted: what was not played of its frames before this is dropped."""


class Skipped(_Item, frozen=True, tag="skip"):
    """So many frames were left out before frame `index`."""

    index: Index
    frames: Index
    voice: Voice


class Over(_Item, frozen=True, tag="over"):
    """The voice's stream has ended; its length in samples at `rate`."""

    samples: Annotated[int, msgspec.Meta(ge=0)]
    rate: Annotated[int, msgspec.Meta(ge=1)]
    voice: Voice


class Failed(_Item, frozen=True, tag="failed"):
    """The stream has failed, or there is none of that id."""


class Moved(_Item, frozen=True, tag="moved"):
    """The stream goes on at another node."""


Item: TypeAlias = (
    Want
    | Unwant
    | Start
    | Stop
    | Listeners
    | Has
    | Frame
    | Silent
    | Interrupted
    | Skipped
    | Over
    | Failed
    | Moved
)


class Batch(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag="batch"):
    """One message: items in the order in which they were made."""

    items: list[Item]


ROOMS = Dialect(SUBPROTOCOL, Batch)
