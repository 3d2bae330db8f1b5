"""Runs a duplex model in its own process: it waits in a room and repeats the user's speech.

    xyt-stream serve
    python demos/duplex_parrot.py --room parrot
    xyt-stream talk --room parrot

It receives the user's codes and, to notice the end of a turn, their sound. It sends a whole turn at
once; when the user interrupts, `clear` drops the frames that were not heard yet. The same parrot
in the server's process is `xyt-stream serve --duplex xyt_stream.server.duplex.parrot:Parrot`.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import sys
from contextlib import suppress

from xyt_stream.audio import to_float32
from xyt_stream.client import connect
from xyt_stream.errors import XYTError
from xyt_stream.protocol.machine import Codes, Pcm
from xyt_stream.protocol.messages import Cleared
from xyt_stream.server.duplex.vad import TurnRecorder, VoiceActivity


async def converse(url: str, room: str, token: str | None) -> None:
    """Holds one conversation, until its user ends it."""
    async with connect(url, "model", room=room, receive=("codes", "pcm"), token=token) as model:
        vad, turns, codes = VoiceActivity(model.ready.receive_rate), TurnRecorder(), {}
        async for event in model:
            if isinstance(event, Codes):
                codes.update(enumerate(event.codes.T, event.frame))
            elif isinstance(event, Pcm) and event.frame in codes:
                was_speaking = turns.speaking
                vad.push(to_float32(event.samples))
                turn = turns.push(codes.pop(event.frame), vad.speaking)
                if turns.speaking and not was_speaking:
                    await model.clear()
                if turn is not None:
                    await model.send_codes(turn)
            elif isinstance(event, Cleared) and event.dropped:
                print(f"interrupted: {event.played} frames were heard, {event.dropped} were not")


async def main() -> None:
    parser = argparse.ArgumentParser(description="Repeats what the user says.")
    parser.add_argument("--url", default="ws://127.0.0.1:8765")
    parser.add_argument("--room", default="parrot")
    parser.add_argument("--token", default=os.environ.get("XYT_TOKEN"))
    options = parser.parse_args()
    print(f"waiting in room {options.room!r}", flush=True)
    while True:
        await converse(options.url, options.room, options.token)


if __name__ == "__main__":
    with suppress(KeyboardInterrupt):
        try:
            asyncio.run(main())
        except XYTError as error:
            sys.exit(f"Error: {error}")
