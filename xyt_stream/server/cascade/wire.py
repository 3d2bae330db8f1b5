"""Defines the messages between the nodes of one room, which handover/channel.py authenticates."""

from __future__ import annotations

from typing import TypeAlias

import msgspec

from xyt_stream.protocol.messages import Model
from xyt_stream.server.handover.channel import Dialect

PATH = "/v1/rooms"
SUBPROTOCOL = "xyt.rooms.v1"
MAX_BYTES = 1 << 20  # of one message
CLOSED_IN_ORDER = (1000, 1001)  # close codes of a node that has nothing more to ask, or stops
MAX_ITEMS = 512  # of one message


class _Item(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """Base class of the items; `number` is the subscriber's for a room."""

    number: int


class Want(_Item, frozen=True, tag="want"):
    """Asks the other node to send `Has` whenever a mic enters this room."""

    room: str


class Unwant(_Item, frozen=True, tag="unwant"):
    """Asks for nothing more of this room."""


class Start(_Item, frozen=True, tag="start"):
    """Asks for a stream: from its frame `next` on, or with None from now on."""

    stream: str
    next: int | None


class Stop(_Item, frozen=True, tag="stop"):
    """Asks for no more of the stream; whether there is one is still told."""


class Listeners(_Item, frozen=True, tag="listeners"):
    """So many speakers of the subscriber's own hear the stream that it has started."""

    listeners: int


class Has(_Item, frozen=True, tag="has"):
    """The room has a mic.

    Attributes:
        stream: id of the mic's session, the same at all nodes that it moves to.
        model: of the codes.
        sealed: whether they are sealed.
        is_conversation: whether it has a user in place of a mic: then it is not passed on.
    """

    stream: str
    model: Model
    sealed: bool
    is_conversation: bool


class Frame(_Item, frozen=True, tag="frame"):
    """A frame of codes, packed as for clients."""

    index: int
    payload: bytes


class Skipped(_Item, frozen=True, tag="skip"):
    """So many frames were left out before frame `index`."""

    index: int
    frames: int


class Over(_Item, frozen=True, tag="over"):
    """The stream has ended; its length in samples at `rate`."""

    samples: int
    rate: int


class Failed(_Item, frozen=True, tag="failed"):
    """The stream has failed, or there is none of that id."""


class Moved(_Item, frozen=True, tag="moved"):
    """The stream goes on at another node."""


Item: TypeAlias = (
    Want | Unwant | Start | Stop | Listeners | Has | Frame | Skipped | Over | Failed | Moved
)


class Batch(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag="batch"):
    """One message: items in the order in which they were made."""

    items: list[Item]


ROOMS = Dialect(SUBPROTOCOL, Batch)
