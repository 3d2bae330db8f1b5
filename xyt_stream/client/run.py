"""Runs the commands mic, play, loopback and talk, each until its input ends or Ctrl-C."""

from __future__ import annotations

import asyncio
import signal
import time
from collections.abc import Callable, Coroutine, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any, TypeAlias

from xyt_stream.audio import INPUT_RATE
from xyt_stream.client.devices import Loudspeaker, Microphone
from xyt_stream.client.files import FileSink, FileSource
from xyt_stream.client.live import RESTARTED
from xyt_stream.client.meters import Meters
from xyt_stream.client.report import LoopbackReport, Recorder, WireReport
from xyt_stream.client.sound import Place, open_sound
from xyt_stream.client.sound_connection import SoundConnection
from xyt_stream.protocol.machine import Pcm
from xyt_stream.protocol.messages import Clear, Notice, Pong

_WATCH_INTERVAL = 0.5  # seconds between updates of the bit rate
_PING_INTERVAL = 5.0  # seconds between measurements of the round trip
GRACE = 10.0  # seconds from the first signal until the process ends anyway

Source: TypeAlias = Microphone | FileSource
Sink: TypeAlias = Loudspeaker | FileSink


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
    with closing(_source(input_device, input_file)) as source, _interruptible(source.stop):
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
                await _alongside(
                    _receive_nothing(connection, meters),
                    _send(connection, source, meters),
                    _watch(connection, meters),
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
    with _interruptible(stop.set):
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
                await _alongside(
                    _receive(connection, sink, meters),
                    _end_on(stop, connection),
                    _watch(connection, meters),
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
    with closing(_source(input_device, input_file)) as source, _interruptible(source.stop):
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
                await _alongside(
                    _receive(connection, sink, meters, recorder),
                    _send(connection, source, meters, recorder),
                    _watch(connection, meters),
                )
                output = str(output_file or output_device or "the default loudspeaker")
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
    with closing(_source(input_device, input_file, listen)) as source, _interruptible(source.stop):
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
                await _alongside(
                    _receive(connection, sink, meters),
                    _send(connection, source, meters),
                    _watch(connection, meters),
                )
                return _wire(connection, started)


def _wire(connection: SoundConnection, started: float) -> WireReport:
    return WireReport.of(connection.traffic, time.monotonic() - started)


async def _send(
    connection: SoundConnection, source: Source, meters: Meters, recorder: Recorder | None = None
) -> None:
    """Sends the source up to its end. Errors of the connection are raised in `_receive`."""
    async for block in source.blocks():
        if recorder is not None:
            recorder.sent(len(block))
        if not await connection.send_pcm(block):
            source.skip()
        meters.sound(block, INPUT_RATE)
    await connection.end()


async def _receive(
    connection: SoundConnection, sink: Sink, meters: Meters, recorder: Recorder | None = None
) -> None:
    """Plays the received audio until the end."""
    async for event in connection:
        if recorder is not None:
            recorder.arrived(event, sink.buffer)
        if isinstance(event, Pcm):
            sink.write(event.samples, gap=event.gap)
            before = None if recorder is None else recorder.before_buffer
            meters.latency(sink.buffer, before)
            if recorder is None:
                meters.sound(event.samples, connection.ready.receive_rate)
        elif isinstance(event, Clear):
            unplayed = sink.clear()
            if connection.ready.role == "user":
                await connection.cleared(unplayed)
        elif isinstance(event, Notice):
            _show(event, meters)
    await sink.drain()


async def _receive_nothing(connection: SoundConnection, meters: Meters) -> None:
    """Waits for the end of a session that receives no media."""
    async for event in connection:
        if isinstance(event, Notice):
            _show(event, meters)
        elif isinstance(event, Pong):
            meters.network(time.monotonic() - event.time)
            if isinstance(event.listeners, int):
                meters.listeners(event.listeners)


def _show(notice: Notice, meters: Meters) -> None:
    meters.notice(notice.message)
    if notice.name in ("interrupted", "resumed", RESTARTED):
        meters.interrupted(notice.name == "interrupted")


async def _watch(connection: SoundConnection, meters: Meters) -> None:
    """Shows the traffic, and now and then the round trip: a ping costs 26 bytes."""

    async def measure() -> None:
        while True:
            if connection.ready.role == "mic":  # the answer says how many listen, too
                await connection.ping(time.monotonic())
            elif (seconds := await connection.round_trip()) is not None:
                meters.network(seconds)
            await asyncio.sleep(_PING_INTERVAL)

    if not meters.visible:
        return
    pings = asyncio.create_task(measure())
    try:
        while True:
            meters.traffic(connection.traffic)
            await asyncio.sleep(_WATCH_INTERVAL)
    finally:
        pings.cancel()
        await asyncio.gather(pings, return_exceptions=True)


async def _end_on(stop: asyncio.Event, connection: SoundConnection) -> None:
    """Ends the session's input once `stop` is set."""
    await stop.wait()
    await connection.end()


async def _alongside(main: Coroutine[Any, Any, None], *helpers: Coroutine[Any, Any, None]) -> None:
    """Runs all until `main` is done or one of them fails."""
    tasks = {asyncio.create_task(main): True}
    tasks |= {asyncio.create_task(helper): False for helper in helpers}
    waiting = set(tasks)
    try:
        while waiting:
            done, waiting = await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                task.result()
                if tasks[task]:
                    return
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


@contextmanager
def _interruptible(stop: Callable[[], None]) -> Iterator[None]:
    """Handles SIGINT, SIGTERM and SIGHUP: the first calls `stop`, the second ends the process.

    GRACE seconds after the first signal the process ends anyway, in case the server is unreachable.
    """
    loop = asyncio.get_running_loop()
    signals = [
        number
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
        if signal.getsignal(number) is not signal.SIG_IGN  # under nohup, SIGHUP stays ignored
    ]
    timers: list[asyncio.TimerHandle] = []

    def interrupted(number: int) -> None:
        restore()
        timers.append(loop.call_later(GRACE, signal.raise_signal, number))
        stop()

    def restore() -> None:
        for number in signals:
            loop.remove_signal_handler(number)

    for number in signals:
        loop.add_signal_handler(number, interrupted, number)
    try:
        yield
    finally:
        restore()
        for timer in timers:
            timer.cancel()


def _source(device: str | None, file: Path | None, silence: float = 0.0) -> Source:
    return Microphone(device) if file is None else FileSource(file, silence)


def _sink(device: str | None, file: Path | None, rate: int) -> Sink:
    return Loudspeaker(device, rate) if file is None else FileSink(file, rate)
