"""Defines the roles: the media that each may send and receive."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, TypeAlias

Voice: TypeAlias = Literal["user", "model"]  # of a conversation, as a speaker may ask for it


@dataclass(frozen=True)
class Role:
    """The media that a client with this role sends and receives.

    Attributes:
        name: as in `hello`.
        may_send: the kinds that `hello` may name; the first is the default. Empty: it sends none.
        may_receive: the kinds that `hello` may ask for; the first is the default, except for a mic,
            which receives nothing unless it asks for its own codes.
        in_room: whether `hello` must name a room: "yes", "no", or "may".
        converses: whether it takes part in a conversation, as user or model.
    """

    name: str
    may_send: tuple[str, ...]
    may_receive: tuple[str, ...]
    in_room: str
    converses: bool = False

    @property
    def default_send(self) -> str | None:
        """The kind that a client sends if its `hello` names none; None: it sends no media."""
        return self.may_send[0] if self.may_send else None

    @property
    def default_receive(self) -> tuple[str, ...]:
        """The kinds that a client receives if its `hello` asks for none."""
        return () if self.name == "mic" else self.may_receive[:1]


ROLES = {
    role.name: role
    for role in (
        Role("loopback", ("pcm", "codes", "sealed"), ("pcm", "codes", "sealed"), in_room="no"),
        Role("encode", ("pcm",), ("codes",), in_room="no"),
        Role("decode", ("codes",), ("pcm",), in_room="no"),
        Role("mic", ("pcm", "codes", "sealed"), ("codes",), in_room="yes"),
        Role("speaker", (), ("pcm", "codes", "sealed"), in_room="yes"),
        Role(
            "user",
            ("pcm", "codes", "sealed"),
            ("pcm", "codes", "sealed"),
            in_room="may",
            converses=True,
        ),
        Role(
            "model", ("codes", "sealed"), ("codes", "pcm", "sealed"), in_room="yes", converses=True
        ),
    )
}
