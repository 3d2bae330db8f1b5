from __future__ import annotations

import io
import warnings

import numpy as np
import pytest
import soundfile

from xyt_stream.protocol.realtime import g711

ALL = bytes(range(256))
EVERY = np.arange(-32_768, 32_768).astype(np.int16)
LAWS = {"ULAW": (g711.from_ulaw, g711.to_ulaw), "ALAW": (g711.from_alaw, g711.to_alaw)}


@pytest.mark.parametrize("law", LAWS)
def test_bytes_stand_for_what_libsndfile_says(law):
    read, _ = LAWS[law]
    reference, _ = soundfile.read(
        io.BytesIO(ALL), dtype="int16", format="RAW", subtype=law, samplerate=8000, channels=1
    )
    np.testing.assert_array_equal(read(ALL), reference)
    assert read(b"").shape == (0,)


@pytest.mark.parametrize("law", LAWS)
def test_every_sample_has_the_byte_that_the_standard_library_gives_it(law):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        audioop = pytest.importorskip("audioop", reason="gone in Python 3.13")
    _, write = LAWS[law]
    encode = {"ULAW": audioop.lin2ulaw, "ALAW": audioop.lin2alaw}[law]
    assert write(EVERY) == encode(EVERY.tobytes(), 2)


@pytest.mark.parametrize("law", LAWS)
def test_every_sample_gets_a_neighbouring_level(law):
    read, write = LAWS[law]
    assert read(write(read(ALL))).tolist() == read(ALL).tolist()
    levels = np.unique(read(ALL).astype(int))
    coded = read(write(EVERY)).astype(int)
    assert (np.diff(coded) >= 0).all()
    above = np.clip(np.searchsorted(levels, EVERY), 0, len(levels) - 1)
    below = np.clip(above - 1, 0, None)
    assert ((coded == levels[above]) | (coded == levels[below])).all()
