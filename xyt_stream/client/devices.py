"""Captures from microphones and plays on loudspeakers, through PortAudio (extra "audio")."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import suppress
from types import ModuleType
from typing import Any

import numpy as np

from xyt_stream.audio import INPUT_RATE, Pcm16, StreamResampler, to_float32, to_int16
from xyt_stream.client.jitter import JitterBuffer
from xyt_stream.errors import DeviceError, MissingExtraError

_BLOCK_SECONDS = 0.02
_DRAIN_MARGIN = 2.0  # seconds that a device may take longer than the buffered audio


def list_devices() -> list[tuple[str, str, str, str, str]]:
    """Lists the sound devices, each as (number, name, input channels, output channels, defaults).

    `defaults` is "input", "output", both with a comma, or empty.

    Raises:
        MissingExtraError: the extra "audio" is not installed.
        DeviceError: PortAudio is missing.
    """
    sounddevice = _sounddevice()
    default_input, default_output = sounddevice.default.device
    rows = []
    for device in sounddevice.query_devices():
        index = device["index"]
        default = [
            name
            for name, chosen in (("input", default_input), ("output", default_output))
            if index == chosen
        ]
        rows.append(
            (
                str(index),
                str(device["name"]),
                str(device["max_input_channels"]),
                str(device["max_output_channels"]),
                ", ".join(default),
            )
        )
    return rows


class Microphone:
    """Captures a sound device. PortAudio's thread fills a queue that `blocks` reads.

    Args:
        device: a number or part of a name, as in `list_devices`; None: the default.

    Raises:
        MissingExtraError: the extra "audio" is not installed.
        DeviceError: there is no such device.
    """

    seconds: float | None = None  # duration: unknown

    def __init__(self, device: str | None) -> None:
        self._loop = asyncio.get_running_loop()
        self._queue: asyncio.Queue[Pcm16 | None] = asyncio.Queue()
        self._stream, rate = _open("input", device, INPUT_RATE, self._captured)
        self._resampler = StreamResampler(rate, INPUT_RATE)

    async def blocks(self) -> AsyncIterator[Pcm16]:
        """Yields int16 [samples] at INPUT_RATE as they are captured."""
        self._stream.start()
        while (block := await self._queue.get()) is not None:
            yield to_int16(self._resampler.push(to_float32(block)))

    def skip(self) -> None:
        """Drops the captured blocks that have not been yielded yet."""
        waiting = [self._queue.get_nowait() for _ in range(self._queue.qsize())]
        if any(block is None for block in waiting):
            self.stop()

    def stop(self) -> None:
        """Ends `blocks` after those that were captured already."""
        self._queue.put_nowait(None)

    def close(self) -> None:
        """Closes the device."""
        self._stream.close()

    def _captured(self, samples: np.ndarray, frames: int, when: object, status: object) -> None:
        block = samples[:, 0].copy()
        self._loop.call_soon_threadsafe(self._queue.put_nowait, block)


class Loudspeaker:
    """Plays audio on a sound device through a jitter buffer; PortAudio's thread pulls from it.

    Args:
        device: as for Microphone.
        rate: Hz of the audio that will be written.

    Raises:
        MissingExtraError: the extra "audio" is not installed.
        DeviceError: there is no such device.
    """

    def __init__(self, device: str | None, rate: int) -> None:
        self._loop = asyncio.get_running_loop()
        self._played = asyncio.Event()
        self._rate = rate
        self._stream, device_rate = _open("output", device, rate, self._play)
        self._resampler = StreamResampler(rate, device_rate)
        self.buffer = JitterBuffer(device_rate)
        self._stream.start()

    def write(self, samples: Pcm16, *, gap: bool = False) -> None:
        """Plays int16 [samples] at `rate`; `gap`: audio before them was lost."""
        self.buffer.push(to_int16(self._resampler.push(to_float32(samples))), gap=gap)

    def clear(self) -> int:
        """Drops the audio that has not been played; returns its number of samples at `rate`."""
        dropped = self.buffer.clear()
        return round(dropped * self._rate / self.buffer.rate)

    async def drain(self) -> None:
        """Waits until all audio has been played."""
        self.buffer.push(to_int16(self._resampler.flush()))
        self.buffer.finish()
        # A device that was unplugged never pulls the rest: hence the timeout.
        with suppress(asyncio.TimeoutError):
            await asyncio.wait_for(self._played.wait(), self.buffer.depth + _DRAIN_MARGIN)
        # `stop` waits for the audio that the device itself has buffered.
        await asyncio.to_thread(self._stream.stop)

    def close(self) -> None:
        """Closes the device."""
        self._stream.close()

    def _play(self, out: np.ndarray, frames: int, when: object, status: object) -> None:
        samples = self.buffer.pull(frames)
        out[: len(samples), 0] = samples
        out[len(samples) :, 0] = 0
        if self.buffer.done:
            self._loop.call_soon_threadsafe(self._played.set)


def _sounddevice() -> ModuleType:
    try:
        import sounddevice
    except ModuleNotFoundError:
        raise MissingExtraError("Sound devices", "audio") from None
    except OSError:  # sounddevice found no PortAudio library
        raise DeviceError(
            "the PortAudio library is missing: install it (Debian, Ubuntu: apt install "
            "libportaudio2; Fedora: dnf install portaudio; macOS: brew install portaudio)"
        ) from None
    module: ModuleType = sounddevice
    return module


def _open(kind: str, device: str | None, rate: int, callback: Any) -> tuple[Any, int]:
    """Opens a mono int16 stream at `rate`, or at the device's default rate if it refuses `rate`.

    Returns:
        The stream and its rate in Hz.
    """
    sounddevice = _sounddevice()
    label = "microphone" if kind == "input" else "loudspeaker"
    number = int(device) if device is not None and device.isdecimal() else device
    check = getattr(sounddevice, f"check_{kind}_settings")
    try:
        found = sounddevice.query_devices(number, kind)
        try:
            check(number, channels=1, dtype="int16", samplerate=rate)
        except sounddevice.PortAudioError:
            rate = round(found["default_samplerate"])
        stream = (sounddevice.InputStream if kind == "input" else sounddevice.OutputStream)(
            device=number,
            channels=1,
            dtype="int16",
            samplerate=rate,
            blocksize=round(rate * _BLOCK_SECONDS),
            latency="low",
            callback=callback,
        )
    except (sounddevice.PortAudioError, ValueError) as error:
        named = "" if device is None else f" {device!r}"
        reason = "there is none" if device is None and "device -1" in str(error) else error
        raise DeviceError(
            f"cannot open the {label}{named} ({reason}): `xyt-stream devices` lists the devices, "
            f"--{kind} FILE uses a file instead"
        ) from None

    return stream, rate
