"""Runs the server under load in a process of its own, with or without a real codec."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from multiprocessing.connection import Connection as Pipe

import torch
from torch import Tensor

from xyt_stream.server.admission.limits import Limits
from xyt_stream.server.app import running
from xyt_stream.server.event_loop import run_fast
from xyt_stream.streaming.codec import Codec

NO_MODEL = "none"


class _NoSteps:
    """An encoder or decoder whose steps take no time.

    Args:
        result: what every step returns, [slots, ...].
    """

    lead = delay_samples = 0
    delay = 0.0

    def __init__(self, result: Tensor) -> None:
        self._result = result

    def step(self, _: Tensor, active: Tensor, chosen: Tensor | None = None) -> Tensor:
        return self._result[: len(active)]

    def tail(self) -> Tensor:
        return self._result[:, :0].float()

    def reset(self, mask: Tensor | None = None) -> None:
        pass

    def move(self, source: int, target: int) -> None:
        pass


class _NoCodec(Codec):
    """Has the default model's rates and shapes, and computes nothing."""

    def stream_encoder(self, slots: int = 1, lookahead: int = 0) -> _NoSteps:  # type: ignore[override]
        return _NoSteps(torch.zeros(slots, self.num_codebooks, dtype=torch.int64))

    def stream_decoder(self, slots: int = 1, lookahead: int = 0) -> _NoSteps:  # type: ignore[override]
        return _NoSteps(torch.zeros(slots, self.frame_samples_out))


def no_codec() -> Codec:
    """Returns the codec of `--model none`."""
    return _NoCodec.load()


def run_server(
    pipe: Pipe,
    model: str | None,
    slots: int,
    device: str,
    lookahead: int,
    threads: int,
    dtype: torch.dtype,
) -> None:
    """Sends the server's address through the pipe and serves until a message comes back."""
    torch.set_num_threads(threads)
    _allow_descriptors()
    codec = no_codec() if model == NO_MODEL else Codec.load(model, device=device, dtype=dtype)
    run_fast(_serve(pipe, codec, slots, lookahead))


async def _serve(pipe: Pipe, codec: Codec, slots: int, lookahead: int) -> None:
    # All clients share one address and start at once.
    limits = Limits(address_sessions=0, address_joins=0, address_handshakes=0)
    async with running(codec, max_sessions=slots, lookahead=lookahead, limits=limits) as server:
        pipe.send(server.url)
        await asyncio.to_thread(pipe.recv)


def _allow_descriptors() -> None:
    """Raises this process's limit of open descriptors as far as it may: each session takes one."""
    try:
        import resource
    except ModuleNotFoundError:  # not on every platform
        return
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with suppress(ValueError, OSError):  # a platform may refuse "no limit"
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
