"""The programs mic, play, loopback and talk. Each runs until its sound ends, or Ctrl-C."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Callable, Coroutine, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any, TypeAlias

from xyt_stream.audio import INPUT_RATE
from xyt_stream.client.devices import Loudspeaker, Microphone
from xyt_stream.client.files import FileSink, FileSource
from xyt_stream.client.live import LiveConnection, live
from xyt_stream.client.meters import Meters
from xyt_stream.client.report import LoopbackReport, Recorder
from xyt_stream.protocol.machine import Pcm
from xyt_stream.protocol.messages import Clear, Notice

GRACE = 10.0  # seconds

Source: TypeAlias = Microphone | FileSource
Sink: TypeAlias = Loudspeaker | FileSink


async def run_mic(
    url: str,
    room: str,
    *,
    token: str | None = None,
    input_device: str | None = None,
    input_file: Path | None = None,
) -> None:
    """Speaks into a room, from a device or a file.

    Raises:
        XYTError: one sentence says what is wrong.
    """
    with closing(_source(input_device, input_file)) as source, _interruptible(source.stop):
        async with live(url, "mic", room=room, send_rate=INPUT_RATE, token=token) as connection:
            with Meters(f"mic in {room}", source.seconds) as meters:
                await _alongside(_silence(connection, meters), _speak(connection, source, meters))


async def run_play(
    url: str,
    room: str,
    *,
    token: str | None = None,
    output_device: str | None = None,
    output_file: Path | None = None,
) -> None:
    """Plays what is spoken in a room, on a device or into a file, until its mic ends.

    Raises:
        XYTError: one sentence says what is wrong.
    """
    stop = asyncio.Event()
    with _interruptible(stop.set):
        async with live(url, "speaker", room=room, token=token) as connection:
            rate = connection.ready.receive_rate
            with (
                closing(_sink(output_device, output_file, rate)) as sink,
                Meters(f"speaker in {room}", None) as meters,
            ):
                await _alongside(_hear(connection, sink, meters), _leave(connection, stop))


async def run_loopback(
    url: str,
    *,
    token: str | None = None,
    input_device: str | None = None,
    output_device: str | None = None,
    input_file: Path | None = None,
    output_file: Path | None = None,
) -> LoopbackReport:
    """Hears itself through the server's codec.

    Raises:
        XYTError: one sentence says what is wrong.
    """
    with closing(_source(input_device, input_file)) as source, _interruptible(source.stop):
        async with live(
            url, "loopback", receive=("pcm", "codes"), send_rate=INPUT_RATE, token=token
        ) as connection:
            ready = connection.ready
            recorder = Recorder(ready)
            with (
                closing(_sink(output_device, output_file, ready.receive_rate)) as sink,
                Meters("loopback", source.seconds) as meters,
            ):
                await _alongside(
                    _hear(connection, sink, meters, recorder),
                    _speak(connection, source, meters, recorder),
                )
                output = str(output_file or output_device or "the default loudspeaker")
                return recorder.report(sink.buffer, output)


async def run_talk(
    url: str,
    room: str | None,
    *,
    token: str | None = None,
    input_device: str | None = None,
    output_device: str | None = None,
    input_file: Path | None = None,
    output_file: Path | None = None,
    listen: float = 0.0,
) -> None:
    """Talks with a model: in a room, or without one with the server's own.

    Args:
        listen: seconds of silence after the input file, in which the model is heard on.

    Raises:
        XYTError: one sentence says what is wrong.
    """
    with closing(_source(input_device, input_file, listen)) as source, _interruptible(source.stop):
        async with live(url, "user", room=room, send_rate=INPUT_RATE, token=token) as connection:
            rate = connection.ready.receive_rate
            with (
                closing(_sink(output_device, output_file, rate)) as sink,
                Meters("talk", source.seconds) as meters,
            ):
                await _alongside(
                    _hear(connection, sink, meters), _speak(connection, source, meters)
                )


async def _speak(
    connection: LiveConnection, source: Source, meters: Meters, recorder: Recorder | None = None
) -> None:
    """Sends the source to its end. When the connection fails it is `_hear` that learns why."""
    async for block in source.blocks():
        if recorder is not None:
            recorder.sent(len(block))
        if not await connection.send_pcm(block):
            source.skip()
        meters.sound(block, INPUT_RATE)
    await connection.end()


async def _hear(
    connection: LiveConnection, sink: Sink, meters: Meters, recorder: Recorder | None = None
) -> None:
    """Plays what comes until its end."""
    async for event in connection:
        if recorder is not None:
            recorder.arrived(event, sink.buffer)
        if isinstance(event, Pcm):
            sink.write(event.samples, gap=event.gap)
            meters.jitter(sink.buffer)
            if recorder is None:
                meters.sound(event.samples, connection.ready.receive_rate)
        elif isinstance(event, Clear):
            unplayed = sink.clear()
            if connection.ready.role == "user":
                await connection.cleared(unplayed)
        elif isinstance(event, Notice):
            meters.notice(event.message)
    await sink.drain()


async def _silence(connection: LiveConnection, meters: Meters) -> None:
    """Waits for the end of a session that hears nothing."""
    async for event in connection:
        if isinstance(event, Notice):
            meters.notice(event.message)


async def _leave(connection: LiveConnection, stop: asyncio.Event) -> None:
    await stop.wait()
    await connection.end()


async def _alongside(main: Coroutine[Any, Any, None], helper: Coroutine[Any, Any, None]) -> None:
    """Runs both until `main` is done or one of them fails."""
    tasks = {asyncio.create_task(main): True, asyncio.create_task(helper): False}
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
    """The first Ctrl-C or SIGTERM calls `stop`, to end cleanly; the second one ends at once.

    As does the first one GRACE seconds later: a server that is away cannot say goodbye.
    """
    loop = asyncio.get_running_loop()
    signals = (signal.SIGINT, signal.SIGTERM)
    again: list[asyncio.TimerHandle] = []

    def interrupted(number: int) -> None:
        restore()
        again.append(loop.call_later(GRACE, signal.raise_signal, number))
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
        for timer in again:
            timer.cancel()


def _source(device: str | None, file: Path | None, silence: float = 0.0) -> Source:
    return Microphone(device) if file is None else FileSource(file, silence)


def _sink(device: str | None, file: Path | None, rate: int) -> Sink:
    return Loudspeaker(device, rate) if file is None else FileSink(file, rate)
