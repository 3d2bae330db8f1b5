from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from xyt_stream.delay import MOSS_TTSD, PLAIN, Delayer, DelayPattern, Undelayer, delay, undelay
from xyt_stream.errors import CodeError

SMALL = DelayPattern(delays=(0, 1, 2), pads=9, codebook_size=9)


@st.composite
def patterns(draw):
    """Patterns of any delays, offsets and pads that agree with each other."""
    codebooks, size = draw(st.integers(1, 9)), draw(st.integers(1, 1024))
    delays = draw(st.lists(st.integers(0, 12), min_size=codebooks, max_size=codebooks))
    offsets = draw(st.lists(st.integers(0, 200_000), min_size=codebooks, max_size=codebooks))
    after = draw(st.booleans())  # pads above the codes, or below where there is space
    pads = [o + size if after or o == 0 else o - 1 for o in offsets]
    text = draw(st.sampled_from([0, offsets[0], offsets[0] + size + 5]))
    return DelayPattern(tuple(delays), tuple(offsets), tuple(pads), size, text)


@st.composite
def cut(draw, total):
    """Lengths of pieces, some of them empty, that add up to `total`."""
    ends = sorted(draw(st.lists(st.integers(0, total), max_size=8)))
    return np.diff([0, *ends, total])


def test_codebook_k_comes_k_rows_late():
    grid = delay(np.arange(6).reshape(3, 2), SMALL)
    assert grid.tolist() == [[0, 9, 9], [1, 2, 9], [9, 3, 4], [9, 9, 5]]
    assert undelay(grid, SMALL).tolist() == [[0, 1], [2, 3], [4, 5]]


def test_moss_ttsd_puts_codebook_0_into_the_text_vocabulary():
    codes = np.arange(16).reshape(8, 2)
    grid = delay(codes, MOSS_TTSD)
    assert grid.shape == (9, 8)
    assert grid[:, 0].tolist() == [151_665, 151_666, *[151_643] * 7]
    assert grid[0, 1:].tolist() == [1024] * 7
    assert grid[8].tolist() == [151_643, *[1024] * 6, 15]
    words = np.full((5, 8), 1024)
    words[:, 0] = [100, 151_643, 7, 152_694, 152_696]
    np.testing.assert_array_equal(undelay(np.concatenate([words, grid, words]), MOSS_TTSD), codes)


@given(st.data())
def test_any_codes_come_back_however_they_are_cut(data):
    pattern = data.draw(patterns())
    frames = data.draw(st.integers(0, 40))
    random = np.random.default_rng(data.draw(st.integers(0, 99)))
    codes = random.integers(0, pattern.codebook_size, (pattern.codebooks, frames))
    whole = delay(codes, pattern)
    assert whole.shape == (frames + pattern.tail, pattern.codebooks)

    delayer, at, rows = Delayer(pattern), 0, []
    for length in data.draw(cut(frames)):
        rows.append(delayer.push(codes[:, at : at + length]))
        assert rows[-1].shape == (length, pattern.codebooks)  # a row for a frame, at once
        at += length
    grid = np.concatenate([*rows, delayer.flush()])
    np.testing.assert_array_equal(grid, whole)

    undelayer, at, heard = Undelayer(pattern), 0, []
    for length in data.draw(cut(len(grid))):
        heard.append(undelayer.push(grid[at : at + length]))
        at += length
        complete = max(0, at - pattern.tail)
        assert sum(part.shape[1] for part in heard) == complete
    undelayer.end()
    np.testing.assert_array_equal(np.concatenate(heard, axis=1), codes)


@given(st.data())
def test_a_hostile_grid_is_read_or_refused_with_a_code_error(data):
    grid = delay(np.random.default_rng(0).integers(0, 9, (3, 12)), SMALL)
    for _ in range(data.draw(st.integers(1, 4))):
        row, column = data.draw(st.integers(0, 13)), data.draw(st.integers(0, 2))
        grid[row, column] = data.draw(st.integers(-(2**63), 2**63 - 1) | st.integers(-1, 10))
    try:
        codes = undelay(grid, SMALL)
    except CodeError:
        return
    assert 0 <= codes.min() <= codes.max() < 9


@pytest.mark.parametrize(
    ("row", "column", "token", "message"),
    [
        (3, 1, 10, "token 10 in row 3, column 1"),
        (3, 1, -1, "token -1 in row 3, column 1"),
        (3, 1, 9, "frame 2 of the grid is not complete: column 1 has no code in row 3"),
        (3, 0, 9, "frame 3 of the grid is not complete: column 0 has no code in row 3"),
        (0, 2, 4, "frame -2 of the grid is not complete: column 0"),
        (13, 0, 4, "ends inside a frame"),
    ],
)
def test_faults_of_a_grid_are_one_line(row, column, token, message):
    grid = delay(np.random.default_rng(0).integers(0, 9, (3, 12)), SMALL)
    grid[row, column] = token
    with pytest.raises(CodeError, match=message):
        undelay(grid, SMALL)


