"""OpenAI's agents for Python: a realtime session of the runner."""

from __future__ import annotations

import asyncio
from collections import Counter

from agents.realtime import RealtimeAgent, RealtimeRunner, RealtimeSession
from agents.realtime.model_inputs import RealtimeModelSendRawMessage
from common import PAUSE, SILENCE, SPEECH, URL, Report, chunks, run, until


async def main(report: Report) -> None:
    agent = RealtimeAgent(name="parrot", instructions="Say again what you hear.")
    runner = RealtimeRunner(agent, config={"tracing_disabled": True})
    for step, detection in (("voice", {"type": "server_vad"}), ("push to talk", None)):
        settings = {
            "modalities": ["audio"],
            "audio": {"input": {"turn_detection": detection}, "output": {}},
        }
        model_config = {
            "api_key": "any",
            "url": f"{URL}/realtime?model=any",
            "initial_model_settings": settings,
        }
        async with await runner.run(model_config=model_config) as session:
            await talk(session, report, step)


async def talk(session: RealtimeSession, report: Report, step: str) -> None:
    came: Counter[str] = Counter()

    async def listen() -> None:
        async for event in session:
            kind = event.type
            if kind == "raw_model_event":
                kind = event.data.type
                if kind == "raw_server_event":
                    kind = event.data.data["type"]
            came[kind] += 1
            if event.type == "audio":
                report.hear(event.audio.data)
            elif event.type == "error":
                report.error(event.error)

    async def say(*sounds: bytes) -> None:
        async for chunk in chunks(*sounds):
            await session.send_audio(chunk)

    listening = asyncio.create_task(listen())

    async def quiet(least: float) -> None:
        """Waits until so much was heard, and all responses are over."""
        await until(lambda: report.seconds > least, f"{least} s of a reply")
        await until(lambda: came["response.created"] == came["response.done"], "response.done")
        assert not listening.done(), listening.exception()

    if step == "voice":
        report.begin("context")
        await session.send_message("Say hello!")
        await until(lambda: came["history_added"], "the message in the history")
        await say(SILENCE)
        for turn in ("first turn", "second turn"):
            report.begin(turn)
            await say(SPEECH, SILENCE)
            await quiet(1.5)
            await say(SILENCE)
        report.begin("interruption")
        await say(SPEECH, SILENCE)
        await until(lambda: report.seconds > 0.2, "a reply to interrupt")
        started = came["input_audio_buffer.speech_started"]
        await say(SPEECH)
        await until(lambda: came["input_audio_buffer.speech_started"] > started, "speech_started")
        report.begin("interruption")
        await say(SILENCE)
        await quiet(1.5)
        report.begin("truncation")
        truncated = came["conversation.item.truncated"]
        await say(SPEECH, SILENCE)
        await until(lambda: report.seconds > 0.2, "a reply to interrupt")
        await session.interrupt()
        await until(lambda: came["conversation.item.truncated"] > truncated, "truncated")
    else:
        for _ in range(2):
            report.begin(step)
            await say(SPEECH, PAUSE, SPEECH)
            await session.send_audio(b"", commit=True)
            await session.model.send_event(
                RealtimeModelSendRawMessage(message={"type": "response.create"})
            )
            await quiet(3.5)
    listening.cancel()


run(main)
