"""Checks tokens, web pages' origins and host names, and the address that the server binds to."""

from __future__ import annotations

import hashlib
import hmac
import ipaddress
import os
import re
import socket
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import takewhile
from pathlib import Path
from urllib.parse import urlsplit

from websockets.datastructures import Headers

from xyt_stream.errors import ServeError
from xyt_stream.protocol.error_table import protocol_error
from xyt_stream.protocol.roles import ROLES

_OWN_NAME = socket.gethostname().lower()  # of this machine
ANY_ORIGIN = "*"
TOKENS_VARIABLE = "XYT_TOKENS"  # of the environment; its text is that of a token file
_ORIGIN = re.compile(r"[a-z][a-z0-9+.-]*://[^/?#\s]+")


@dataclass(frozen=True)
class Token:
    """A secret and the roles that it opens.

    Attributes:
        secret: compared with the client's token.
        roles: that it opens; empty: all of them.

    Raises:
        ServeError: the secret is empty: a client without a token would match it.
    """

    secret: str
    roles: frozenset[str] = frozenset()

    def __post_init__(self) -> None:
        if not self.secret:
            raise ServeError("the token is empty: give one, or leave the option out")

    def __repr__(self) -> str:
        return "Token(...)"  # keeps the secret out of logs


def read_tokens(text: str) -> tuple[Token, ...]:
    """Reads one token a line: the secret, and the roles it opens if it does not open all.

    A word that begins with # begins a comment; a # within a secret belongs to it.

        # the studio
        3fb9c2...  mic
        8d01aa...  speaker,encode

    Raises:
        ServeError: a line has another form.
    """
    tokens = []
    for number, line in enumerate(text.removeprefix("\ufeff").splitlines(), start=1):
        words = list(takewhile(lambda word: not word.startswith("#"), line.split()))
        if not words:
            continue
        roles = frozenset(words[1].split(",")) if len(words) > 1 else frozenset()
        if len(words) > 2 or not roles <= ROLES.keys():
            raise ServeError(
                f"line {number} of the tokens is not `SECRET [role,role]`; "
                f"roles are {', '.join(ROLES)}"
            )
        tokens.append(Token(words[0], roles))
    return tuple(tokens)


def read_token_file(path: Path) -> tuple[Token, ...]:
    """Reads the tokens in a file.

    Raises:
        ServeError: the file cannot be read, or holds no token, which would admit every client.
    """
    try:
        tokens = read_tokens(path.read_text())
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or error
        raise ServeError(f"cannot read the tokens in {path}: {reason}") from None
    if not tokens:
        raise ServeError(f"{path} holds no token: give at least one, or leave the option out")
    return tokens


def all_tokens(token: str | None, token_file: Path | None) -> tuple[Token, ...]:
    """The tokens of the option, of the environment's XYT_TOKENS and of a file.

    Raises:
        ServeError: one of them is given and empty, or cannot be read.
    """
    tokens: tuple[Token, ...] = () if token is None else (Token(token),)
    text = os.environ.get(TOKENS_VARIABLE)
    if text is not None:
        tokens += read_tokens(text)
        if not read_tokens(text):
            raise ServeError(f"{TOKENS_VARIABLE} is set and holds no token: give one, or unset it")
    if token_file is not None:
        tokens += read_token_file(token_file)
    return tokens


