"""Who may send and hear what."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Role:
    """What a session does with its websocket.

    Attributes:
        name: as `hello` gives it.
        sends: "pcm", "codes" or None.
        may_receive: what `hello` may ask for; the first is what it gets if it does not ask.
        in_room: whether `hello` must name a room: "yes", "no", or "may".
        converses: whether it is one of the two who talk with each other.
    """

    name: str
    sends: str | None
    may_receive: tuple[str, ...]
    in_room: str
    converses: bool = False

    @property
    def default_receive(self) -> tuple[str, ...]:
        return self.may_receive[:1]


ROLES = {
    role.name: role
    for role in (
        Role("loopback", "pcm", ("pcm", "codes"), in_room="no"),
        Role("encode", "pcm", ("codes",), in_room="no"),
        Role("decode", "codes", ("pcm",), in_room="no"),
        Role("mic", "pcm", (), in_room="yes"),
        Role("speaker", None, ("pcm", "codes"), in_room="yes"),
        Role("user", "pcm", ("pcm", "codes"), in_room="may", converses=True),
        Role("model", "codes", ("codes", "pcm"), in_room="yes", converses=True),
    )
}
