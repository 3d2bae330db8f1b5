"""Refuses handshakes for OpenAI's other kinds of session, each with a code of its own."""

from __future__ import annotations

from urllib.parse import parse_qs, urlsplit

from websockets.datastructures import Headers

from xyt_stream.errors import ProtocolError

_NOT_SUPPORTED = 4405  # close code, as of `not_allowed`
_BETA = 4000  # close code, OpenAI's


def check_handshake(path: str, headers: Headers) -> None:
    """Checks that a handshake asks for a conversation over this websocket.

    Args:
        path: of the request, with its query.

    Raises:
        ProtocolError: it asks for the beta, for transcription or for a call.
    """
    query = parse_qs(urlsplit(path).query, keep_blank_values=True)
    offered = ",".join(headers.get_all("Sec-WebSocket-Protocol"))
    beta = ",".join(headers.get_all("OpenAI-Beta"))
    if "realtime=" in beta or "openai-beta.realtime" in offered:
        raise ProtocolError(
            "beta_api_shape_disabled",
            "The Realtime Beta API is not supported: leave out the OpenAI-Beta header, and use the "
            "events of the generally available API.",
            _BETA,
        )
    if "call_id" in query:
        raise ProtocolError(
            "call_id_not_supported",
            "There are no calls here to attach to: connect without call_id.",
            _NOT_SUPPORTED,
        )
    if set(query.get("intent", [])) - {"", "conversation", "realtime"}:
        raise ProtocolError(
            "transcription_not_supported",
            "There is no transcription here, only conversation: connect without intent.",
            _NOT_SUPPORTED,
        )
