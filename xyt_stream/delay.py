"""Converts codes to and from the token grid of speech language models with a delay pattern.

MOSS-TTSD and its relatives read one row of tokens for each frame, one column for each codebook.
Codebook k comes k rows late. So all tokens of a row can be chosen at once, and each depends on the
earlier codes of its own frame:

    row         0    1    2    3    4          code of frame f in codebook k: row f + k
    column 0   a0   b0   c0    .    .          . is a pad
    column 1    .   a1   b1   c1    .
    column 2    .    .   a2   b2   c2

A `Delayer` makes rows of frames and an `Undelayer` makes frames of rows, in pieces of any length.
Arrays are numpy's, or tensors where tensors are passed; neither class needs torch.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias, TypeVar

import numpy as np
import numpy.typing as npt

from xyt_stream.errors import CodeError

if TYPE_CHECKING:
    from torch import Tensor

Array: TypeAlias = npt.NDArray[np.int64]
Codes = TypeVar("Codes", Array, "Tensor")


@dataclass(frozen=True)
class DelayPattern:
    """The layout of a token grid, int64 [rows, codebooks].

    Code c of codebook k in frame f is the token `c + offsets[k]` in row `f + delays[k]`.

    Args:
        delays: rows by which each codebook comes late, one number per codebook.
        offsets: what is added to the codes of each codebook; one number stands for all of them.
        pads: each codebook's token where it has no code; one number stands for all of them.
        codebook_size: codes of a codebook.
        text_vocabulary: tokens of column 0 below this number that are no codes are text. Text
            counts as a pad when a grid is read.

    Raises:
        CodeError: the numbers contradict each other.
    """

    delays: tuple[int, ...] = tuple(range(8))
    offsets: tuple[int, ...] | int = 0
    pads: tuple[int, ...] | int = 1024
    codebook_size: int = 1024
    text_vocabulary: int = 0

    def __post_init__(self) -> None:
        for name in ("offsets", "pads"):
            value = getattr(self, name)
            if isinstance(value, int):
                object.__setattr__(self, name, (value,) * self.codebooks)
        columns = (self.delays, self.offset_row, self.pad_row)
        if not self.delays or {len(column) for column in columns} != {self.codebooks}:
            raise CodeError("a delay pattern needs one delay, offset and pad for each codebook")
        if min(*self.delays, *self.offset_row, *self.pad_row, self.codebook_size - 1) < 0:
            raise CodeError("delays, offsets and pads are 0 or more, a codebook's size 1 or more")
        if self._is_code(self.pad_row).any():
            raise CodeError(f"the pads {list(self.pad_row)} must not be tokens of codes")

    @property
    def codebooks(self) -> int:
        """Codes in a frame, and columns of the grid."""
        return len(self.delays)

    @property
    def tail(self) -> int:
        """Rows between a frame's first row and its last."""
        return max(self.delays)

    @property
    def offset_row(self) -> Array:
        """The offset of each codebook's codes, int64 [codebooks]."""
        return np.array(self.offsets, np.int64)

    @property
    def pad_row(self) -> Array:
        """A row without codes, int64 [codebooks]."""
        return np.array(self.pads, np.int64)

    def _is_code(self, tokens: Array) -> npt.NDArray[np.bool_]:
        codes = tokens - self.offset_row
        inside: npt.NDArray[np.bool_] = (codes >= 0) & (codes < self.codebook_size)
        return inside

    def _is_pad(self, tokens: Array) -> npt.NDArray[np.bool_]:
        """Whether tokens [rows, codebooks] are pads or text."""
        pads: npt.NDArray[np.bool_] = tokens == self.pad_row
        first = tokens[:, 0]
        pads[:, 0] |= (first >= 0) & (first < self.text_vocabulary) & ~self._is_code(tokens)[:, 0]
        return pads


PLAIN = DelayPattern()
# MOSS-TTSD v0.5 and v0.7: speech_token_range[0], pad_token_id, speech_pad_token and vocab_size of
# their config.
MOSS_TTSD = DelayPattern(
    offsets=(151_665, 0, 0, 0, 0, 0, 0, 0),
    pads=(151_643, 1024, 1024, 1024, 1024, 1024, 1024, 1024),
    text_vocabulary=152_697,
)


class Delayer:
    """Makes rows of frames, one row as soon as its frame is there.

    Args:
        pattern: the grid's layout.
    """

    def __init__(self, pattern: DelayPattern = PLAIN) -> None:
        self.pattern = pattern
        self._like: Any = None
        self.reset()

    def reset(self) -> None:
        """Begin a new grid; the tail of this one is dropped."""
        self._latest = np.tile(self.pattern.pad_row, (self.pattern.tail, 1))  # tokens of frames

    def push(self, codes: Codes) -> Codes:
        """Frames, int64 [codebooks, frames], as rows of tokens, int64 [frames, codebooks].

        Raises:
            CodeError: not integers, a wrong shape, or a code out of range; nothing is taken in.
        """
        frames = _array(codes, "codes must be integers [codebooks, frames]", 0, self.pattern)
        if frames.size and not 0 <= frames.min() <= frames.max() < self.pattern.codebook_size:
            raise CodeError(
                f"codes must be 0 to {self.pattern.codebook_size - 1}; "
                f"got {frames.min()} to {frames.max()}"
            )
        rows = self._rows(frames.T.astype(np.int64) + self.pattern.offset_row)
        self._like = codes
        return _like(codes, rows)

    def flush(self) -> Any:
        """The rows after the last frame, int64 [tail, codebooks], of the kind that was pushed.

        What is pushed next begins a new grid.
        """
        rows = self._rows(np.tile(self.pattern.pad_row, (self.pattern.tail, 1)))
        self.reset()
        return _like(self._like, rows)

    def _rows(self, tokens: Array) -> Array:
        """[frames, codebooks], not yet delayed -> the rows that they complete."""
        tail, count = self.pattern.tail, len(tokens)
        known = np.concatenate([self._latest, tokens])
        self._latest = known[count:]
        starts = tail - np.array(self.pattern.delays)
        return np.stack([known[s : s + count, k] for k, s in enumerate(starts)], axis=1)


