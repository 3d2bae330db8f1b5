"""Answers requests that the websockets library would drop unanswered, or trip over."""

from __future__ import annotations

import re
from collections import Counter
from http import HTTPStatus

END = b"\r\n\r\n"  # of a request's head

_METHODS = ("GET", "HEAD")
_POSTED = ("POST", "/drain")  # all that is posted
_SINGLE = (  # headers whose meaning is unclear if there are two
    "authorization",
    "content-length",
    "host",
    "origin",
    "sec-websocket-key",
    "sec-websocket-version",
    "upgrade",
)
# RFC 9112, sections 3 and 5: no control characters, no space before the colon, no folded lines.
_FIRST = re.compile(r"[!-~]+ [!-~]+ HTTP/1\.[01]")
_HEADER = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+:[\t -~\x80-\xff]*")


def looks_like_http(start: bytes) -> bool:
    """Whether bytes may be the beginning of a request, as far as they go."""
    line, found, _ = start.partition(b"\r\n")
    return line.rpartition(b" ")[2].startswith(b"HTTP/1.") if found else line[:1].isalpha()


def refusal(head: bytes) -> bytes | None:
    """The answer to a request that is refused by its head alone; None: it goes on.

    Args:
        head: the request's first line and headers.
    """
    first, *lines = head.decode("latin-1").split("\r\n")
    method, _, path = first.partition(" ")
    if method not in _METHODS and (method, path.partition(" ")[0]) != _POSTED:
        allow = f"Allow: {', '.join(_METHODS)}\r\n"
        return _answer(HTTPStatus.METHOD_NOT_ALLOWED, "Only GET and HEAD are served.", allow)
    if not _FIRST.fullmatch(first):
        return _answer(HTTPStatus.BAD_REQUEST, "The request's first line cannot be read.")
    if not all(_HEADER.fullmatch(line) for line in lines if line):
        return _answer(HTTPStatus.BAD_REQUEST, "A header of the request cannot be read.")
    pairs = [line.partition(":") for line in lines if line]
    names = Counter(name.strip().lower() for name, _, _ in pairs)
    twice = [name for name in _SINGLE if names[name] > 1]
    if twice:
        return _answer(HTTPStatus.BAD_REQUEST, f"There is more than one header {twice[0]}.")
    lengths = [value.strip() for name, _, value in pairs if name.lower() == "content-length"]
    if "transfer-encoding" in names or lengths not in ([], ["0"]):
        return _answer(HTTPStatus.BAD_REQUEST, "The request has a body: none is expected.")
    return None


def _answer(status: HTTPStatus, line: str, headers: str = "") -> bytes:
    body = f"{line}\n"
    return (
        f"HTTP/1.1 {status.value} {status.phrase}\r\n{headers}"
        f"Content-Type: text/plain; charset=utf-8\r\nContent-Length: {len(body)}\r\n"
        f"Cache-Control: no-store\r\nConnection: close\r\n\r\n{body}"
    ).encode()
