"""Lists every error that can end a session; docs/protocol.md repeats this table."""

from __future__ import annotations

from dataclasses import dataclass

from xyt_stream.errors import ProtocolError


@dataclass(frozen=True)
class ErrorRow:
    """One row: the error's name, its websocket close code and a sentence for the user."""

    name: str
    close_code: int
    sentence: str


_ROWS = (
    ErrorRow("bad_message", 4400, "The message is not one of xyt.v1."),
    ErrorRow("unauthorized", 4401, "The server requires a valid token."),
    ErrorRow("forbidden", 4403, "This token does not allow this role."),
    ErrorRow("unknown_role", 4404, "There is no such role."),
    ErrorRow("not_allowed", 4405, "The message is not allowed here and now."),
    ErrorRow("wrong_subprotocol", 4406, "Ask for the websocket subprotocol xyt.v1."),
    ErrorRow("hello_timeout", 4408, "No hello came in time."),
    ErrorRow("room_has_mic", 4409, "The room already has a mic."),
    ErrorRow("cannot_resume", 4410, "There is no session to resume: start a new one."),
    ErrorRow("superseded", 4411, "The session continues on a newer connection."),
    ErrorRow("bad_sequence", 4412, "A message was lost, repeated or numbered wrongly."),
    ErrorRow("room_full", 4413, "The room is full, or there are too many rooms."),
    ErrorRow("unsupported_format", 4415, "The server does not speak this sample rate or format."),
    ErrorRow("room_has_user", 4416, "The room already has a user."),
    ErrorRow("room_has_model", 4417, "The room already has a model."),
    ErrorRow("room_sealed", 4418, "The room is encrypted end to end: join it with its key."),
    ErrorRow("room_not_sealed", 4419, "The room is not encrypted: join it without a key."),
    ErrorRow("bad_audio", 4422, "The payload is no whole number of 16-bit samples."),
    ErrorRow("bad_codes", 4423, "The payload is no whole number of frames, or a code is too big."),
    ErrorRow("wrong_model", 4424, "The codes belong to another model than the server's."),
    ErrorRow("no_codec", 4425, "The server passes on codes only: use a client with the codec."),
    # Clients find this one: a server cannot.
    ErrorRow("bad_seal", 4426, "What came was sealed with another key, altered or repeated."),
    ErrorRow("hello_expected", 4428, "The first message must be hello."),
    ErrorRow("too_many", 4429, "Too much from this address at once: slow down."),
    ErrorRow("idle", 4430, "Nothing was sent for too long."),
    ErrorRow("time_over", 4431, "The session has lasted as long as the server allows."),
    ErrorRow("too_many_messages", 4432, "You send more messages a second than the server accepts."),
    ErrorRow("too_many_bytes", 4433, "You send more bytes a second than the server accepts."),
    ErrorRow("too_much_work", 4434, "What you send takes more work than the server accepts."),
    ErrorRow("too_much_memory", 4435, "Too much waits in this session: read, or send, less."),
    ErrorRow("moved", 4436, "The session is at another node: resume it there."),
    ErrorRow("internal", 4500, "The server failed; its log has the reason."),
    ErrorRow("busy", 4503, "Every slot is taken: try again later."),
    ErrorRow("going_away", 1012, "The server is shutting down: try again in a moment."),
    # The websocket library itself closes with 1009 before the message is read; no `error` precedes.
    ErrorRow("too_large", 1009, "The message is larger than the server accepts."),
)

ERRORS = {row.name: row for row in _ROWS}
BY_CLOSE_CODE = {row.close_code: row for row in _ROWS}


def protocol_error(
    name: str,
    detail: str | None = None,
    *,
    retry_after: float | None = None,
    node: str | None = None,
) -> ProtocolError:
    """Makes the error of that name; `detail` replaces the table's sentence.

    Args:
        retry_after: seconds after which the client may try again; None: retrying is no use.
        node: name of the server that has the session.
    """

    row = ERRORS[name]
    return ProtocolError(name, detail or row.sentence, row.close_code, retry_after, node)
