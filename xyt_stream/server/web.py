"""The browser page: its files, read once, and what browsers may do with them."""

from __future__ import annotations

from http import HTTPStatus
from pathlib import Path

from websockets.datastructures import Headers
from websockets.http11 import Response

FOLDER = Path(__file__).parents[1] / "web"  # in a checkout a link to client/web

_KINDS = {
    ".html": "text/html; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
}

# Scripts, styles and connections of its own and nothing else; 'self' takes in the websocket.
_POLICY = "; ".join(
    [
        "default-src 'none'",
        *(f"{kind}-src 'self'" for kind in ("script", "style", "img", "connect")),
        *(f"{what} 'none'" for what in ("base-uri", "form-action", "frame-ancestors")),
        "require-trusted-types-for 'script'",
        "trusted-types 'none'",
    ]
)

_HEADERS = {
    "Cache-Control": "no-cache",
    "Connection": "close",
    "Content-Security-Policy": _POLICY,
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "microphone=(self), speaker-selection=(self), camera=(), geolocation=()",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}


def _read() -> dict[str, tuple[str, bytes]]:
    """Content types and bytes by path; no other path leads to any file."""
    files = {
        f"/{file.name}": (_KINDS[file.suffix], file.read_bytes())
        for file in FOLDER.iterdir()
        if file.suffix in _KINDS
    }
    return {"/": files.pop("/index.html"), **files}


_FILES = _read()


def file(path: str) -> Response | None:
    """The page's file at a path; None if it has none there."""
    if path not in _FILES:
        return None
    kind, body = _FILES[path]
    size = {"Content-Type": kind, "Content-Length": str(len(body))}
    return Response(HTTPStatus.OK.value, HTTPStatus.OK.phrase, Headers({**_HEADERS, **size}), body)
