"""Answers a client's hello: the media, the rates and the model of its session."""

from __future__ import annotations

import msgspec

from xyt_stream.audio import FRAME_SECONDS
from xyt_stream.protocol.error_table import protocol_error
from xyt_stream.protocol.messages import Hello, Model, Ready
from xyt_stream.protocol.roles import ROLES
from xyt_stream.server.engine.relay import no_codec
from xyt_stream.server.sessions.resources import Resources


def answer(resources: Resources, hello: Hello, session: str) -> Ready:
    """The server's answer to a hello.

    Args:
        resources: of the server.
        hello: the client's, checked.
        session: its id.

    Raises:
        ProtocolError: wrong_model; no_codec: the client sends or wants sound of a relay;
            room_sealed, room_not_sealed: the room's members and the client differ.
    """
    role, model = ROLES[hello.role], _model(resources, hello)
    send = role.default_send if hello.send is None else hello.send
    receive = role.default_receive if hello.receive is None else hello.receive
    if not resources.engine.has_codec and (send == "pcm" or "pcm" in receive):
        raise no_codec()
    sealed = resources.rooms.sealed(hello.room)
    if sealed is not None and sealed != ("sealed" in (send, *receive)):
        raise protocol_error("room_sealed" if sealed else "room_not_sealed")
    return Ready(
        session=session,
        role=role.name,
        room=hello.room,
        send=send,
        receive=receive,
        send_rate=hello.send_rate or model.input_rate,
        receive_rate=hello.receive_rate or model.output_rate,
        frame_ms=FRAME_SECONDS * 1e3,
        delay_ms=resources.delay,
        model=model,
        node=resources.node,
    )


def is_sealed(ready: Ready) -> bool:
    """Whether a session's codes are sealed, so that nobody but its clients reads them."""
    return "sealed" in (ready.send, *ready.receive)


def is_relayed(ready: Ready) -> bool:
    """Whether a session carries codes only."""
    return ready.send != "pcm" and "pcm" not in ready.receive


def _model(resources: Resources, hello: Hello) -> Model:
    """The model whose codes the session carries: the room's, if there is one already.

    Raises:
        ProtocolError: wrong_model.
    """
    agreed = resources.rooms.model_in(hello.room)
    model = agreed or resources.model
    shape = {
        "codebooks": hello.codebooks or model.codebooks,
        "codebook_size": hello.codebook_size or model.codebook_size,
    }
    if hello.model_hash in (None, model.hash):
        if msgspec.structs.replace(model, **shape) == model:
            return model
        fewer = shape["codebooks"] < model.codebooks
        if hello.role == "decode" and fewer and shape["codebook_size"] == model.codebook_size:
            return msgspec.structs.replace(model, codebooks=shape["codebooks"])
    elif agreed is None and not resources.engine.has_codec:  # a relay never looks into codes
        return msgspec.structs.replace(model, name="another", hash=hello.model_hash, **shape)
    raise protocol_error("wrong_model", f"The codes here are those of {model.name}, {model.hash}.")
