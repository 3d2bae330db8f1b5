"""Makes errors and error events, with OpenAI's codes and messages where clients compare them."""

from __future__ import annotations

import secrets

import msgspec

from xyt_stream.errors import EventError, ProtocolError

_SERVER_ERRORS = {"internal", "busy", "going_away"}


def describe(
    code: str, message: str, param: str | None = None, event_id: str | None = None
) -> dict[str, str | None]:
    """The field "error" of an error event."""
    return {
        "type": "server_error" if code in _SERVER_ERRORS else "invalid_request_error",
        "code": code,
        "message": message,
        "param": param,
        "event_id": event_id,
    }


def error_event(error: ProtocolError) -> str:
    """The JSON of the only event of a session that cannot begin."""
    event_id = f"event_{secrets.token_hex(10)}"
    event = {"type": "error", "event_id": event_id, "error": describe(error.name, str(error))}
    return msgspec.json.encode(event).decode()


def active_response(response_id: str) -> EventError:
    """The error for `response.create` during a response."""
    return EventError(
        "conversation_already_has_active_response",
        f"Conversation already has an active response in progress: {response_id}. "
        "Wait until the response is finished before creating a new one.",
    )


def no_active_response() -> EventError:
    """The error for `response.cancel` without a response; LiveKit compares its first words."""
    return EventError("response_cancel_not_active", "Cancellation failed: no active response found")


def buffer_too_small(seconds: float, least: float) -> EventError:
    """The error for a commit of too little audio."""
    return EventError(
        "input_audio_buffer_commit_empty",
        "Error committing input audio buffer: buffer too small. Expected at least "
        f"{least * 1e3:.0f}ms of audio, but buffer only has {seconds * 1e3:.2f}ms of audio.",
    )
