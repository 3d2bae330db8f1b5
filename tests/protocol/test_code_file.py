from __future__ import annotations

import contextlib
import dataclasses
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from xyt_stream.errors import CodeError, CodeFileError
from xyt_stream.protocol import code_file
from xyt_stream.protocol.code_file import CodeFile


def small(**changes: object) -> CodeFile:
    base = CodeFile(
        codes=np.array([[1, 0], [2, 1023]]),
        codebook_size=1024,
        model_name="mini",
        model_hash="c0ffee",
        input_rate=16_000,
        frame_samples=1280,
        original_rate=44_100,
        original_samples=4410,
    )
    return dataclasses.replace(base, **changes)  # type: ignore[arg-type]


def sealed(body: bytes) -> bytes:
    return body + struct.pack("<I", zlib.crc32(body))


def test_file_has_the_documented_bytes() -> None:
    assert small().to_bytes() == sealed(
        b"XYT\x00\x01\x02"
        + bytes.fromhex("0004 803e0000 0005 44ac0000 3a11000000000000 02000000")
        + b"\x04mini\x06c0ffee"
        + bytes.fromhex("010800 00fc0f")
    )


@given(
    frames=st.integers(0, 40), codebooks=st.integers(1, 32), size=st.sampled_from([2, 1024, 1000])
)
def test_reading_inverts_writing(frames: int, codebooks: int, size: int) -> None:
    codes = np.random.default_rng(frames).integers(0, size, (codebooks, frames))
    there = small(codes=codes, codebook_size=size, original_samples=frames * 3528)
    back = CodeFile.from_bytes(there.to_bytes())
    assert back.codes.dtype == np.int64
    assert np.array_equal(back.codes, codes)
    for field in dataclasses.fields(CodeFile):
        if field.name != "codes":
            assert getattr(back, field.name) == getattr(there, field.name)


def test_a_second_takes_1000_bits_plus_a_small_header(tmp_path: Path) -> None:
    minute = small(codes=np.zeros((8, 750), np.int64), original_samples=60 * 44_100)
    minute.write(tmp_path / "a.xyt")
    assert (tmp_path / "a.xyt").stat().st_size == 7500 + 46
    assert CodeFile.read(tmp_path / "a.xyt").seconds == 60


def test_truncation_at_any_byte_is_refused() -> None:
    whole = small().to_bytes()
    for keep in range(len(whole)):
        with pytest.raises(CodeFileError, match="not a .xyt" if keep < 4 else "cut short"):
            CodeFile.from_bytes(whole[:keep])


def test_flipped_bits_and_extra_bytes_are_refused() -> None:
    whole = small().to_bytes()
    for bit in range(8 * len(whole)):
        damaged = bytearray(whole)
        damaged[bit // 8] ^= 1 << bit % 8
        with pytest.raises(CodeFileError):
            CodeFile.from_bytes(bytes(damaged))
    with pytest.raises(CodeFileError, match="damaged"):
        CodeFile.from_bytes(whole + b"\0")


@given(st.binary(max_size=200))
def test_random_bytes_raise_only_code_file_errors(noise: bytes) -> None:
    for data in (noise, b"XYT\0\1" + noise, sealed(b"XYT\0\1" + noise)):
        with contextlib.suppress(CodeFileError):
            CodeFile.from_bytes(data)


@pytest.mark.parametrize(
    ("place", "value"),
    [
        (5, bytes(1)),  # no codebooks
        (6, bytes(2)),  # of no size
        (8, bytes(4)),  # at no rate
        (12, bytes(2)),  # in frames of nothing
        (14, bytes(4)),  # from nothing
        (14, b"\xff" * 4),
        (18, b"\xff" * 8),  # 584 billion seconds in two frames
        (26, b"\xff" * 4),  # 40 GB of frames
    ],
)
def test_false_sizes_with_a_valid_checksum_are_refused(place: int, value: bytes) -> None:
    body = bytearray(small().to_bytes()[:-4])
    body[place : place + len(value)] = value
    with pytest.raises(CodeFileError):
        CodeFile.from_bytes(sealed(bytes(body)))


def test_later_version_is_refused_by_number() -> None:
    body = bytearray(small().to_bytes()[:-4])
    body[4] = 2
    with pytest.raises(CodeFileError, match=r"version 2 .* reads version 1"):
        CodeFile.from_bytes(sealed(bytes(body)))


def test_out_of_range_codes_are_not_written() -> None:
    with pytest.raises(CodeError):
        small(codes=np.array([[1024]])).to_bytes()


def test_codes_of_another_model_are_refused_with_both_names() -> None:
    small().require_model("mini", "c0ffee")
    with pytest.raises(CodeFileError, match=r"mini \(c0ffee\), not other \(beef\).*--model"):
        small().require_model("other", "beef")


def test_names_and_hashes_in_a_file_do_not_control_the_terminal() -> None:
    hostile = "\x1b[2J\x9b\x7f\u202e\n"
    file = CodeFile.from_bytes(small(model_name=hostile, model_hash=hostile).to_bytes())
    with pytest.raises(CodeFileError) as refused:
        file.require_model("other", "beef")
    assert str(refused.value).isprintable()
    assert str(refused.value).count(r"\x1b[2J\x9b\x7f\u202e\n") == 2


def test_unreadable_and_unwritable_files_are_named(tmp_path: Path) -> None:
    with pytest.raises(CodeFileError, match=r"missing\.xyt: No such file"):
        CodeFile.read(tmp_path / "missing.xyt")
    with pytest.raises(CodeFileError, match="cannot write"):
        small().write(tmp_path / "nowhere" / "a.xyt")
    (tmp_path / "text.xyt").write_text("words")
    with pytest.raises(CodeFileError, match=r"text\.xyt: this is not"):
        CodeFile.read(tmp_path / "text.xyt")


@pytest.mark.skipif(not Path("/dev/zero").exists(), reason="there is no such device here")
def test_what_never_ends_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(CodeFileError, match="this is not"):
        CodeFile.read("/dev/zero")
    monkeypatch.setattr(code_file, "_MOST_BYTES", 1 << 21)
    with (tmp_path / "long.xyt").open("wb") as file:
        file.write(small().to_bytes())
        file.truncate(1 << 40)
    with pytest.raises(CodeFileError, match="this one is longer"):
        CodeFile.read(tmp_path / "long.xyt")
