"""A bad network: a TCP proxy that delays, stalls, crumbles and cuts."""

from __future__ import annotations

import asyncio
from contextlib import suppress


class Proxy:
    """Between clients and one server's port.

    Attributes:
        crumbs: the most bytes passed on at once; None: as they come.
        delay: seconds that every piece is late.
        flowing: cleared, nothing passes and nothing is read.
        refuses: new connections are cut at once.
        connections: that have come so far.
    """

    def __init__(self, port: int) -> None:
        self.target = port
        self.crumbs: int | None = None
        self.delay = 0.0
        self.flowing = asyncio.Event()
        self.flowing.set()
        self.refuses = False
        self.connections = 0
        self._writers: set[asyncio.StreamWriter] = set()
        self._tasks: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> Proxy:
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", 0)
        self.url = f"ws://127.0.0.1:{self._server.sockets[0].getsockname()[1]}"
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()
        self.cut()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def cut(self) -> None:
        """All connections are gone, without a word to either side."""
        for writer in self._writers:
            writer.transport.abort()
        self._writers.clear()

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        if self.refuses:
            writer.transport.abort()
            return
        try:
            other_reader, other_writer = await asyncio.open_connection("127.0.0.1", self.target)
        except OSError:
            writer.transport.abort()
            return
        self._writers |= {writer, other_writer}
        for source, target in ((reader, other_writer), (other_reader, writer)):
            task = asyncio.create_task(self._pass_on(source, target))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _pass_on(self, source: asyncio.StreamReader, target: asyncio.StreamWriter) -> None:
        with suppress(OSError):
            while data := await source.read(65_536):
                await self.flowing.wait()
                await asyncio.sleep(self.delay)
                step = self.crumbs or len(data)
                for start in range(0, len(data), step):
                    target.write(data[start : start + step])
                    await target.drain()
        with suppress(OSError, RuntimeError):
            target.write_eof()
