"""The OpenAI SDK for Python."""

from __future__ import annotations

import asyncio
import base64
from collections import Counter
from typing import Any

from common import PAUSE, SILENCE, SPEECH, URL, Report, chunks, run, until
from openai import AsyncOpenAI

HTTP = URL.replace("ws", "http", 1)


class Talk:
    """A connection, and the events that came over it."""

    def __init__(self, connection: Any, report: Report) -> None:
        self.connection = connection
        self.came: Counter[str] = Counter()
        self.last: dict[str, Any] = {}  # the latest event of each type
        self._report = report

    async def listen(self) -> None:
        async for event in self.connection:
            self.came[event.type] += 1
            self.last[event.type] = event
            if event.type == "response.output_audio.delta":
                self._report.hear(base64.b64decode(event.delta))
            elif event.type == "error":
                self._report.error(event.error)

    async def say(self, *sounds: bytes) -> None:
        async for chunk in chunks(*sounds):
            audio = base64.b64encode(chunk).decode()
            await self.connection.input_audio_buffer.append(audio=audio)

    async def next(self, kind: str, before: int) -> Any:
        await until(lambda: self.came[kind] > before, kind)
        return self.last[kind]

    async def turn(self, step: str) -> str:
        """One turn with the server's turn detection; the id of the reply's item."""
        self._report.begin(step)
        before = self.came["response.done"]
        await self.say(SPEECH, SILENCE)
        done = await self.next("response.done", before)
        assert done.response.status == "completed", done
        return str(done.response.output[0].id)


def message(role: str, kind: str, text: str, **ids: str) -> dict[str, Any]:
    return {"type": "message", "role": role, "content": [{"type": kind, "text": text}], **ids}


async def main(report: Report) -> None:
    async with (
        AsyncOpenAI(api_key="any", base_url=HTTP, websocket_base_url=URL) as client,
        client.realtime.connect(model="any") as connection,
    ):
        talk = Talk(connection, report)
        listening = asyncio.create_task(talk.listen())
        items = connection.conversation.item

        report.begin("context")
        texts = (("system", "input_text"), ("user", "input_text"), ("assistant", "output_text"))
        for number, (role, kind) in enumerate(texts):
            await items.create(item=message(role, kind, "Hello", id=f"item_context_{number}"))
            done = await talk.next("conversation.item.done", number)
            assert done.item.id == f"item_context_{number}"
            assert done.item.content[0].text == "Hello"

        await talk.turn("first turn")
        reply = await talk.turn("second turn")
        await items.truncate(item_id=reply, content_index=0, audio_end_ms=60_000)
        assert (await talk.next("conversation.item.truncated", 0)).audio_end_ms < 60_000

        report.begin("interruption")
        done = talk.came["response.done"]
        deltas = talk.came["response.output_audio.delta"]
        await talk.say(SPEECH, SILENCE)
        await talk.next("response.output_audio.delta", deltas)
        await talk.say(SPEECH)
        cancelled = await talk.next("response.done", done)
        assert cancelled.response.status_details.reason == "turn_detected", cancelled
        await items.truncate(
            item_id=cancelled.response.output[0].id, content_index=0, audio_end_ms=100
        )
        await talk.next("conversation.item.truncated", 1)
        report.begin("interruption")
        await talk.say(SILENCE)
        await talk.next("response.done", done + 1)

        report.begin("push to talk")
        await connection.session.update(
            session={"type": "realtime", "audio": {"input": {"turn_detection": None}}}
        )
        await talk.next("session.updated", 0)
        done = talk.came["response.done"]
        await talk.say(SPEECH, PAUSE, SPEECH)
        await connection.input_audio_buffer.commit()
        await connection.response.create()
        await talk.next("response.done", done)

        report.begin("history")
        await items.retrieve(item_id=reply)
        assert (await talk.next("conversation.item.retrieved", 0)).item.id == reply
        await items.delete(item_id=reply)
        assert (await talk.next("conversation.item.deleted", 0)).item_id == reply
        await items.create(
            item=message("user", "input_text", "Hello", id="item_late"),
            previous_item_id="item_context_0",
        )
        await until(lambda: talk.last["conversation.item.added"].item.id == "item_late", "the item")
        assert talk.last["conversation.item.added"].previous_item_id == "item_context_0"
        listening.cancel()


run(main)
