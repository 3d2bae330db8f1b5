from __future__ import annotations

import base64
import io

import numpy as np
import pytest
import soundfile

from xyt_stream.audio import resample, scaled_length, to_float32
from xyt_stream.errors import EventError
from xyt_stream.protocol.realtime.audio_formats import (
    AudioDecoder,
    AudioEncoder,
    decode_base64,
    seconds_of,
)
from xyt_stream.protocol.realtime.settings import AlawFormat, PcmFormat, UlawFormat


@pytest.mark.parametrize("form", [PcmFormat(), UlawFormat(), AlawFormat()])
def test_encode_and_decode_keep_length_and_shape(form, clip):
    writer, reader = AudioEncoder(form, 16_000), AudioDecoder(form, 16_000)
    sound = to_float32(clip)
    data = b"".join([writer.encode(piece) for piece in np.array_split(sound, 9)] + [writer.flush()])
    samples = scaled_length(len(clip), 16_000, form.rate)
    assert len(data) == samples * (2 if isinstance(form, PcmFormat) else 1)
    assert writer.seconds == pytest.approx(samples / form.rate)
    step = 1234
    pieces = [reader.decode(data[start : start + step]) for start in range(0, len(data), step)]
    again = np.concatenate([*pieces, reader.flush()])
    assert abs(len(again) - len(clip)) <= 1
    # Beside what the rate itself can carry. Streams resample within 0.25 ms of where they should.
    wanted = resample(resample(sound, 16_000, form.rate), form.rate, 16_000)[16:30_000]
    likeness = [np.corrcoef(wanted, again[at : at + len(wanted)])[0, 1] for at in range(33)]
    assert max(likeness) > 0.97


def test_flush_begins_a_new_recording():
    reader = AudioDecoder(PcmFormat(), 16_000)
    first = np.concatenate([reader.decode(bytes(4800)), reader.flush()])
    second = np.concatenate([reader.decode(bytes(4800)), reader.flush()])
    assert len(first) == len(second) == 1600


def test_half_a_sample_is_refused():
    with pytest.raises(EventError, match="Half a 16-bit sample"):
        AudioDecoder(PcmFormat(), 16_000).check(3)
    decoder = AudioDecoder(UlawFormat(), 8_000)
    decoder.check(3)
    assert len(decoder.decode(b"abc")) == 3


@pytest.mark.parametrize("data", [b"", b"a", b"ab", b"abc", b"abcd", bytes(range(256))])
def test_base64_needs_no_padding(data):
    text = base64.b64encode(data).decode()
    for given in (text, text.rstrip("=")):
        assert b"".join(decode_base64(given, "audio")) == data


@pytest.mark.parametrize("text", ["?", "A", "AAAAA", "AA=A", "\u00e9", "AA A"])
def test_invalid_base64_is_refused_with_its_field(text):
    with pytest.raises(EventError) as caught:
        list(decode_base64(text, "audio"))
    assert (caught.value.code, caught.value.param) == ("invalid_value", "audio")


def test_length_is_known_before_decoding():
    for form, size in ((PcmFormat(), 48_000), (UlawFormat(), 8_000)):
        text = base64.b64encode(bytes(2 * size)).decode()
        assert seconds_of(text, form) == pytest.approx(2, abs=1e-3)


@pytest.mark.parametrize(("form", "law"), [(UlawFormat(), "ULAW"), (AlawFormat(), "ALAW")])
def test_g711_is_what_libsndfile_reads_and_writes(form, law):
    every = np.arange(-32_768, 32_768).astype(np.int16)
    expected = io.BytesIO()
    raw = {"format": "RAW", "subtype": law, "samplerate": 8000}
    soundfile.write(expected, every, **raw)
    coded = AudioEncoder(form, 8_000).encode(to_float32(every))
    again, _ = soundfile.read(io.BytesIO(coded), dtype="int16", channels=1, **raw)
    wanted, _ = soundfile.read(io.BytesIO(expected.getvalue()), dtype="int16", channels=1, **raw)
    # libsndfile rounds a few samples between two levels the other way.
    assert np.abs(again.astype(int) - every).max() <= np.abs(wanted.astype(int) - every).max()
    decoded = AudioDecoder(form, 8_000).decode(bytes(range(256)))
    levels, _ = soundfile.read(io.BytesIO(bytes(range(256))), dtype="int16", channels=1, **raw)
    np.testing.assert_array_equal(decoded, to_float32(levels))