def test_a_bad_piece_leaves_the_grid_as_it_was():
    codes = np.random.default_rng(1).integers(0, 9, (3, 10))
    grid = delay(codes, SMALL)
    delayer, undelayer = Delayer(SMALL), Undelayer(SMALL)
    rows = [delayer.push(codes[:, :5])]
    heard = [undelayer.push(grid[:5])]
    with pytest.raises(CodeError, match="codes must be 0 to 8; got 9 to 9"):
        delayer.push(np.full((3, 2), 9))
    with pytest.raises(CodeError, match="in row 6, column 2"):
        undelayer.push(np.array([[1, 1, 1], [1, 1, 77]]))
    rows += [delayer.push(codes[:, 5:]), delayer.flush()]
    heard.append(undelayer.push(grid[5:]))
    np.testing.assert_array_equal(np.concatenate(rows), grid)
    np.testing.assert_array_equal(np.concatenate(heard, axis=1), codes)


def test_a_model_steps_a_row_for_a_row():
    """One that says again what it hears, 80 ms at a time, is heard as late as its last codebook."""
    delayer, undelayer = Delayer(MOSS_TTSD), Undelayer(MOSS_TTSD)
    codes = np.random.default_rng(3).integers(0, 1024, (8, 20))
    said = []
    for frame in codes.T:
        row = delayer.push(frame[:, None])[0]
        assert row.shape == (8,)
        said.append(undelayer.push(row[None]))
    assert [part.shape[1] for part in said] == [0] * 7 + [1] * 13
    np.testing.assert_array_equal(np.concatenate(said, axis=1), codes[:, :13])


@pytest.mark.parametrize("begin_anew", ["end", "reset"])
def test_one_grid_after_another(begin_anew):
    codes = np.random.default_rng(2).integers(0, 9, (3, 6))
    delayer, undelayer = Delayer(SMALL), Undelayer(SMALL)
    grid = np.concatenate([delayer.push(codes), delayer.flush()])
    undelayer.push(grid if begin_anew == "end" else grid[:4])
    getattr(undelayer, begin_anew)()
    again = np.concatenate([delayer.push(codes), delayer.flush()])
    np.testing.assert_array_equal(again, grid)
    np.testing.assert_array_equal(undelayer.push(grid), codes)


@pytest.mark.parametrize("dtype", [np.int16, np.int32, np.uint16, np.uint64])
def test_integers_of_every_kind_become_int64(dtype):
    codes = np.arange(16, dtype=dtype).reshape(8, 2)
    grid = delay(codes, MOSS_TTSD)
    assert grid.dtype == np.int64
    assert undelay(delay(codes).astype(dtype)).dtype == np.int64


def test_tensors_come_back_as_tensors():
    codes = torch.arange(24, dtype=torch.int32).reshape(8, 3)
    delayer = Delayer()
    grid = torch.cat([delayer.push(codes), delayer.flush()])
    assert grid.dtype == torch.int64
    assert torch.equal(grid, delay(codes))
    assert torch.equal(undelay(grid), codes.long())


@pytest.mark.parametrize(
    "codes",
    [
        np.zeros((8, 3)),
        np.zeros((8, 3), bool),
        np.zeros((3, 8), np.int64),
        np.zeros(8, np.int64),
        [[1], [2, 3]],
        None,
        torch.zeros(8, 3, dtype=torch.bfloat16),
        np.full((8, 1), 2**64 - 1, np.uint64),
    ],
    ids=str,
)
def test_invalid_codes_are_refused(codes):
    with pytest.raises(CodeError, match="codes must be"):
        Delayer().push(codes)
    with pytest.raises(CodeError, match="token"):
        Undelayer().push(codes if codes is None or isinstance(codes, list) else codes.T)


@pytest.mark.parametrize(
    "options",
    [
        {"delays": ()},
        {"delays": (0, -1), "pads": 9, "codebook_size": 9},
        {"offsets": (0, 0)},
        {"pads": (1024,) * 7},
        {"pads": 1023},
        {"pads": -1},
        {"codebook_size": 0},
        {"offsets": 5, "pads": 10},
    ],
    ids=str,
)
def test_a_pattern_that_contradicts_itself_is_refused(options):
    with pytest.raises(CodeError):
        DelayPattern(**options)


def test_the_usual_pattern_is_eight_codebooks_each_a_row_later():
    assert (PLAIN.delays, PLAIN.tail, PLAIN.codebooks) == (tuple(range(8)), 7, 8)


def test_no_torch_is_needed():
    code = "import sys, xyt_stream.delay; sys.exit('torch' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)
