"""Puts a session's room and node into its URL, where proxies read them.

    wss://host/?room=kitchen&role=speaker&node=b

A proxy sends the members of a room to one node, speakers that do not fit there to any other, and a
client that comes back to the node that has its session.
"""

from __future__ import annotations

import re
import socket
from dataclasses import dataclass
from urllib.parse import SplitResult, parse_qsl, quote, urlsplit, urlunsplit

from xyt_stream.protocol.error_table import protocol_error
from xyt_stream.protocol.messages import Hello

_NODE = re.compile(r"(?!\d+\Z)[A-Za-z0-9_-]{1,63}")  # a host's name without a domain, no address
_FIELDS = 64  # of a query, beyond which none is read
_SPEAKER = "speaker"  # the role that is in URLs


def is_node_name(text: str) -> bool:
    """Whether a text can name a node: 1 to 63 letters, digits, hyphens, and underscores."""
    return _NODE.fullmatch(text) is not None


def resume_token(node: str, key: str) -> str:
    """The token that resumes a session: the node that has it, and the session's secret key."""
    return f"{node}.{key}"


def split_token(token: str) -> tuple[str, str]:
    """The node's name and the session's key in a resume token; the name is empty without one."""
    node, _, key = token.rpartition(".")
    return node if is_node_name(node) else "", key


def own_name() -> str:
    """The name of this machine without its domain, as a node's name."""
    name = re.sub(r"[^A-Za-z0-9_-]", "-", socket.gethostname().partition(".")[0])[:63]
    return name if is_node_name(name) else f"node-{name}"[:63]


def placed(url: str, room: str | None, node: str | None = None, role: str | None = None) -> str:
    """The URL with this room and this node in its query; with neither of them it is the same.

    Args:
        url: of the server; a room, a node or a role in its query is replaced.
        room: of the session, as in `hello`; None: it has none.
        node: that has the session; None: any may take it.
        role: of the session; it is said for speakers in a room only.
    """
    try:
        parts = urlsplit(url)
    except ValueError:  # brackets that do not close: opening the URL reports it
        return url
    if not parts.netloc:  # no address: so does it there
        return url
    others = [each for each in parts.query.split("&") if each and not _is_ours(each)]
    ours = [
        f"{name}={quote(value, safe='')}"
        for name, value in (
            ("room", room),
            ("role", _SPEAKER if room is not None and role == _SPEAKER else None),
            ("node", node),
        )
        if value is not None
    ]
    if not ours and len(others) == len([each for each in parts.query.split("&") if each]):
        return url
    path = parts.path or "/"
    query = "&".join([*others, *ours])
    return urlunsplit(SplitResult(parts.scheme, parts.netloc, path, query, parts.fragment))


def _is_ours(field: str) -> bool:
    return field.partition("=")[0] in ("room", "node", "role")


@dataclass(frozen=True)
class Place:
    """The room, the role and the node in a request's path.

    Attributes:
        rooms: each `room` of the query; a client that agrees with its hello sends at most one.
        node: None without one.
        roles: each `role` of the query.
    """

    rooms: tuple[str, ...] = ()
    node: str | None = None
    roles: tuple[str, ...] = ()

    @property
    def room(self) -> str | None:
        """The room; None without one."""
        return self.rooms[0] if self.rooms else None

    def check(self, hello: Hello) -> None:
        """Raises ProtocolError, bad_message, unless all is as in the hello, or left out."""
        if any(room != hello.room for room in self.rooms):
            raise protocol_error("bad_message", "The room in the URL is not the one in hello.")
        if any(role != hello.role for role in self.roles):
            raise protocol_error("bad_message", "The role in the URL is not the one in hello.")

    @property
    def is_listener(self) -> bool:
        """Whether a client only listens to a room, so that any node may serve it."""
        return self.room is not None and self.roles == (_SPEAKER,)


def place_in(path: str) -> Place:
    """Reads the query of a request's path; one that cannot be read names no place."""
    try:
        pairs = parse_qsl(
            path.partition("?")[2].partition("#")[0],
            keep_blank_values=True,
            max_num_fields=_FIELDS,
        )
    except ValueError:
        return Place()
    nodes = [value for name, value in pairs if name == "node" and is_node_name(value)]
    rooms = tuple(value for name, value in pairs if name == "room")
    roles = tuple(value for name, value in pairs if name == "role")
    return Place(rooms, nodes[0] if nodes else None, roles)
