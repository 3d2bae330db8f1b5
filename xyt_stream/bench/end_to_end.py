"""From mouth to ear through a real server: what each part of the way takes, and what it is in all.

The mouth is a recording spoken in real time in blocks of 20 ms, the ear a loudspeaker's jitter
buffer that is emptied in such blocks, so none needs a sound card. The parts are measured one by
one; the whole is measured apart from them, by laying what was heard over what was said.
"""

from __future__ import annotations

import asyncio
import re
import time
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch

from xyt_stream.audio import INPUT_RATE, Pcm16, Samples, to_float32, to_int16
from xyt_stream.bench.speech import BLOCK_SECONDS, in_real_time
from xyt_stream.client import Connection, connect
from xyt_stream.client.jitter import JitterBuffer
from xyt_stream.client.report import Latency
from xyt_stream.errors import ProtocolError
from xyt_stream.evaluate.timing import Times, summary, timed, warm_up
from xyt_stream.protocol.machine import Pcm
from xyt_stream.protocol.messages import Ready
from xyt_stream.streaming.codec import Codec

RESOLUTION = 0.001  # seconds, of envelopes
_SMOOTH = 0.01  # seconds over which a codec smears a click
_TRIES = 6  # while the server is busy
_AFTER = 1.0  # seconds of silence after the recording, in which its end is heard


def clicks(seconds: float, every: float = 0.7, *, seed: int = 0) -> Pcm16:
    """Clicks in a quiet tone, int16 [samples] at 16 kHz: 30 ms each, at uneven distances."""
    random = np.random.default_rng(seed)
    time_of = np.arange(round(seconds * INPUT_RATE)) / INPUT_RATE
    sound = 0.01 * np.sin(2 * np.pi * 220 * time_of)
    click = np.zeros(480)
    click[::80] = 0.6  # a voice at 200 Hz, not a single sample: the codec has learned speech
    for at in np.arange(0.4, seconds - 0.2, every):
        start = round((at + random.uniform(0, every / 3)) * INPUT_RATE)
        sound[start : start + len(click)] += np.convolve(click, np.hanning(24), "same")
    return to_int16(sound)


def lag(said: Samples, heard: Samples, said_rate: int, heard_rate: int) -> float:
    """Seconds by which `heard` is later than `said`, to RESOLUTION: where their envelopes fit best.

    Args:
        said, heard: float32 [n], each at its rate, that began at the same time.
    """
    first, second = _envelope(said, said_rate), _envelope(heard, heard_rate)
    size = len(first) + len(second)
    spectrum = np.fft.rfft(second, size) * np.conj(np.fft.rfft(first, size))
    return int(np.fft.irfft(spectrum, size)[: len(second)].argmax()) * RESOLUTION


