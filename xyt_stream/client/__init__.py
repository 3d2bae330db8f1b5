"""Connects to a server: sends sound or codes and receives them back. Imports no torch.

    async with connect("ws://127.0.0.1:8765", "loopback") as connection:
        await connection.send_pcm(samples)
        await connection.end()
        async for event in connection:
            ...

connection is the API; transport and handshake carry it; live restarts sessions; jitter, devices and
files play and capture; run, meters and report are the commands of the command line.
"""

from xyt_stream.client.connection import Connection, connect
from xyt_stream.client.jitter import JitterBuffer

__all__ = ["Connection", "JitterBuffer", "connect"]