class Undelayer:
    """Makes frames of rows, a frame as soon as its last row is there.

    Args:
        pattern: the grid's layout.
    """

    def __init__(self, pattern: DelayPattern = PLAIN) -> None:
        self.pattern = pattern
        self.reset()

    def reset(self) -> None:
        """Begin a new grid; frames that are not complete are dropped."""
        self._latest = np.tile(self.pattern.pad_row, (self.pattern.tail, 1))
        self._row = 0  # of the grid, that comes next

    def push(self, tokens: Codes) -> Codes:
        """Rows of tokens, int64 [rows, codebooks], as the frames that they complete.

        Returns:
            int64 [codebooks, frames]. Where a grid holds pads or text alone, there are no frames.

        Raises:
            CodeError: not integers, a wrong shape, a token that its column does not have, or a
                frame with codes in some codebooks only; nothing is taken in.
        """
        rows = _array(tokens, "tokens must be integers [rows, codebooks]", 1, self.pattern)
        return _like(tokens, self._frames(rows.astype(np.int64)))

    def end(self) -> None:
        """End the grid; what is pushed next begins a new one.

        Raises:
            CodeError: its last frames are not complete.
        """
        begun = self.pattern._is_code(self._latest)
        if any(begun[d:, k].any() for k, d in enumerate(self.pattern.delays)):
            raise CodeError(
                f"the grid ends inside a frame after {self._row} rows: it needs its tail of "
                f"{self.pattern.tail} rows (`reset` drops frames that are not complete)"
            )
        self.reset()

    def _frames(self, rows: Array) -> Array:
        strange = ~(self.pattern._is_code(rows) | self.pattern._is_pad(rows))
        if strange.any():
            row, column = np.argwhere(strange)[0]
            raise CodeError(
                f"token {rows[row, column]} in row {self._row + row}, column {column} of the grid "
                f"is neither a code nor a pad"
            )
        known = np.concatenate([self._latest, rows])
        count = len(rows)
        tokens = np.stack(
            [known[d : d + count, k] for k, d in enumerate(self.pattern.delays)], axis=1
        )
        is_code = self.pattern._is_code(tokens)
        whole = is_code.all(1)
        broken = np.flatnonzero(is_code.any(1) & ~whole)
        if len(broken):
            frame = self._row + broken[0] - self.pattern.tail
            missing = np.flatnonzero(~is_code[broken[0]])[0]
            row = frame + self.pattern.delays[missing]
            raise CodeError(
                f"frame {frame} of the grid is not complete: column {missing} has no code in row "
                f"{row}, though other columns have one of this frame"
            )
        self._latest, self._row = known[count:], self._row + count
        return np.ascontiguousarray((tokens[whole] - self.pattern.offset_row).T)


def delay(codes: Codes, pattern: DelayPattern = PLAIN) -> Codes:
    """Codes, int64 [codebooks, frames], as a whole grid, int64 [frames + tail, codebooks].

    Raises:
        CodeError: as `Delayer.push`.
    """
    delayer = Delayer(pattern)
    rows: Codes = delayer.push(codes)
    grid = np.concatenate([_host(rows), _host(delayer.flush())])
    return _like(codes, grid)


def undelay(tokens: Codes, pattern: DelayPattern = PLAIN) -> Codes:
    """A whole grid, int64 [rows, codebooks], as codes, int64 [codebooks, frames].

    Raises:
        CodeError: as `Undelayer.push` and `Undelayer.end`.
    """
    undelayer = Undelayer(pattern)
    codes = undelayer.push(tokens)
    undelayer.end()
    return codes


def _array(values: Any, wanted: str, axis: int, pattern: DelayPattern) -> npt.NDArray[Any]:
    """`values` in numpy, if they are integers with two axes and `axis` is that of codebooks."""
    try:
        array = _host(values)
    except (TypeError, ValueError, RuntimeError) as error:  # ragged lists, odd tensors
        raise CodeError(f"{wanted} of {pattern.codebooks} codebooks") from error
    is_integer = np.issubdtype(array.dtype, np.integer)
    if array.ndim != 2 or not is_integer or array.shape[axis] != pattern.codebooks:
        raise CodeError(
            f"{wanted} of {pattern.codebooks} codebooks; got {array.dtype} {list(array.shape)}"
        )
    return array


def _host(values: Any) -> npt.NDArray[Any]:
    if _is_tensor(values):
        values = values.detach().cpu().numpy()
    return np.asarray(values)


def _like(values: Codes, array: Array) -> Codes:
    """`array` as a tensor on the device of `values`, if those are a tensor."""
    result: Any = array
    if _is_tensor(values):
        result = sys.modules["torch"].from_numpy(array).to(values.device)
    return result  # type: ignore[no-any-return]


def _is_tensor(values: Any) -> bool:
    torch = sys.modules.get("torch")
    return torch is not None and isinstance(values, torch.Tensor)
