"""Answers plain HTTP on the websocket's port: health, metrics, info and the browser page."""

from __future__ import annotations

import asyncio
import gzip
import math
from functools import cache, partial
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
from xyt_stream.server import page_codec
from xyt_stream.server.admission.sockets import Socket
from xyt_stream.server.connection import is_handover, is_subscriber
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
    ".flac": "audio/flac",
}

# The page may load scripts, workers, styles and images from this server only, and connect to it
# only. It compiles the WebAssembly of its codec, and evaluates no text. Its one policy of trusted
# types, "codec", names the one worker that it starts; "default" is that worker's own, for threads.
_POLICY = "; ".join(
    [
        "default-src 'none'",
        "script-src 'self' 'wasm-unsafe-eval'",
        *(f"{kind}-src 'self'" for kind in ("worker", "style", "img", "connect")),
        *(f"{kind} 'none'" for kind in ("base-uri", "form-action", "frame-ancestors")),
        "require-trusted-types-for 'script'",
        "trusted-types codec default",
    ]
)

_HEADERS = {
    "Connection": "close",
    "Content-Security-Policy": _POLICY,
    # Both isolate the page from other origins, which lets its codec use threads.
    "Cross-Origin-Embedder-Policy": "require-corp",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "microphone=(self), speaker-selection=(self), camera=(), geolocation=()",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}


async def answer(service: Service, socket: Socket, request: Request) -> Response | None:
    """Answers a request; None: it asks for a websocket, which is allowed."""
    path, _, query = request.path.partition("?")
    piece = None if _wants_websocket(request) else page_codec.page_codec().find(path, query)
    if piece is None:
        response = _answer(service, socket, request)
    else:
        response = await _piece(*piece, packed=_takes_gzip(request))
    if response is not None and not socket.head.wants_body:
        response.body = b""  # its length stays in the header
    return response


def _answer(service: Service, socket: Socket, request: Request) -> Response | None:
    if _wants_websocket(request):
        if is_handover(request) or is_subscriber(request):
            return None  # its own protocol authenticates it
        if not service.access.trusts(request.headers):
            return _text(HTTPStatus.FORBIDDEN, "This page may not connect: see --origin.")
        place = place_in(request.path)
        reason = service.readiness.turns_away(place)
        if reason is None:
            if (room := service.readiness.room_kept_for(place)) is not None:
                socket.on_unused = partial(service.rooms.release, room)
            return None
        refused = _text(HTTPStatus.SERVICE_UNAVAILABLE, f"{reason}: try another node.")
        refused.headers["Retry-After"] = str(math.ceil(BUSY_RETRY))
        return refused
    path = request.path.partition("?")[0]
    if path == "/healthz":
        stopped = service.readiness.what_has_stopped()
        if stopped is None:
            return _text(HTTPStatus.OK, "ok")
        return _text(HTTPStatus.INTERNAL_SERVER_ERROR, stopped)
    if path == "/readyz":
        reason = service.readiness.why_not_ready()
        if reason is None:
            return _text(HTTPStatus.OK, "ready")
        return _text(HTTPStatus.SERVICE_UNAVAILABLE, reason)
    if path == "/drain":
        return _drain(service, socket)
    if path in ("/metrics", "/info") and not service.rights.may_observe(socket):
        refused = _text(HTTPStatus.UNAUTHORIZED, "Give a token: Authorization: Bearer TOKEN.")
        refused.headers["WWW-Authenticate"] = "Bearer"
        return refused
    if path == "/metrics":
        return _page(HTTPStatus.OK, service.metrics.page(), CONTENT_TYPE_LATEST)
    if path == "/info":
        return _page(HTTPStatus.OK, msgspec.json.encode(_info(service)), "application/json")
    if path == page_codec.LISTING:
        listing = page_codec.page_codec().listing(
            service.resources.model.hash, server_codes=service.engine.has_codec
        )
        return _page(HTTPStatus.OK, listing, "application/json")
    if path == "/" and not service.access.answers_to(request.headers):
        return _text(HTTPStatus.FORBIDDEN, OWN_ADDRESS)
    file = _file(path, packed=_takes_gzip(request))
    return file or _text(HTTPStatus.NOT_FOUND, "There is no such page.")


def _takes_gzip(request: Request) -> bool:
    """Whether the answer may be compressed; see RFC 9110, section 12.5.3."""
    offered = ",".join(request.headers.get_all("Accept-Encoding")).lower()
    found = {name.strip(): rest for name, _, rest in (e.partition(";") for e in offered.split(","))}
    weight = found.get("gzip", "q=0").replace(" ", "")
    return not (weight.startswith("q=0") and not weight[3:].strip(".0"))


def _wants_websocket(request: Request) -> bool:
    return "websocket" in request.headers.get("Upgrade", "").lower()


def _drain(service: Service, socket: Socket) -> Response:
    """Begins to send all sessions to other nodes; the process goes on until it is stopped."""
    if not socket.head.posts:
        refused = _text(HTTPStatus.METHOD_NOT_ALLOWED, "POST it.")
        refused.headers["Allow"] = "POST"
        return refused
    if not service.rights.may_drain(socket):
        return _text(HTTPStatus.FORBIDDEN, "Ask from this machine, or with a token for all roles.")
    service.start_drain()
    return _text(HTTPStatus.ACCEPTED, f"draining {len(service.sessions())} sessions")


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
        "duplex_model": service.duplex_name,
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


def _file(path: str, *, packed: bool) -> Response | None:
    """The page's file at a path; None if there is none."""
    if path not in _FILES:
        return None
    kind, body = _FILES[path]
    packed = packed and not kind.startswith("audio/")
    return _asset(kind, _compressed(body) if packed else body, packed=packed)


@cache
def _compressed(body: bytes) -> bytes:
    return gzip.compress(body, mtime=0)


async def _piece(file: page_codec.Shipped, number: int, *, packed: bool) -> Response:
    """A piece of a file of the codec, which never changes under its address."""
    forever = "public, max-age=31536000, immutable"
    try:
        body = await asyncio.to_thread(file.packed_piece, number) if packed else None
        if body is not None:
            return _asset(file.kind, body, forever, packed=True)
        return _asset(file.kind, await asyncio.to_thread(file.piece, number), forever)
    except OSError:
        return _text(HTTPStatus.NOT_FOUND, f"{file.path.name} is gone: start the server again.")


def _asset(kind: str, body: bytes, cache: str = "no-cache", *, packed: bool = False) -> Response:
    """A file's contents, with the page's rights.

    Args:
        kind: its content type.
        body: its contents.
        cache: how long the browser may keep it.
        packed: whether they are compressed.
    """
    own = {"Cache-Control": cache, "Content-Type": kind, "Content-Length": str(len(body))}
    own |= {"Vary": "Accept-Encoding"}
    own |= {"Content-Encoding": "gzip"} if packed else {}
    return Response(HTTPStatus.OK.value, HTTPStatus.OK.phrase, Headers({**_HEADERS, **own}), body)
