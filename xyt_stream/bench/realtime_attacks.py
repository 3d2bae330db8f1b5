"""Defines what hostile clients of the Realtime protocol do, as attacks.py does for others."""

from __future__ import annotations

import base64
import os

from xyt_stream.bench.attack_client import TEXT, Target, event, flood, frame


async def appends_of_one_byte(target: Target) -> str:
    """Realtime sound in the smallest pieces, turn by turn, and then live."""
    manual = {"type": "realtime", "audio": {"input": {"turn_detection": None}}}
    opening = event("session.update", session=manual)
    piece = 500 * event("input_audio_buffer.append", audio="AAA=")
    return await flood(target, piece, 300, before=opening, realtime=True)


async def events_of_many_kinds(target: Target) -> str:
    """Realtime events that change, ask, cancel and are wrong."""
    item = {"type": "message", "role": "user", "content": []}
    piece = b"".join(
        (
            event("session.update", session={"type": "realtime"}),
            event("conversation.item.create", item=item),
            event("conversation.item.retrieve", item_id="none"),
            event("response.create"),
            event("response.cancel"),
            event("input_audio_buffer.commit"),
            event("nothing"),
            frame(TEXT, b"{"),
        )
    )
    return await flood(target, 50 * piece, 400, realtime=True)


async def items_of_sound(target: Target) -> str:
    """Realtime items, each with half a minute of sound."""
    part = {"type": "input_audio", "audio": base64.b64encode(bytes(1_400_000)).decode()}
    item = {"type": "message", "role": "user", "content": [part]}
    return await flood(target, event("conversation.item.create", item=item), 60, realtime=True)


async def long_ids(target: Target) -> str:
    """Realtime items with ids of megabytes, and nothing is read."""
    item = {"type": "message", "role": "user", "id": 1_900_000 * "x", "content": []}
    piece = event("conversation.item.create", item=item)
    return await flood(target, piece, 60, realtime=True, reads=False)


async def items_retrieved(target: Target) -> str:
    """A Realtime item of controls, which take six bytes each, asked for again and again."""
    content = [{"type": "input_text", "text": 330_000 * "\x01"}]
    long = {"type": "message", "role": "user", "id": "long", "content": content}
    content = [{"type": "input_text", "text": 20_000 * "\x01"}]
    item = {"type": "message", "role": "user", "id": "item", "content": content}
    opening = b"".join(event("conversation.item.create", item=each) for each in (long, item))
    piece = 20 * (
        event("conversation.item.retrieve", item_id="long")
        + event("conversation.item.retrieve", item_id="item")
    )
    return await flood(target, piece, 3000, before=opening, realtime=True)


async def many_values(target: Target) -> str:
    """Realtime events of a hundred thousand lists, parts or items."""
    return await flood(
        target,
        _item('"a":[', 600_000 * "[],")
        + _item('"role":"user","content":[', 100_000 * '{"type":"text"},')
        + _response(40_000 * '{"type":"message","role":"user","content":[]},'),
        60,
        realtime=True,
    )


async def settings_that_change(target: Target) -> str:
    """Realtime sound ahead of real time, whose format and turn detection change all the time."""
    sound = event("input_audio_buffer.append", audio=_noise(4800))
    piece = b"".join(
        event("session.update", session={"type": "realtime", "audio": {"input": settings}}) + sound
        for kind in ("audio/pcm", "audio/pcmu", "audio/pcma")
        for settings in (
            {"format": {"type": kind}, "turn_detection": None},
            {"format": {"type": kind}, "turn_detection": {"type": "server_vad"}},
        )
    )
    return await flood(target, 5 * piece, 400, realtime=True)


async def turns_that_are_cleared(target: Target) -> str:
    """Realtime turns far ahead of real time, each committed, answered and followed by a clear."""
    manual = {"type": "realtime", "audio": {"input": {"turn_detection": None}}}
    opening = event("session.update", session=manual)
    piece = (
        event("input_audio_buffer.append", audio=_noise(4900))
        + event("input_audio_buffer.commit")
        + event("response.create")
        + event("input_audio_buffer.clear")
    )
    return await flood(target, 20 * piece, 400, before=opening, realtime=True)


def _noise(size: int) -> str:
    """So many bytes of noise, in base64."""
    return base64.b64encode(os.urandom(size)).decode()


def _item(opening: str, values: str) -> bytes:
    item = f'{{"type":"message",{opening}{values[:-1]}]}}'
    return frame(TEXT, f'{{"type":"conversation.item.create","item":{item}}}'.encode())


def _response(items: str) -> bytes:
    response = f'{{"input":[{items[:-1]}]}}'
    return frame(TEXT, f'{{"type":"response.create","response":{response}}}'.encode())
