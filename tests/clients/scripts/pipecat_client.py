"""Pipecat: a pipeline as its examples build it, with a loudspeaker that counts what it plays."""

from __future__ import annotations

import asyncio

from common import CHUNK, PAUSE, RATE, SILENCE, SPEECH, SPEED, URL, Report, chunks, run, until
from pipecat.frames.frames import (
    InputAudioRawFrame,
    InterruptionFrame,
    LLMRunFrame,
    OutputAudioRawFrame,
    StartFrame,
    UserStartedSpeakingFrame,
    UserStoppedSpeakingFrame,
)
from pipecat.pipeline.pipeline import Pipeline
from pipecat.pipeline.worker import PipelineParams, PipelineWorker
from pipecat.processors.aggregators.llm_context import LLMContext
from pipecat.processors.aggregators.llm_response_universal import LLMContextAggregatorPair
from pipecat.services.openai.realtime.events import (
    AudioConfiguration,
    AudioInput,
    SessionProperties,
)
from pipecat.services.openai.realtime.llm import OpenAIRealtimeLLMService
from pipecat.transports.base_output import BaseOutputTransport
from pipecat.transports.base_transport import TransportParams
from pipecat.workers.runner import WorkerRunner


class Loudspeaker(BaseOutputTransport):
    """Plays at the speed at which the microphone records."""

    def __init__(self, report: Report) -> None:
        super().__init__(
            TransportParams(
                audio_out_enabled=True,
                audio_out_sample_rate=RATE,
                audio_out_auto_silence=False,
                audio_out_end_silence_secs=0,
            )
        )
        self._report = report

    async def start(self, frame: StartFrame) -> None:
        await super().start(frame)
        await self.set_transport_ready(frame)

    async def write_audio_frame(self, frame: OutputAudioRawFrame) -> bool:
        self._report.hear(frame.audio)
        await asyncio.sleep(len(frame.audio) / 2 / RATE / SPEED)
        return True


class Bot:
    """A pipeline that runs."""

    def __init__(self, report: Report, *, turn_detection: bool) -> None:
        properties = SessionProperties()
        if not turn_detection:
            properties = SessionProperties(
                audio=AudioConfiguration(input=AudioInput(turn_detection=False))
            )
        settings = OpenAIRealtimeLLMService.Settings(
            session_properties=properties, system_instruction="Say again what you hear."
        )
        service = OpenAIRealtimeLLMService(
            api_key="any", base_url=f"{URL}/realtime", settings=settings
        )
        context = LLMContext([{"role": "user", "content": "Say hello!"}])
        speaker = Loudspeaker(report)
        if turn_detection:
            pair = LLMContextAggregatorPair(context)
            stages = [pair.user(), service, speaker, pair.assistant()]
        else:
            stages = [service, speaker]
        self.service = service
        self.worker = PipelineWorker(
            Pipeline(stages),
            params=PipelineParams(audio_in_sample_rate=RATE, audio_out_sample_rate=RATE),
            cancel_on_idle_timeout=False,
        )

        @self.worker.event_handler("on_pipeline_error")
        async def on_error(worker: object, frame: object) -> None:
            report.error(frame)

        self._running: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Bot:
        started = asyncio.Event()

        @self.worker.event_handler("on_pipeline_started")
        async def on_started(worker: object, frame: object) -> None:
            started.set()

        runner = WorkerRunner(handle_sigint=False)
        await runner.add_workers(self.worker)
        self._running = asyncio.create_task(runner.run())
        await asyncio.wait_for(started.wait(), 60)
        return self

    async def __aexit__(self, *error: object) -> None:
        await self.worker.cancel()
        assert self._running is not None
        await self._running

    async def say(self, *sounds: bytes) -> None:
        async for chunk in chunks(*sounds):
            await self.worker.queue_frame(
                InputAudioRawFrame(audio=chunk, sample_rate=RATE, num_channels=1)
            )


async def quiet(report: Report, least: float) -> None:
    """Waits until so much was heard, and then nothing for a while."""
    await until(lambda: report.seconds >= least, f"{least} s of a reply: {report.seconds}")
    before = -1.0
    while report.seconds != before:
        before = report.seconds
        await asyncio.sleep(1)


async def main(report: Report) -> None:
    report.begin("context")
    async with Bot(report, turn_detection=True) as bot:
        await bot.worker.queue_frame(LLMRunFrame())
        await bot.say(SILENCE)
        for step in ("first turn", "second turn"):
            report.begin(step)
            await bot.say(SPEECH, SILENCE)
            await quiet(report, 1.5)
        report.begin("interruption")
        await bot.say(SPEECH, SILENCE)
        await until(lambda: report.seconds > 0.2, "a reply to interrupt")
        await bot.say(SPEECH, SILENCE[: 20 * CHUNK])
        report.begin("interruption")
        await bot.say(SILENCE)
        await quiet(report, 1.5)

    report.begin("push to talk")
    async with Bot(report, turn_detection=False) as bot:
        await bot.say(SILENCE)
        for _ in range(2):
            report.begin("push to talk")
            await bot.worker.queue_frames([UserStartedSpeakingFrame(), InterruptionFrame()])
            await bot.say(SPEECH, PAUSE, SPEECH)
            await bot.worker.queue_frame(UserStoppedSpeakingFrame())
            await bot.say(SILENCE)
            await quiet(report, 3.5)


run(main)
