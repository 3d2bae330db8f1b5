"""The client: sound or codes to the server and back. Needs no torch.

async with connect("ws://127.0.0.1:8765", "loopback") as connection:
    await connection.send_pcm(samples)
    await connection.end()
    async for event in connection:
        ...
"""

from xyt_stream.client.connection import Connection, connect
from xyt_stream.client.jitter import JitterBuffer

__all__ = ["Connection", "JitterBuffer", "connect"]
