"""Loads a server on a device with real clients: the engine's path, from socket to socket."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from xyt_stream.bench.load import LoadResult, measure, own_server
from xyt_stream.bench.speech import speech_or_noise
from xyt_stream.errors import ServeError
from xyt_stream.model import checkpoint
from xyt_stream.model.tokenizer import Tokenizer


def save_for_server(network: Tokenizer, folder: Path) -> str:
    """Writes a network in bfloat16 for the server's process to load; returns its path."""
    path = folder / "model.safetensors"
    checkpoint.save(network, path, torch.bfloat16)
    return str(path)


def serve_clients(
    model: str | None, device: torch.device, dtype: torch.dtype, *, sessions: int, seconds: float
) -> LoadResult | str:
    """Starts a server with as many slots as clients, which all speak in real time.

    Args:
        model: as for `Codec.load`.

    Returns:
        What the clients saw; or the reason why nothing was served, for example too little memory.
    """
    pcm = speech_or_noise(None)
    try:
        with own_server(model, slots=sessions, device=str(device), dtype=dtype) as target:
            return measure(target, pcm, sessions=sessions, seconds=seconds)
    except ServeError as error:
        return str(error)


def in_words(result: LoadResult) -> str:
    """The figures of a load in one line."""
    times, parts = result.turnaround_ms, [f"{result.frames} frames"]
    parts.append(f"{result.lost_frames} lost, {result.late_frames} late")
    parts.append(f"turnaround p50 {times['p50']:.1f}, p99 {times['p99']:.1f} ms")
    if result.step_ms is not None:
        step: dict[str, Any] = result.step_ms
        parts.append(f"server step {step['median']:.1f}, p99 {step['p99']:.1f} ms")
    if result.server_cpu is not None:
        parts.append(f"server {result.server_cpu:.2f} processors")
    return ", ".join(parts)
