"""Checks a client's first message, in the same way at both ends."""

from __future__ import annotations

import re

from xyt_stream.protocol import messages
from xyt_stream.protocol.error_table import protocol_error
from xyt_stream.protocol.messages import Hello
from xyt_stream.protocol.roles import ROLES

_HASH = re.compile("[0-9a-f]{64}")


def check_hello(hello: Hello) -> None:
    """Checks the fields of `hello` against each other and against the role.

    Raises:
        ProtocolError: unknown_role, bad_message, not_allowed or unsupported_format.
    """
    role = ROLES.get(hello.role)
    if role is None:
        raise protocol_error("unknown_role", f"There is no such role: use {', '.join(ROLES)}.")
    if role.in_room not in ("may", "no" if hello.room is None else "yes"):
        verb = "must" if role.in_room == "yes" else "may not"
        raise protocol_error("bad_message", f"A {role.name} {verb} name a room.")
    if hello.room is not None and not 0 < len(hello.room) <= messages.MAX_NAME:
        raise protocol_error(
            "bad_message", f"A room's name has 1 to {messages.MAX_NAME} characters."
        )
    if hello.voice is not None and (role.name != "speaker" or hello.voice not in ("user", "model")):
        raise protocol_error("bad_message", "Only a speaker may ask for a voice: user or model.")
    if hello.send is not None and hello.send not in role.may_send:
        raise protocol_error(
            "not_allowed", f"A {role.name} may send: {', '.join(role.may_send) or 'nothing'}."
        )
    if not set(hello.receive or ()) <= set(role.may_receive):
        raise protocol_error(
            "not_allowed", f"A {role.name} may receive: {', '.join(role.may_receive) or 'nothing'}."
        )
    send = role.default_send if hello.send is None else hello.send
    receive = role.default_receive if hello.receive is None else hello.receive
    kinds = {*receive, send} - {None}
    if "sealed" in kinds and kinds != {"sealed"}:
        raise protocol_error("not_allowed", "Sealed media go with no other kind, either way.")
    if "sealed" in kinds and role.name == "user" and hello.room is None:
        raise protocol_error(
            "not_allowed", "Only a model in a room can have its key: name that room."
        )
    if hello.model_hash is not None and not _HASH.fullmatch(hello.model_hash):
        raise protocol_error("bad_message", "A model's hash is 64 hexadecimal digits.")
    _check_shape(hello)
    for rate in (hello.send_rate, hello.receive_rate):
        if rate is not None and rate not in messages.RATES:
            rates = ", ".join(map(str, messages.RATES))
            raise protocol_error("unsupported_format", f"{rate} Hz is none of {rates} Hz.")
    if hello.format != messages.PCM_FORMAT:
        raise protocol_error(
            "unsupported_format", f"The format of sound must be {messages.PCM_FORMAT}."
        )


def _check_shape(hello: Hello) -> None:
    for name, value, least, most in (
        ("codebooks", hello.codebooks, 1, messages.MAX_CODEBOOKS),
        ("codebook_size", hello.codebook_size, 2, messages.MAX_CODEBOOK_SIZE),
    ):
        if value is not None and (hello.model_hash is None or not least <= value <= most):
            raise protocol_error(
                "bad_message", f"{name} is {least} to {most}, of the model that model_hash names."
            )
