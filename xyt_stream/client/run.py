"""Runs the commands mic, play, loopback and talk, each until its input ends or Ctrl-C."""

from __future__ import annotations

import asyncio
import time
from contextlib import closing
from pathlib import Path

from xyt_stream.client.devices import Loudspeaker, Microphone
from xyt_stream.client.files import FileSink, FileSource
from xyt_stream.client.interrupts import interruptible
from xyt_stream.client.meters import Meters
from xyt_stream.client.report import LoopbackReport, Recorder, WireReport
from xyt_stream.client.sound import Place, open_sound
from xyt_stream.client.sound_connection import SoundConnection
from xyt_stream.client.sound_tasks import (
    Sink,
    Source,
    alongside,
    end_on,
    receive,
    receive_nothing,
    send,
    watch,
)
from xyt_stream.standard_streams import target_name


async def run_mic(
    url: str,
    room: str,
    *,
    token: str | None = None,
    key: str | None = None,
    fingerprint: str | None = None,
    codec: Place = "auto",
    model: Path | None = None,
    frames_a_message: int = 1,
    input_device: str | None = None,
    input_file: Path | None = None,
) -> WireReport:
    """Sends a microphone or a file into a room.

    Args:
        key: of an encrypted room, which the server cannot hear; None: it is not encrypted.
        fingerprint: of the server's certificate, the only one to trust; see `connect`.
        codec: the place where it runs.
        model: folder of the exported model that runs here; None: the one in the package.
        frames_a_message: frames of codes that are sent together, if the codec runs here.

    Raises:
        XYTError: for each of its subclasses, the message is one sentence for the user.
    """
    with closing(_source(input_device, input_file)) as source, interruptible(source.stop):
        async with open_sound(
            url,
            "mic",
            codec=codec,
            model=model,
            frames_a_message=frames_a_message,
            room=room,
            token=token,
            key=key,
            fingerprint=fingerprint,
        ) as connection:
            with Meters(f"mic in {room}", source.seconds) as meters:
                meters.note(connection.reason)
                started = time.monotonic()
                await alongside(
                    receive_nothing(connection, meters),
                    send(connection, source, meters),
                    watch(connection, meters),
                )
                return _wire(connection, started)


async def run_play(
    url: str,
    room: str,
    *,
    token: str | None = None,
    key: str | None = None,
    fingerprint: str | None = None,
    codec: Place = "auto",
    model: Path | None = None,
    output_device: str | None = None,
    output_file: Path | None = None,
) -> WireReport:
    """Plays a room on a device or into a file, until its mic ends.

    Raises:
        XYTError: as `run_mic`.
    """
    stop = asyncio.Event()
    with interruptible(stop.set):
        async with open_sound(
            url,
            "speaker",
            codec=codec,
            model=model,
            room=room,
            token=token,
            key=key,
            fingerprint=fingerprint,
        ) as connection:
            rate = connection.ready.receive_rate
            with (
                closing(_sink(output_device, output_file, rate)) as sink,
                Meters(f"speaker in {room}", None, idle="nobody speaks") as meters,
            ):
                meters.note(connection.reason)
                started = time.monotonic()
                await alongside(
                    receive(connection, sink, meters),
                    end_on(stop, connection),
                    watch(connection, meters),
                )
                return _wire(connection, started)


async def run_loopback(
    url: str,
    *,
    token: str | None = None,
    key: str | None = None,
    fingerprint: str | None = None,
    codec: Place = "auto",
    model: Path | None = None,
    frames_a_message: int = 1,
    input_device: str | None = None,
    output_device: str | None = None,
    input_file: Path | None = None,
    output_file: Path | None = None,
) -> LoopbackReport:
    """Plays a microphone or a file through the server's codec, and measures the latency.

    Raises:
        XYTError: as `run_mic`.
    """
    with closing(_source(input_device, input_file)) as source, interruptible(source.stop):
        async with open_sound(
            url,
            "loopback",
            codec=codec,
            model=model,
            receive=("pcm", "codes"),
            frames_a_message=frames_a_message,
            token=token,
            key=key,
            fingerprint=fingerprint,
        ) as connection:
            ready = connection.ready
            recorder = Recorder(ready)
            with (
                closing(_sink(output_device, output_file, ready.receive_rate)) as sink,
                Meters("loopback", source.seconds) as meters,
            ):
                meters.note(connection.reason)
                started = time.monotonic()
                await alongside(
                    receive(connection, sink, meters, recorder),
                    send(connection, source, meters, recorder),
                    watch(connection, meters),
                )
                output = output_device or "the default loudspeaker"
                if output_file is not None:
                    output = target_name(output_file)
                wire = _wire(connection, started)
                return recorder.report(sink.buffer, output, connection.codec, wire)


async def run_talk(
    url: str,
    room: str | None,
    *,
    token: str | None = None,
    key: str | None = None,
    fingerprint: str | None = None,
    codec: Place = "auto",
    model: Path | None = None,
    frames_a_message: int = 1,
    input_device: str | None = None,
    output_device: str | None = None,
    input_file: Path | None = None,
    output_file: Path | None = None,
    listen: float = 0.0,
) -> WireReport:
    """Holds a conversation with a speech model: in a room, or without one with the server's own.

    Args:
        listen: seconds of silence sent after the input file, while the model answers.

    Raises:
        XYTError: as `run_mic`.
    """
    with closing(_source(input_device, input_file, listen)) as source, interruptible(source.stop):
        async with open_sound(
            url,
            "user",
            codec=codec,
            model=model,
            fill=output_file is not None,
            frames_a_message=frames_a_message,
            room=room,
            token=token,
            key=key,
            fingerprint=fingerprint,
        ) as connection:
            rate = connection.ready.receive_rate
            with (
                closing(_sink(output_device, output_file, rate)) as sink,
                Meters("talk", source.seconds) as meters,
            ):
                meters.note(connection.reason)
                started = time.monotonic()
                await alongside(
                    receive(connection, sink, meters),
                    send(connection, source, meters),
                    watch(connection, meters),
                )
                return _wire(connection, started)


def _wire(connection: SoundConnection, started: float) -> WireReport:
    return WireReport.of(connection.traffic, time.monotonic() - started)


def _source(device: str | None, file: Path | None, silence: float = 0.0) -> Source:
    return Microphone(device) if file is None else FileSource(file, silence)


def _sink(device: str | None, file: Path | None, rate: int) -> Sink:
    return Loudspeaker(device, rate) if file is None else FileSink(file, rate)
