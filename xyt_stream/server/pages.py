"""Plain HTTP on the websocket's port: the page, is it alive, is it ready, its figures, its name."""

from __future__ import annotations

from http import HTTPStatus

import msgspec
from prometheus_client import CONTENT_TYPE_LATEST
from websockets.datastructures import Headers
from websockets.http11 import Request, Response

from xyt_stream.server import web
from xyt_stream.server.service import Service

OWN_ADDRESS = (
    "Without a token this server is used under its address or localhost, not under this name: "
    "open that, or start it with a token or with --origin."
)


def answer(service: Service, request: Request) -> Response | None:
    """The page that was asked for; None if the request is for a websocket."""
    if "websocket" in request.headers.get("Upgrade", "").lower():
        if service.access.trusts(request.headers):
            return None
        return _text(HTTPStatus.FORBIDDEN, "This page may not connect: see --origin.")
    path = request.path.partition("?")[0]
    if path == "/healthz":
        if service.engine.alive:
            return _text(HTTPStatus.OK, "ok")
        return _text(HTTPStatus.INTERNAL_SERVER_ERROR, "the engine has stopped")
    if path == "/readyz":
        reason = service.why_not_ready()
        if reason is None:
            return _text(HTTPStatus.OK, "ready")
        return _text(HTTPStatus.SERVICE_UNAVAILABLE, reason)
    if path == "/metrics":
        return _page(HTTPStatus.OK, service.metrics.page(), CONTENT_TYPE_LATEST)
    if path == "/info":
        return _page(HTTPStatus.OK, msgspec.json.encode(service.info()), "application/json")
    if path == "/" and not service.access.answers_to(request.headers):
        return _text(HTTPStatus.FORBIDDEN, OWN_ADDRESS)
    return web.file(path) or _text(HTTPStatus.NOT_FOUND, "There is no such page.")


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
