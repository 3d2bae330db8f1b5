import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from xyt_stream.errors import CodeError
from xyt_stream.protocol.messages import Kind
from xyt_stream.protocol.packing import code_bits, frame_bytes, pack_codes, unpack_codes
from xyt_stream.protocol.payloads import PlainPayload, shared_payload


def test_frame_is_a_little_endian_integer():
    codes = [1023, 0, 512, 1, 1023, 682, 341, 1000]
    expected = sum(code << 10 * i for i, code in enumerate(codes)).to_bytes(10, "little")
    assert pack_codes(np.array(codes)[:, None]) == expected


def test_eight_codebooks_of_1024_take_1000_bits_a_second():
    assert code_bits(1024) == 10
    assert frame_bytes(8, 10) * 8 * 12.5 == 1000


@given(
    codebooks=st.integers(1, 33), frames=st.integers(0, 9), bits=st.integers(1, 16), data=st.data()
)
def test_unpacking_inverts_packing(codebooks, frames, bits, data):
    values = st.integers(0, (1 << bits) - 1)
    size = codebooks * frames
    flat = data.draw(st.lists(values, min_size=size, max_size=size))
    codes = np.array(flat, np.int64).reshape(codebooks, frames)
    packed = pack_codes(codes, bits)
    assert len(packed) == frames * frame_bytes(codebooks, bits)
    unpacked = unpack_codes(packed, codebooks, bits)
    assert unpacked.dtype == np.int64
    np.testing.assert_array_equal(unpacked, codes)


@pytest.mark.parametrize(
    "codes",
    [
        np.array([[1024]]),
        np.array([[-1]]),
        np.array([1, 2, 3]),
        np.array([[0.5]]),
    ],
)
def test_invalid_codes_are_refused(codes):
    with pytest.raises(CodeError):
        pack_codes(codes)


def test_partial_frame_is_refused():
    with pytest.raises(CodeError, match="9 bytes"):
        unpack_codes(bytes(9), 8)


def test_an_array_is_packed_once_for_all_sessions_of_a_server():
    payload, plain = shared_payload(8, 1024, sealed=False), PlainPayload(8, 1024)
    first, second = np.arange(8)[:, None], np.arange(8, 16)[:, None]
    packed = payload.pack(first)
    assert packed == plain.pack(first)
    assert payload.pack(first) is packed
    with pytest.raises(CodeError):
        payload.pack(np.full((8, 1), 1024))
    assert payload.pack(second) == plain.pack(second)
    assert payload.pack(first) == packed
    assert shared_payload(8, 1024, sealed=False) is payload
    assert shared_payload(8, 1024, sealed=True).kind is Kind.SEALED
