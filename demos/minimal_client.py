# /// script
# requires-python = ">=3.10"
# dependencies = ["websockets>=14", "numpy"]
# ///
"""Sends a WAV file or a microphone through a server's codec and writes the result: copy this file.

    uv run minimal_client.py speech.wav out.wav ws://127.0.0.1:8765
    arecord -t raw -f S16_LE -r 16000 -c 1 | python minimal_client.py - out.wav    # a microphone

docs/protocol.md describes the messages. xyt_stream.client adds resuming and a jitter buffer.
"""

import asyncio
import json
import os
import struct
import sys
import wave

import numpy as np
from websockets.asyncio.client import connect
from websockets.exceptions import WebSocketException

HEADER = struct.Struct("<BBxxII")  # kind, flags, two reserved bytes, sequence number, frame index
PCM = 1  # kind of message: int16 samples
CHUNK = 0.02  # seconds


def open_source(name):
    """Returns the sample rate and a function that reads the next n samples, int16 bytes."""
    if name == "-":
        return 16_000, lambda n: sys.stdin.buffer.read(2 * n)
    try:
        file = wave.open(name)  # noqa: SIM115 - the process reads it to its end
    except (EOFError, wave.Error):  # it is too short for a header, or has another one
        file = None
    if file is None or file.getsampwidth() != 2:
        sys.exit(f"Error: {name} must be a 16-bit WAV file")

    def read(n):
        samples = np.frombuffer(file.readframes(n), "<i2").reshape(-1, file.getnchannels())
        return samples.mean(axis=1).astype("<i2").tobytes()

    return file.getframerate(), read


async def send_messages(websocket, read, ready, pause):
    samples = seq = 0
    rate, frame_samples = ready["send_rate"], ready["send_rate"] * ready["frame_ms"] / 1000
    while data := await asyncio.to_thread(read, int(CHUNK * rate)):
        await websocket.send(HEADER.pack(PCM, 0, seq, int(samples / frame_samples)) + data)
        samples, seq = samples + len(data) // 2, seq + 1
        await asyncio.sleep(pause)
    await websocket.send(json.dumps({"type": "end"}))


async def main(source, target, url="ws://127.0.0.1:8765"):
    rate, read = open_source(source)
    async with connect(url, subprotocols=["xyt.v1"], compression=None) as websocket:
        token = os.environ.get("XYT_TOKEN")
        hello = {"type": "hello", "role": "loopback", "send_rate": rate, "token": token}
        await websocket.send(json.dumps(hello))
        ready = json.loads(await websocket.recv())
        if ready["type"] == "error":
            sys.exit(f"Error: {ready['message']}")
        pause = 0 if source == "-" else CHUNK  # a file is sent at the pace of speech
        sending = asyncio.create_task(send_messages(websocket, read, ready, pause))
        with wave.open(target, "wb") as out:
            out.setparams((1, 2, ready["receive_rate"], 0, "NONE", ""))
            async for data in websocket:
                if isinstance(data, bytes) and data[0] == PCM:
                    out.writeframes(data[HEADER.size :])
                elif isinstance(data, str) and json.loads(data)["type"] == "error":
                    sys.exit(f"Error: {json.loads(data)['message']}")
        await sending


if __name__ == "__main__":
    if "--help" in sys.argv or not 3 <= len(sys.argv) <= 4:
        print(__doc__)
        sys.exit(0 if "--help" in sys.argv else 2)
    try:
        asyncio.run(main(*sys.argv[1:]))
    except (OSError, WebSocketException) as error:
        sys.exit(f"Error: {error}")
    except KeyboardInterrupt:
        sys.exit(130)
