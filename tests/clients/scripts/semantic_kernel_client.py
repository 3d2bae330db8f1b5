"""Semantic Kernel: its websocket connector to the Realtime API."""

from __future__ import annotations

import asyncio
import base64
from collections import Counter

from common import PAUSE, SILENCE, SPEECH, URL, Report, chunks, run, until
from openai import AsyncOpenAI
from semantic_kernel.connectors.ai.open_ai import (
    ListenEvents,
    OpenAIRealtimeExecutionSettings,
    OpenAIRealtimeWebsocket,
    SendEvents,
    TurnDetection,
)
from semantic_kernel.contents import AudioContent, ChatHistory
from semantic_kernel.contents.realtime_events import RealtimeAudioEvent, RealtimeEvent


async def main(report: Report) -> None:
    client = AsyncOpenAI(
        api_key="any", base_url=URL.replace("ws", "http", 1), websocket_base_url=URL
    )
    service = OpenAIRealtimeWebsocket(ai_model_id="any", api_key="any", client=client)
    history = ChatHistory(system_message="Say again what you hear.")
    history.add_user_message("Hello")
    history.add_assistant_message("Hello to you")
    detection = TurnDetection(type="server_vad", create_response=True, silence_duration_ms=500)
    settings = OpenAIRealtimeExecutionSettings(
        instructions="Say again what you hear.", voice="alloy", turn_detection=detection
    )
    came: Counter[str] = Counter()
    item = ""

    async def listen() -> None:
        nonlocal item
        async for event in service.receive():
            came[str(event.service_type)] += 1
            if isinstance(event, RealtimeAudioEvent):
                report.hear(event.audio.data)
                item = event.service_event.item_id
            elif event.service_type == ListenEvents.ERROR:
                report.error(event.service_event)

    async def say(*sounds: bytes) -> None:
        async for chunk in chunks(*sounds):
            audio = AudioContent(data=base64.b64encode(chunk).decode(), data_format="base64")
            await service.send(RealtimeAudioEvent(audio=audio))

    async def send(kind: SendEvents, **fields: object) -> None:
        await service.send(RealtimeEvent(service_type=kind, service_event=fields))

    report.begin("context")
    async with service(settings=settings, chat_history=history, create_response=True):
        listening = asyncio.create_task(listen())
        await until(lambda: came["response.created"], "response.created")
        for step in ("first turn", "second turn"):
            report.begin(step)
            done = came["response.done"]
            await say(SPEECH, SILENCE)
            await until(lambda: report.seconds > 1.5 and came["response.done"] > done, "a reply")  # noqa: B023

        report.begin("interruption")
        await say(SPEECH, SILENCE)
        await until(lambda: report.seconds > 0.2, "a reply to interrupt")
        await say(SPEECH)
        await send(SendEvents.CONVERSATION_ITEM_TRUNCATE, item_id=item, audio_end_ms=200)
        await until(lambda: came["conversation.item.truncated"], "truncated")
        report.begin("interruption")
        await say(SILENCE)
        await until(lambda: report.seconds > 1.5, "a reply")
        await until(lambda: came["response.created"] == came["response.done"], "its end")

        report.begin("history")
        await send(SendEvents.CONVERSATION_ITEM_DELETE, item_id=item)
        await until(lambda: came["conversation.item.deleted"], "deleted")

        report.begin("push to talk")
        # Its settings leave out what is None, so it has no way of its own to say this.
        await service.connection.session.update(
            session={"type": "realtime", "audio": {"input": {"turn_detection": None}}}
        )
        done = came["response.done"]
        await say(SPEECH, PAUSE, SPEECH)
        await send(SendEvents.INPUT_AUDIO_BUFFER_COMMIT)
        await send(SendEvents.RESPONSE_CREATE)
        await until(lambda: came["response.done"] > done, "a reply")
        listening.cancel()


run(main)