class Access:
    """Authorises clients by token and browsers by Origin.

    Args:
        tokens: without any, every client is admitted.
        origins: of web pages that may connect, beside those of this host itself; "*" for all.

    Raises:
        ServeError: an origin is not of the form that browsers send.
    """

    def __init__(self, tokens: Iterable[Token] = (), origins: Iterable[str] = ()) -> None:
        self._tokens = [(_digest(token.secret), token.roles) for token in tokens]
        self._origins = {_origin(text) for text in origins}
        self._names = {_host(origin) for origin in self._origins}

    @property
    def is_open(self) -> bool:
        """Whether clients need no token."""
        return not self._tokens

    def check(self, role: str, token: str | None, headers: Headers) -> None:
        """Authorises a client for a role.

        Args:
            role: that the client asks for.
            token: from its hello; None: the Authorization header is read instead.
            headers: of its handshake.

        Raises:
            ProtocolError: unauthorized: the token is unknown; forbidden: it does not open the role.
        """
        if self.is_open:
            return
        matches = self._matches(_bearer(headers) if token is None else token)
        if not matches:
            raise protocol_error("unauthorized")
        if not any(not roles or role in roles for roles in matches):
            raise protocol_error("forbidden")

    def knows(self, headers: Headers) -> bool:
        """Whether the Authorization header has a token, whatever roles that opens."""
        return bool(self._matches(_bearer(headers)))

    def opens_all(self, headers: Headers) -> bool:
        """Whether the Authorization header has a token that opens every role."""
        return any(not roles for roles in self._matches(_bearer(headers)))

    def _matches(self, token: str) -> list[frozenset[str]]:
        """The roles of the tokens that this one equals."""
        given = _digest(token)
        # Comparing with all of them takes the same time for every token.
        return [roles for secret, roles in self._tokens if hmac.compare_digest(secret, given)]

    def trusts(self, headers: Headers) -> bool:
        """Whether the page of the Origin header may connect; programs send no such header."""
        origin = headers.get("Origin")
        if origin is None or self._origins & {ANY_ORIGIN, origin.lower()}:
            return True
        page, host = _host(origin), _requested(headers)
        own = page == host and self.answers_to(headers)
        return bool(page) and (own or (is_loopback(page) and is_loopback(host)))

    def answers_to(self, headers: Headers) -> bool:
        """Whether the server's own page may be used under the requested host name.

        A server without tokens answers to private addresses and local names only. The owner of a
        public name could point it at this machine, and a visitor's browser would then connect as if
        to that owner's own page (DNS rebinding; compare TrustedHost elsewhere).
        """
        if not self.is_open or ANY_ORIGIN in self._origins:
            return True
        host = _requested(headers)
        return host in self._names or _is_local(host)


def check_bind(host: str, access: Access, *, public: bool) -> None:
    """Refuses to serve other machines without a token by accident.

    Raises:
        ServeError: the address is public, no token is needed, and `public` is not set.
    """
    if access.is_open and not public and not is_loopback(host):
        raise ServeError(
            f"{host} can be reached from other machines, and without a token anybody could use it: "
            "give --token or --token-file, or --allow-anyone if that is meant"
        )


def is_loopback(host: str) -> bool:
    """Whether a host name or an address means this machine only."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host.lower() == "localhost"


def _is_local(host: str) -> bool:
    """Whether a host is a private address, or a name that only the local network resolves.

    A name without a dot may be public: `ai` is one.
    """
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return host in ("localhost", _OWN_NAME) or host.endswith(".local")
    return not address.is_global


def _origin(text: str) -> str:
    origin = text.rstrip("/").lower()
    if origin not in (ANY_ORIGIN, "null") and not _ORIGIN.fullmatch(origin):
        raise ServeError(f"{text!r} is no page's origin: write it as https://app.example, or '*'")
    return origin


def _requested(headers: Headers) -> str:
    """The host name in a request's Host header."""
    return _host(f"//{headers.get('Host', '')}")


def _host(url: str) -> str:
    """The host name or address in a URL; empty if there is none."""
    try:
        return urlsplit(url).hostname or ""
    except ValueError:  # brackets that do not close
        return ""


def _bearer(headers: Headers) -> str:
    """The token in the Authorization header; empty if there is none."""
    scheme, _, bearer = headers.get("Authorization", "").partition(" ")
    return bearer.strip() if scheme.lower() == "bearer" else ""


def _digest(secret: str) -> bytes:
    return hashlib.sha256(secret.encode()).digest()
