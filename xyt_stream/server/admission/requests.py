"""Looks at requests before the websockets library, which would drop some or trip over them."""

from __future__ import annotations

import re
from collections import Counter
from http import HTTPStatus

_END = b"\r\n\r\n"  # of a request's head
_MAX_HEAD = 1 << 16  # bytes of a request's first line and headers
_MAX_LINE = 8192  # bytes of one line; the websockets library has the same limit
_MAX_HEADERS = 128  # likewise

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


class Head:
    """The head of a connection's request, while it arrives.

    Attributes:
        seen: whether it was looked at, whole; also where what has come is no request at all.
        size: bytes of it.
        wants_body: whether an HTTP answer is to have its body.
        posts: whether the request is a POST, which the websockets library takes for a GET.
    """

    def __init__(self) -> None:
        self.seen = False
        self.size = 0
        self.wants_body = True
        self.posts = False

    def look(self, data: bytearray, grown: int) -> bytes | None:
        """Looks at what has come; changes the method to the one that the library parses.

        Args:
            data: all of it.
            grown: bytes of it that have just come.

        Returns:
            The answer to a request that is refused by its head alone; empty: it is too long to
            be answered; None: it goes on.
        """
        end = data.find(_END, max(0, len(data) - grown - len(_END) + 1))
        if (len(data) if end < 0 else end) > _MAX_HEAD:
            return b""
        if end < 0 and _looks_like_http(bytes(data[:_MAX_LINE])):
            return None
        self.seen = True
        self.size = end + len(_END)
        if end >= 0 and (answer := refusal(bytes(data[:end]))) is not None:
            return answer
        if data.startswith(b"HEAD "):
            self.wants_body = False
            data[:4] = b"GET"
        if data.startswith(b"POST "):
            self.posts = True
            data[:4] = b"GET"
        return None


def _looks_like_http(start: bytes) -> bool:
    """Whether bytes may be the beginning of a request, as far as they go."""
    line, found, _ = start.partition(b"\r\n")
    return line.rpartition(b" ")[2].startswith(b"HTTP/1.") if found else line[:1].isalpha()


def refusal(head: bytes) -> bytes | None:
    """The answer to a request that is refused by its head alone; None: it goes on.

    Args:
        head: the request's first line and headers.
    """
    if head.count(b"\r\n") > _MAX_HEADERS:  # checking thousands of them takes milliseconds
        too_many = f"The request has more than {_MAX_HEADERS} headers."
        return _answer(HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE, too_many)
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