def _envelope(samples: Samples, rate: int) -> Samples:
    step = round(rate * RESOLUTION)
    power = np.square(samples[: len(samples) // step * step]).reshape(-1, step).mean(axis=1)
    window = np.hanning(round(_SMOOTH / RESOLUTION) + 2)
    smooth: Samples = np.sqrt(np.convolve(power, window / window.sum(), "same"))
    centred: Samples = smooth - smooth.mean()
    return centred


@dataclass(frozen=True)
class Journey:
    """One recording's way through a server.

    Attributes:
        ready: what the server said of the session.
        turnaround: seconds from a frame's last sample until its sound was back, of each frame.
        buffered: seconds of sound that waited in the jitter buffer when more arrived, each time.
        device: seconds that were still to be played of what the loudspeaker had taken, each time.
        mouth_to_ear: seconds, by the envelopes.
        underruns: of the jitter buffer; each makes the way longer from then on.
        heard: what the ear heard, float32 [n], from the first spoken sample on.
    """

    ready: Ready
    turnaround: list[float]
    buffered: list[float]
    device: list[float]
    mouth_to_ear: float
    underruns: int
    heard: Samples


class _Ear:
    """Plays a jitter buffer in blocks, in real time, and remembers what was heard when."""

    def __init__(self, rate: int, began: float, target: float) -> None:
        self.buffer = JitterBuffer(rate, target=target)
        self.buffered: list[float] = []
        self.device: list[float] = []
        self._rate = rate
        self._heard: list[Pcm16] = []
        self._next_block = began
        self._plays = False

    def arrived(self, samples: Pcm16) -> None:
        """Sound has come from the server."""
        if self._plays:
            self.buffered.append(self.buffer.depth)
            self.device.append(max(0.0, self._next_block - time.monotonic()))
        self.buffer.push(samples)

    async def play(self) -> None:
        """Never returns."""
        count = round(BLOCK_SECONDS * self._rate)
        while True:
            await asyncio.sleep(max(0.0, self._next_block - time.monotonic()))
            block = self.buffer.pull(count)
            self._plays = len(block) == count
            self._heard.append(np.pad(block, (0, count - len(block))))
            self._next_block += BLOCK_SECONDS

    def heard(self) -> Samples:
        return to_float32(np.concatenate(self._heard))


def travel(url: str, pcm: Pcm16, *, target: float = 0.1) -> Journey:
    """Says int16 [samples] at 16 kHz to a server in real time, and hears it again.

    Args:
        target: seconds that the jitter buffer has before it plays. While it does not run dry, the
            way is the same for all of the sound.

    Raises:
        ConnectionFailedError, ProtocolError: there is no server, or it is busy for long.
    """
    with ThreadPoolExecutor(1) as apart:  # from the event loop that a notebook runs in
        for _ in range(_TRIES):
            going = apart.submit(lambda: asyncio.run(_travel(url, pcm, target)))
            try:
                return going.result()
            except ProtocolError as error:
                if error.retry_after is None:
                    raise
                failure = error
                time.sleep(error.retry_after)
        raise failure


async def _travel(url: str, pcm: Pcm16, target: float) -> Journey:
    async with connect(url, "loopback", send_rate=INPUT_RATE) as connection:
        ready = connection.ready
        latency = Latency(ready.frame_samples)
        began = time.monotonic()
        ear = _Ear(ready.receive_rate, began, target)
        playing = asyncio.create_task(ear.play())
        speaking = asyncio.create_task(_speak(connection, pcm, latency, began))
        async for event in connection:
            if isinstance(event, Pcm):
                latency.arrived(event.frame)
                ear.arrived(event.samples)
        await speaking
        playing.cancel()
    heard = ear.heard()
    whole = lag(to_float32(pcm), heard, INPUT_RATE, ready.receive_rate)
    return Journey(
        ready, latency.values, ear.buffered, ear.device, whole, ear.buffer.underruns, heard
    )


async def _speak(connection: Connection, pcm: Pcm16, latency: Latency, began: float) -> None:
    pcm = np.concatenate([pcm, np.zeros(round(_AFTER * INPUT_RATE), np.int16)])
    async for block in in_real_time(pcm, began):
        latency.sent(len(block))
        await connection.send_pcm(block)
    await connection.end()


@dataclass(frozen=True)
class Totals:
    """What a server's counters say: seconds, and what they are seconds of."""

    steps: int
    step_seconds: float
    frames: int
    turnaround_seconds: float

    def __sub__(self, other: Totals) -> Totals:
        return Totals(
            self.steps - other.steps,
            self.step_seconds - other.step_seconds,
            self.frames - other.frames,
            self.turnaround_seconds - other.turnaround_seconds,
        )


def totals(url: str) -> Totals:
    """A server's, by now, from its /metrics."""
    with urllib.request.urlopen(f"{url.replace('ws', 'http', 1)}/metrics", timeout=30) as page:
        text = page.read().decode()

    def counter(name: str) -> float:
        found = re.search(rf"^{name} (\S+)$", text, re.MULTILINE)
        assert found is not None, name
        return float(found[1])

    return Totals(
        int(counter("xyt_step_seconds_count")),
        counter("xyt_step_seconds_sum"),
        int(counter("xyt_frame_turnaround_seconds_count")),
        counter("xyt_frame_turnaround_seconds_sum"),
    )


def parts(journey: Journey, server: Totals, encode: Times, decode: Times) -> dict[str, float]:
    """Where the time went, ms, in the order of the way; their sum should be `mouth_to_ear`.

    Args:
        server: its counters over the journey.
        encode, decode: steps of the two halves alone: the server's step is divided in proportion.
    """
    frame = journey.ready.frame_ms
    delays = journey.ready.delay_ms
    step = server.step_seconds / server.steps * 1e3
    turnaround = server.turnaround_seconds / server.frames * 1e3
    share = encode["median"] / (encode["median"] + decode["median"])
    overlap = delays.decode % frame
    lookahead = delays.encode - frame + delays.decode - overlap
    return {
        "frame": frame,
        "lookahead": lookahead,
        "network": _mean_ms(journey.turnaround) - turnaround,
        "queue": turnaround - step,
        "encode": step * share,
        "decode": step * (1 - share),
        "overlap-add": overlap,
        "jitter buffer": _mean_ms(journey.buffered),
        "device": _mean_ms(journey.device),
    }


def halves(codec: Codec, *, steps: int = 50, lookahead: int = 0) -> tuple[Times, Times]:
    """Steps of the encoder and of the decoder alone, on the codec's device."""
    encoder = codec.stream_encoder(lookahead=lookahead)
    decoder = codec.stream_decoder(lookahead=lookahead)
    noise = torch.randn(codec.frame_samples_in, generator=torch.Generator().manual_seed(0)) / 10
    encoding, decoding = [], []
    for _ in range(warm_up(lookahead) + steps):
        codes, seconds = timed(lambda: encoder.push(noise), codec.device)
        encoding.append(seconds)
        _, seconds = timed(partial(decoder.push, codes), codec.device)
        decoding.append(seconds)
    return summary(encoding[-steps:]), summary(decoding[-steps:])


def _mean_ms(seconds: list[float]) -> float:
    return float(np.mean(seconds)) * 1e3 if seconds else 0.0
