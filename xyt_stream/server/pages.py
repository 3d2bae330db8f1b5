"""Answers plain HTTP on the websocket's port: health, metrics, info and the browser page."""

from __future__ import annotations

import math
from http import HTTPStatus
from pathlib import Path
from typing import Any

import msgspec
from prometheus_client import CONTENT_TYPE_LATEST
from websockets.datastructures import Headers
from websockets.http11 import Request, Response

from xyt_stream.audio import FRAME_SECONDS
from xyt_stream.protocol.messages import SUBPROTOCOL
from xyt_stream.protocol.place import place_in
from xyt_stream.server.admission.sockets import Socket
from xyt_stream.server.engine.engine import BUSY_RETRY
from xyt_stream.server.service import Service

OWN_ADDRESS = (
    "Without a token this server is used under its address or localhost, not under this name: "
    "open that, or start it with a token or with --origin."
)

FOLDER = Path(__file__).parents[1] / "web"  # in a checkout, a link to client/web

_KINDS = {
    ".html": "text/html; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
}

# The page may load scripts, styles and images from this server only, and connect to it only.
_POLICY = "; ".join(
    [
        "default-src 'none'",
        *(f"{kind}-src 'self'" for kind in ("script", "style", "img", "connect")),
        *(f"{kind} 'none'" for kind in ("base-uri", "form-action", "frame-ancestors")),
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


def answer(service: Service, socket: Socket, request: Request) -> Response | None:
    """Answers a request; None: it asks for a websocket, which is allowed."""
    response = _answer(service, socket, request)
    if response is not None and not socket.wants_body:
        response.body = b""  # its length stays in the header
    return response


def _answer(service: Service, socket: Socket, request: Request) -> Response | None:
    if "websocket" in request.headers.get("Upgrade", "").lower():
        if not service.access.trusts(request.headers):
            return _text(HTTPStatus.FORBIDDEN, "This page may not connect: see --origin.")
        reason = service.turns_away(place_in(request.path))
        if reason is None:
            return None
        refused = _text(HTTPStatus.SERVICE_UNAVAILABLE, f"{reason}: try another node.")
        refused.headers["Retry-After"] = str(math.ceil(BUSY_RETRY))
        return refused
    path = request.path.partition("?")[0]
    if path == "/healthz":
        stopped = service.what_has_stopped()
        if stopped is None:
            return _text(HTTPStatus.OK, "ok")
        return _text(HTTPStatus.INTERNAL_SERVER_ERROR, stopped)
    if path == "/readyz":
        reason = service.why_not_ready()
        if reason is None:
            return _text(HTTPStatus.OK, "ready")
        return _text(HTTPStatus.SERVICE_UNAVAILABLE, reason)
    if path in ("/metrics", "/info") and not service.may_observe(socket):
        refused = _text(HTTPStatus.UNAUTHORIZED, "Give a token: Authorization: Bearer TOKEN.")
        refused.headers["WWW-Authenticate"] = "Bearer"
        return refused
    if path == "/metrics":
        return _page(HTTPStatus.OK, service.metrics.page(), CONTENT_TYPE_LATEST)
    if path == "/info":
        return _page(HTTPStatus.OK, msgspec.json.encode(_info(service)), "application/json")
    if path == "/" and not service.access.answers_to(request.headers):
        return _text(HTTPStatus.FORBIDDEN, OWN_ADDRESS)
    return _file(path) or _text(HTTPStatus.NOT_FOUND, "There is no such page.")


def _info(service: Service) -> dict[str, Any]:
    """Describes the server, for /info."""
    engine, resources = service.engine, service.resources
    return {
        "protocol": SUBPROTOCOL,
        "node": service.node,
        "model": msgspec.to_builtins(resources.model),
        "delay_ms": msgspec.to_builtins(resources.delay),
        "frame_ms": FRAME_SECONDS * 1e3,
        "codec": engine.has_codec,
        "slots": engine.slots,
        "duplex": service.runner is not None,
        "slots_free": engine.free_slots,
        "load": service.load,
        "answer_ms": engine.timings.answer_ms(),
        "token_needed": not service.access.is_open,
        "message_bytes": service.limits.message_bytes,
    }


def _text(status: HTTPStatus, line: str) -> Response:
    return _page(status, f"{line}\n".encode(), "text/plain; charset=utf-8")


def _page(status: HTTPStatus, body: bytes, kind: str) -> Response:
    headers = Headers(
        {
            "Content-Type": kind,
            "Content-Length": str(len(body)),
            "Cache-Control": "no-store",
            "Connection": "close",
        }
    )
    return Response(status.value, status.phrase, headers, body)


def _read() -> dict[str, tuple[str, bytes]]:
    """Reads the page's files: content types and bytes by path. No other path leads to a file."""
    files = {
        f"/{file.name}": (_KINDS[file.suffix], file.read_bytes())
        for file in FOLDER.iterdir()
        if file.suffix in _KINDS
    }
    return {"/": files.pop("/index.html"), **files}


_FILES = _read()


def _file(path: str) -> Response | None:
    """The page's file at a path; None if there is none."""
    if path not in _FILES:
        return None
    kind, body = _FILES[path]
    size = {"Content-Type": kind, "Content-Length": str(len(body))}
    return Response(HTTPStatus.OK.value, HTTPStatus.OK.phrase, Headers({**_HEADERS, **size}), body)
