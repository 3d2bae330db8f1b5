from __future__ import annotations

import contextlib
import os
import resource
import threading
import time

import numpy as np
import pytest
import soundfile

from xyt_stream.audio import read_audio, to_int16, wav
from xyt_stream.client.files import BLOCK, FileSink, FileSource
from xyt_stream.errors import AudioError


async def test_file_source_yields_all_in_real_time(fixtures, clip):
    source = FileSource(fixtures / "speech.flac")
    start = time.monotonic()
    blocks = [block async for block in source.blocks()]
    assert time.monotonic() - start >= len(clip) / 16_000
    assert {len(block) for block in blocks[:-1]} == {BLOCK}
    np.testing.assert_array_equal(np.concatenate(blocks), clip)
    assert source.seconds == len(clip) / 16_000


async def test_file_source_stops_in_the_middle(fixtures):
    source = FileSource(fixtures / "speech.flac")
    count = 0
    async for _ in source.blocks():
        count += 1
        if count == 3:
            source.stop()
    assert count == 3


async def test_file_source_skips_to_real_time(tmp_path):
    numbered = np.arange(100, dtype=np.int16).repeat(BLOCK)
    soundfile.write(tmp_path / "numbered.wav", numbered, 16_000)
    now = 100.0
    source = FileSource(tmp_path / "numbered.wav", clock=lambda: now)
    blocks = source.blocks()
    await anext(blocks)
    now += 0.5
    source.skip()
    first = await anext(blocks)
    assert first.tolist() == [8_000 // BLOCK] * BLOCK
    source.skip()  # nothing waits
    assert (await anext(blocks))[0] == first[0] + 1
    source.close()


async def test_any_sound_file_becomes_16_khz_mono(fixtures):
    source = FileSource(fixtures / "stereo44k.wav")
    samples, _ = read_audio(fixtures / "stereo44k.wav", 16_000)
    blocks = [block async for block in source.blocks()]
    np.testing.assert_array_equal(np.concatenate(blocks), to_int16(samples))


async def test_unreadable_file_is_one_sentence(tmp_path):
    with pytest.raises(AudioError, match="cannot read"):
        FileSource(tmp_path / "missing.wav")


async def test_file_sink_writes_everything(tmp_path, clip):
    sink = FileSink(tmp_path / "out.wav", 24_000)
    for start in range(0, len(clip), 1280):
        sink.write(clip[start : start + 1280])
    await sink.drain()
    sink.close()
    samples, rate = soundfile.read(tmp_path / "out.wav", dtype="int16")
    assert rate == 24_000
    np.testing.assert_array_equal(samples, clip)
    assert sink.buffer.depth > 0  # a loudspeaker would have most of it still before it


async def test_full_disk_is_one_sentence(tmp_path, clip):
    sink = FileSink(tmp_path / "out.wav", 16_000)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, limits[1]))
    try:
        with pytest.raises(AudioError, match=r"cannot write .*out\.wav"):
            sink.write(clip)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    sink.close()


@pytest.mark.parametrize("name", ["no/such/folder/out.wav", "out.txt", ""])
async def test_unwritable_sink_is_one_sentence(tmp_path, name):
    with pytest.raises(AudioError, match="cannot write"):
        FileSink(tmp_path / name, 16_000)


async def test_file_source_reads_a_live_pipe(tmp_path, clip):
    """The second half of the pipe comes only after most of the first half was sent."""
    soundfile.write(tmp_path / "a.wav", clip, 16_000)
    data = (tmp_path / "a.wav").read_bytes()
    os.mkfifo(tmp_path / "pipe")
    half_sent = threading.Event()

    def write():
        with (tmp_path / "pipe").open("wb", buffering=0) as pipe:
            pipe.write(data[: len(data) // 2])
            assert half_sent.wait(60)
            pipe.write(data[len(data) // 2 :])

    threading.Thread(target=write).start()
    source = FileSource(tmp_path / "pipe")
    sent = []
    async for block in source.blocks():
        sent.append(block)
        if len(sent) * BLOCK > len(clip) // 2 - 2 * BLOCK:
            half_sent.set()
    np.testing.assert_array_equal(np.concatenate(sent), clip)


async def test_file_source_reads_only_a_little_ahead(tmp_path):
    """An endless pipe is read no faster than at the pace of speech, in bounded memory."""
    os.mkfifo(tmp_path / "pipe")
    written = 0

    def write():
        nonlocal written
        with (
            contextlib.suppress(BrokenPipeError),
            (tmp_path / "pipe").open("wb", buffering=0) as pipe,
        ):
            pipe.write(wav.header(16_000, None))
            while True:
                written += pipe.write(bytes(4096))

    threading.Thread(target=write, daemon=True).start()
    source = FileSource(tmp_path / "pipe")
    count = 0
    async for _ in source.blocks():
        count += 1
        if count == 25:  # half a second, 16 kB
            source.stop()
    assert written < 1 << 21
    source.close()
