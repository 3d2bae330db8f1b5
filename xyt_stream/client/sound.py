"""Opens live sessions that take and give sound, whether the codec runs here or on the server."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any, Literal, TypeAlias

from xyt_stream.audio import INPUT_RATE
from xyt_stream.client.codec import LocalCodec
from xyt_stream.client.coding_connection import CodingConnection
from xyt_stream.client.live import live
from xyt_stream.client.server_codec import ServerCodec
from xyt_stream.client.sound_connection import SoundConnection
from xyt_stream.errors import (
    MissingExtraError,
    ModelError,
    ProtocolError,
    RoomKeyError,
    XYTError,
)

SENDERS = ("mic", "loopback", "user")  # the roles that send sound
_ON_SERVER = ("wrong_model", "unsupported_format")  # errors that another place of the codec mends
Place: TypeAlias = Literal["auto", "here", "server"]  # where the codec runs


@asynccontextmanager
async def open_sound(
    url: str,
    role: str,
    *,
    codec: Place,
    model: Path | None = None,
    receive: Sequence[str] | None = None,
    fill: bool = False,
    frames_a_message: int = 1,
    **options: Any,
) -> AsyncIterator[SoundConnection]:
    """Opens a live session.

    Args:
        url, role: as for `connect`.
        codec: where it runs; auto: here if it can, else on the server, also from the moment on at
            which the one here falls behind for good.
        model: folder of the exported model that runs here; None: the one in the package.
        receive: the media to ask for if the codec runs on the server.
        fill: whether to yield silence where the other side says nothing.
        frames_a_message: frames of codes that are sent together, if the codec runs here.
        options: as for `live`.

    Raises:
        RoomKeyError: the key is too short, or the codec is to run on the server.
        XYTError: several frames are to share a message, and the codec is to run on the server.
        MissingExtraError, ModelError: the codec cannot run here, where it must; `model` is none,
            or the codec is to run on the server.
        ConnectionFailedError, ProtocolError: as `live`.
    """
    reason = ""
    if codec == "server" and options.get("key"):
        raise RoomKeyError("A key needs the codec here: leave --codec server out.")
    if codec == "server" and frames_a_message > 1:
        raise XYTError("--frames-a-message needs the codec here: leave --codec server out")
    if codec == "server" and model is not None:
        raise ModelError("--model runs the codec here: leave --codec server out")
    async with AsyncExitStack() as stack:
        if codec != "server":
            try:
                here = await _open_here(
                    stack, url, role, codec, model, fill, frames_a_message, options
                )
            except (MissingExtraError, ModelError, ProtocolError) as error:
                other = isinstance(error, ProtocolError) and error.name not in _ON_SERVER
                unusable = model is not None and isinstance(error, ModelError)
                if codec == "here" or options.get("key") or other or unusable:
                    raise
                reason = f"The codec runs on the server: {error}"
            else:
                yield here
                return
        options = {**options, "send_rate": INPUT_RATE} if role in SENDERS else options
        connection = await stack.enter_async_context(live(url, role, receive=receive, **options))
        yield SoundConnection(connection, reason)


async def _open_here(
    stack: AsyncExitStack,
    url: str,
    role: str,
    place: Place,
    model: Path | None,
    fill: bool,
    frames_a_message: int,
    options: dict[str, Any],
) -> SoundConnection:
    codec = await LocalCodec.load(model)
    stack.callback(codec.close)
    sends = role in SENDERS
    connection = await stack.enter_async_context(
        live(
            url,
            role,
            send="codes" if sends else None,
            receive=() if role == "mic" else ("codes",),
            model_hash=codec.hash,
            codebooks=codec.num_codebooks,
            codebook_size=codec.codebook_size,
            **options,
        )
    )
    open_server = None
    if place == "auto" and not options.get("key"):
        access: dict[str, Any] = {name: options.get(name) for name in ("token", "fingerprint")}
        open_server = partial(
            ServerCodec.open,
            url,
            encodes=sends,
            decodes=role != "mic",
            model_hash=codec.hash,
            **access,
        )
    coding = CodingConnection(connection, codec, fill, frames_a_message, open_server)
    stack.push_async_callback(coding.close)
    return coding
