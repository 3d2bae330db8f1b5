"""LiveKit's agents: a session of its OpenAI plugin's realtime model."""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import Any

import aiohttp
from common import PAUSE, RATE, SILENCE, SPEECH, URL, Report, chunks, run, until
from livekit import rtc
from livekit.plugins import openai
from openai.types.realtime.realtime_audio_input_turn_detection import ServerVad

HTTP = URL.replace("ws", "http", 1)


class Talk:
    """A session, and the events that it sent."""

    def __init__(self, session: Any, report: Report) -> None:
        self.session = session
        self.came: Counter[str] = Counter()
        self.item = ""  # the reply's, latest
        self._report = report
        self._tasks: set[asyncio.Task[None]] = set()
        for name in ("input_speech_started", "input_speech_stopped"):
            session.on(name, lambda event, name=name: self.came.update([name]))
        session.on("error", lambda event: report.error(event.error))
        session.on("generation_created", self._generated)

    def _generated(self, generation: Any) -> None:
        self.came.update(["generation_created"])
        task = asyncio.create_task(self._hear(generation))
        self._tasks.add(task)

    async def _hear(self, generation: Any) -> None:
        async for message in generation.message_stream:
            self.item = message.message_id
            async for frame in message.audio_stream:
                self._report.hear(bytes(frame.data))
        self.came.update(["generation_done"])

    async def say(self, *sounds: bytes) -> None:
        async for chunk in chunks(*sounds):
            self.session.push_audio(rtc.AudioFrame(chunk, RATE, 1, len(chunk) // 2))

    async def done(self, before: int) -> None:
        await until(lambda: self.came["generation_done"] > before, "the end of a reply")


async def main(report: Report) -> None:
    async with aiohttp.ClientSession() as http:
        for step, detection in (("voice", ServerVad(type="server_vad")), ("push to talk", None)):
            model = openai.realtime.RealtimeModel(
                base_url=HTTP, api_key="any", turn_detection=detection, http_session=http
            )
            session = model.session()
            talk = Talk(session, report)
            await (voice(talk, report) if step == "voice" else push(talk, report))
            await session.aclose()


async def voice(talk: Talk, report: Report) -> None:
    session = talk.session
    report.begin("context")
    await session.update_instructions("Say again what you hear.")
    context = session.chat_ctx.copy()
    context.add_message(role="system", content="Say again what you hear.")
    first = context.add_message(role="user", content="Hello")
    context.add_message(role="assistant", content="Hello to you")
    await session.update_chat_ctx(context)
    assert len(session.chat_ctx.items) == 3, session.chat_ctx.items
    greeting = session.generate_reply(instructions="Greet the user.")
    await greeting
    for step in ("first turn", "second turn"):
        report.begin(step)
        done = talk.came["generation_done"]
        await talk.say(SPEECH, SILENCE)
        await talk.done(done)
        await until(lambda: report.seconds > 1.5, "a reply")

    report.begin("interruption")
    session.on("input_speech_started", lambda event: session.interrupt())
    await talk.say(SPEECH, SILENCE)
    await until(lambda: report.seconds > 0.2, "a reply to interrupt")
    started = talk.came["input_speech_started"]
    interrupted = talk.item
    await talk.say(SPEECH)
    await until(lambda: talk.came["input_speech_started"] > started, "input_speech_started")
    session.truncate(message_id=interrupted, modalities=["audio"], audio_end_ms=200)
    report.begin("interruption")
    await talk.say(SILENCE)
    await until(lambda: report.seconds > 1.5, "a reply")

    report.begin("history")
    context = session.chat_ctx.copy()
    context.items.remove(next(item for item in context.items if item.id == first.id))
    context.add_message(role="user", content="Hello again")
    await session.update_chat_ctx(context)
    assert session.chat_ctx.items[-1].content == ["Hello again"]
    assert first.id not in [item.id for item in session.chat_ctx.items]


async def push(talk: Talk, report: Report) -> None:
    for _ in range(2):
        report.begin("push to talk")
        done = talk.came["generation_done"]
        talk.session.interrupt()
        talk.session.clear_audio()
        await talk.say(SPEECH, PAUSE, SPEECH)
        talk.session.commit_audio()
        await talk.session.generate_reply()
        await talk.done(done)


run(main)
