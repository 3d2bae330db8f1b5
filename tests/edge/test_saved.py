from __future__ import annotations

import hashlib
import struct
from pathlib import Path

import numpy as np
import pytest

from xyt_stream.audio import Pcm16, to_float32
from xyt_stream.edge import EdgeDecoder, EdgeEncoder
from xyt_stream.edge.inputs import Samples
from xyt_stream.errors import StateError

HEAD = 46  # bytes before the samples that wait


@pytest.fixture(scope="module")
def sound(clip: Pcm16) -> Samples:
    return to_float32(clip)


def sealed(data: bytes) -> bytes:
    """A state whose body was changed, with the digest that an attacker would put behind it."""
    return data[:-32] + hashlib.sha256(data[:-32]).digest()


@pytest.mark.parametrize("cut", [0, 1, 1280, 1281, 20_000])
def test_a_paused_stream_goes_on_elsewhere(sound: Samples, cut: int) -> None:
    one, other = EdgeEncoder(), EdgeEncoder()
    first = one.push(sound[:cut])
    other.push(-sound[:7000])  # it did something else before
    other.load_state(one.state())
    rest = [np.concatenate([e.push(sound[cut:]), e.flush()], axis=1) for e in (one, other)]
    assert np.array_equal(*rest)
    codes = np.concatenate([first, rest[1]], axis=1)

    for frames in (0, 1, 5):
        speaker, elsewhere = EdgeDecoder(), EdgeDecoder()
        before = speaker.push(codes[:, :frames])
        elsewhere.push(codes[:, 9:11])
        elsewhere.load_state(speaker.state())
        here = np.concatenate([speaker.push(codes[:, frames:]), speaker.flush()])
        there = np.concatenate([elsewhere.push(codes[:, frames:]), elsewhere.flush()])
        assert np.array_equal(here, there)
        assert len(before) + len(there) == 1280 * codes.shape[1]


def test_a_decoder_moved_before_its_end_plays_the_end() -> None:
    codes = np.arange(24).reshape(8, 3)
    one, other = EdgeDecoder(), EdgeDecoder()
    one.push(codes)
    other.load_state(one.state())
    assert np.array_equal(one.flush(), other.flush())


def test_forks_do_not_touch_each_other(sound: Samples) -> None:
    encoder, fork = EdgeEncoder(), EdgeEncoder()
    encoder.push(sound[:9000])
    state = encoder.state()
    fork.load_state(state)
    fork.push(-sound[9000:15_000])
    assert encoder.state() == state
    fork.load_state(state)
    assert np.array_equal(encoder.push(sound[9000:]), fork.push(sound[9000:]))


def damaged(state: bytes) -> dict[str, bytes]:
    """Bytes that are no state of an encoder with some 200 samples waiting."""
    numbers = np.frombuffer(state, "<f4", offset=HEAD + 800 + 8, count=100)
    waiting = struct.unpack_from("<I", state, HEAD - 4)[0]
    assert waiting == 200
    wild = {
        "nan": np.float32(np.nan),
        "infinity": np.float32(np.inf),
        "huge": np.float32(1e30),
    }
    cases = {
        "empty": b"",
        "short": state[:20],
        "cut short": state[:-1],
        "longer": state + b"\0",
        "another magic": b"xyt-nope" + state[8:],
        "another version": sealed(state[:8] + b"\2" + state[9:]),
        "another half": sealed(state[:9] + b"D" + state[10:]),
        "no half": sealed(state[:9] + b"?" + state[10:]),
        "another model": sealed(state[:10] + bytes(32) + state[42:]),
        "more waiting": sealed(state[:42] + struct.pack("<I", 1280) + state[46:]),
        "endless waiting": sealed(state[:42] + struct.pack("<I", 2**32 - 1) + state[46:]),
        "less waiting": sealed(state[:42] + struct.pack("<I", 0) + state[46:]),
        "no digest": state[:-32] + bytes(32),
        "a flipped bit": state[:5000] + bytes([state[5000] ^ 1]) + state[5001:],
        "frames before the start": sealed(state[:846] + struct.pack("<q", -1) + state[854:]),
        "endless frames": sealed(state[:846] + struct.pack("<q", 2**62) + state[854:]),
    }
    for name, number in wild.items():
        changed = numbers.copy()
        changed[50] = number
        place = HEAD + 800 + 8
        cases[name] = sealed(state[:place] + changed.tobytes() + state[place + 400 :])
    return cases


def test_a_damaged_or_hostile_state_is_refused_and_the_stream_goes_on(sound: Samples) -> None:
    encoder, reference = EdgeEncoder(), EdgeEncoder()
    for each in (encoder, reference):
        each.push(sound[: 4 * 1280 + 200])
    state = encoder.state()
    for name, bad in damaged(state).items():
        with pytest.raises(StateError) as caught:
            encoder.load_state(bad)
        assert "\n" not in str(caught.value), name
    encoder.load_state(state)
    assert np.array_equal(encoder.push(sound[6000:]), reference.push(sound[6000:]))


def test_a_state_of_the_other_half_or_another_model_is_refused_by_name(exported: Path) -> None:
    with pytest.raises(StateError, match="decoder"):
        EdgeEncoder().load_state(EdgeDecoder().state())
    with pytest.raises(StateError, match="encoder"):
        EdgeDecoder().load_state(EdgeEncoder().state())
    with pytest.raises(StateError, match="another model"):
        EdgeEncoder().load_state(EdgeEncoder(exported).state())
