"""Knows the addresses of the other nodes, and the secret that all of them share."""

from __future__ import annotations

import ssl
from collections.abc import Sequence
from pathlib import Path
from urllib.parse import urlsplit

from xyt_stream.errors import HandoverError, ServeError
from xyt_stream.protocol.place import is_node_name

PATH = "/v1/handover"
_PLACE = "{node}"
_LEAST_SECRET = 16  # bytes
_SCHEMES = {"http": "ws", "https": "wss", "ws": "ws", "wss": "wss"}


class Peers:
    """The other nodes of a service.

    Args:
        urls: "NAME=http://host:port" for one node, "NAME,NAME=http://{node}.domain:port" for some,
            or "http://{node}.domain:port" for all others, whose names are then not known.
        secret: shared by all nodes, at least 16 bytes.

    Attributes:
        secret: the same.

    Raises:
        ServeError: an address or the secret cannot be used.
    """

    def __init__(self, urls: Sequence[str], secret: bytes) -> None:
        if len(secret) < _LEAST_SECRET:
            raise ServeError(f"the secret of the nodes has at least {_LEAST_SECRET} bytes")
        self.secret = secret
        self._urls: dict[str, str] = {}
        self._template: str | None = None
        for text in urls:
            listed, found, url = text.partition("=")
            names = listed.split(",")
            if found and all(map(is_node_name, names)) and (len(names) == 1 or _PLACE in url):
                self._urls |= {name: _checked(url.replace(_PLACE, name)) for name in names}
            elif _PLACE in text:
                self._template = _checked(text)
            else:
                raise ServeError(
                    f"--peers {text!r} is neither NAME=http://HOST:PORT nor an address of all "
                    f"nodes with {_PLACE} in it"
                )

    @classmethod
    def read(cls, urls: Sequence[str], secret_file: Path) -> Peers:
        """The peers, with the secret in a file.

        Raises:
            ServeError: the file cannot be read; and as above.
        """
        try:
            secret = secret_file.read_bytes().strip()
        except OSError as error:
            raise ServeError(f"cannot read the secret in {secret_file}: {error.strerror}") from None
        return cls(urls, secret)

    @property
    def names(self) -> list[str]:
        """The nodes whose names are known, this one perhaps among them."""
        return list(self._urls)

    def url(self, node: str, path: str = PATH) -> str:
        """The websocket address at which a node gives sessions up, or another path of it.

        Raises:
            HandoverError: no address of it is known.
        """
        if not is_node_name(node):
            raise HandoverError("a node has another kind of name")
        url = self._urls.get(node)
        if url is None and self._template is not None:
            url = self._template.replace(_PLACE, node)
        if url is None:
            raise HandoverError(f"no address of the node {node} is known")
        scheme, _, rest = url.partition("://")
        return f"{_SCHEMES[scheme]}://{rest.rstrip('/')}{path}"

    def tls(self, node: str) -> ssl.SSLContext | None:
        """Returns the TLS settings that check a node's certificate; None: it has none."""
        return ssl.create_default_context() if self.url(node).startswith("wss:") else None


def _checked(url: str) -> str:
    parts = urlsplit(url.replace(_PLACE, "node"))
    if parts.scheme not in _SCHEMES or not parts.hostname or parts.query:
        raise ServeError(f"--peers {url!r} is no address: write it as http://HOST:PORT")
    return url
