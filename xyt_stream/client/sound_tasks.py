"""Defines the tasks of a command: they send, play and end its sound, and show how it goes."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Coroutine
from typing import Any, TypeAlias

from xyt_stream.audio import INPUT_RATE
from xyt_stream.client.devices import Loudspeaker, Microphone
from xyt_stream.client.files import FileSink, FileSource
from xyt_stream.client.live import RESTARTED
from xyt_stream.client.meters import Meters
from xyt_stream.client.report import Recorder
from xyt_stream.client.sound_connection import SoundConnection
from xyt_stream.errors import printable
from xyt_stream.protocol.machine import Pcm
from xyt_stream.protocol.messages import Clear, Notice, Pong

_WATCH_INTERVAL = 0.5  # seconds between updates of the bit rate
_PING_INTERVAL = 5.0  # seconds between measurements of the round trip

Source: TypeAlias = Microphone | FileSource
Sink: TypeAlias = Loudspeaker | FileSink


async def alongside(main: Coroutine[Any, Any, None], *helpers: Coroutine[Any, Any, None]) -> None:
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


async def send(
    connection: SoundConnection, source: Source, meters: Meters, recorder: Recorder | None = None
) -> None:
    """Sends the source up to its end. Errors of the connection are raised in `receive`."""
    async for block in source.blocks():
        if recorder is not None:
            recorder.sent(len(block))
        if not await connection.send_pcm(block):
            source.skip()
        meters.sound(block, INPUT_RATE)
    await connection.end()


async def receive(
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


async def receive_nothing(connection: SoundConnection, meters: Meters) -> None:
    """Waits for the end of a session that receives no media."""
    async for event in connection:
        if isinstance(event, Notice):
            _show(event, meters)
        elif isinstance(event, Pong):
            meters.network(time.monotonic() - event.time)
            if isinstance(event.listeners, int):
                meters.listeners(event.listeners)


def _show(notice: Notice, meters: Meters) -> None:
    meters.notice(printable(notice.message))
    if notice.name in ("interrupted", "resumed", RESTARTED):
        meters.interrupted(notice.name == "interrupted")


async def watch(connection: SoundConnection, meters: Meters) -> None:
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


async def end_on(stop: asyncio.Event, connection: SoundConnection) -> None:
    """Ends the session's input once `stop` is set."""
    await stop.wait()
    await connection.end()
