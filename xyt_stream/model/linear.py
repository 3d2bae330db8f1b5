"""Implements linear maps whose weights can be laid out as a CPU reads them fastest."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from xyt_stream.model import torch_internals

SPARE_ROWS = 3


def prepack_weight(weight: Tensor) -> Tensor | None:
    """A weight, [out, in], in a layout for few rows; None where this machine or torch has none.

    Float32 weights that float16 holds exactly, as those of a file in float16, are kept in float16:
    the product is of the same numbers, and reading them takes half the time.
    """
    if weight.device.type != "cpu" or not torch_internals.supported():
        return None
    exact = weight.dtype == torch.float32 and torch.equal(weight.half().float(), weight)
    if exact and torch_internals.float16_supported():
        return torch_internals.pack_float16(weight)
    if weight.dtype == torch.bfloat16 and not torch_internals.bfloat16_supported():
        return None
    return torch_internals.reorder(weight)


def row_invariant_linear(rows: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """F.linear whose result for a row is the same, to the bit, however many rows there are.

    The libraries behind torch multiply one to three rows in an order of their own. From four rows
    on, a row's result is independent of the others, hence so are its codes: live or offline, alone
    or among other streams.

    Args:
        rows: [..., n, in].
        weight: [out, in].
        bias: [out].

    Returns:
        [..., n, out].
    """
    return F.linear(F.pad(rows, (0, 0, 0, SPARE_ROWS)), weight, bias)[..., : rows.shape[-2], :]


class Prepackable(nn.Module):
    """A layer that is a linear map of rows, twice as fast for a few rows once it is prepacked.

    A live step is a few rows against weights that no longer lie in the cache. oneDNN reads its own
    blocked layout at twice the speed, and FBGEMM half as many bytes. With AVX2 and above the
    results of neither depend on the number of rows, to the bit. The plain weight stays for
    training, half precision and saving.

    Args:
        gelu: whether F.gelu follows.
        row_invariant: whether a row's result must be the same for one to three rows as for more.
    """

    def __init__(self, *, gelu: bool = False, row_invariant: bool = False) -> None:
        super().__init__()
        self.gelu, self.row_invariant = gelu, row_invariant
        self.prepacked: tuple[Tensor, Tensor | None] | None = None

    def plain(self) -> tuple[Tensor, Tensor | None]:
        """The map's weight, [out, in], and bias, [out]."""
        raise NotImplementedError

    def prepack(self) -> None:
        """Lay the weight out anew, where this machine and this torch can."""
        weight, bias = self.plain()
        packed = prepack_weight(weight.detach().contiguous())
        self.prepacked = None if packed is None else (packed, bias)

    def __getstate__(self) -> dict[str, Any]:
        # A copy lays its weight out anew: packed weights are opaque to pickle and copy.
        return {**self.__dict__, "prepacked": self.prepacked is not None}

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__({**state, "prepacked": None})  # type: ignore[no-untyped-call]
        if state["prepacked"]:
            self.prepack()

    def map(self, rows: Tensor) -> Tensor:
        """[..., in] -> [..., out]."""
        if self.prepacked is not None and not torch.is_autocast_enabled(rows.device.type):
            return torch_internals.packed_linear(rows, *self.prepacked, gelu=self.gelu)
        out = (row_invariant_linear if self.row_invariant else F.linear)(rows, *self.plain())
        return F.gelu(out) if self.gelu else out


class Linear(Prepackable):
    """nn.Linear that can be prepacked; arguments as for `Prepackable` and nn.Linear."""

    def __init__(
        self,
        in_features: int,
        out_features: int,
        *,
        bias: bool = True,
        gelu: bool = False,
        row_invariant: bool = False,
    ) -> None:
        super().__init__(gelu=gelu, row_invariant=row_invariant)
        plain = nn.Linear(in_features, out_features, bias=bias)
        self.in_features, self.out_features = in_features, out_features
        self.weight, self.bias = plain.weight, plain.bias

    def plain(self) -> tuple[Tensor, Tensor | None]:
        return self.weight, self.bias

    def forward(self, x: Tensor) -> Tensor:
        """[..., in] -> [..., out]."""
        return self.map(x)
