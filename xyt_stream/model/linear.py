"""Linear maps that a CPU can take in the layout it reads fastest."""

from __future__ import annotations

import functools
import os
import textwrap
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

# oneDNN prepares for each shape once and keeps 1024 of those. A step takes some 45, and for each
# number of rows others: with 32 streams that come and go it would prepare anew in every step, which
# doubles the time. It asks for this when it prepares for the first time.
os.environ.setdefault("ONEDNN_PRIMITIVE_CACHE_CAPACITY", "8192")

ROWS = 4  # that the layout is chosen for: the 50 Hz positions of one frame
SPARE_ROWS = 3


def prepack_weight(weight: Tensor) -> Tensor | None:
    """A weight, [out, in], laid out for `prepacked_linear`; None where that cannot be."""
    if weight.device.type != "cpu" or not torch._C._has_mkldnn:
        return None
    # Processors without AVX-512 have float32 only.
    if weight.dtype == torch.bfloat16 and not torch.ops.mkldnn._is_mkldnn_bf16_supported():
        return None
    packed: Tensor = torch.ops.mkldnn._reorder_linear_weight(weight, ROWS)
    return packed


def prepacked_linear(
    x: Tensor, weight: Tensor, bias: Tensor | None, *, gelu: bool = False
) -> Tensor:
    """As F.linear of a `prepack_weight` weight, and F.gelu after it in the same pass."""
    if torch._C._get_tracing_state() is not None:
        traced: Tensor = _pointwise()[gelu](x, weight, bias)
        return traced
    after = "gelu" if gelu else "none"
    out: Tensor = torch.ops.mkldnn._linear_pointwise(x, weight, bias, after, [], "none")
    return out


def row_invariant_linear(rows: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """As F.linear of [..., n, in], but to the bit the same however many rows there are.

    The libraries behind torch multiply one to three rows in an order of their own. From four rows
    on, a row's product does not depend on the others, and so do the codes that come of it not: live
    or offline, alone or among other streams.
    """
    return F.linear(F.pad(rows, (0, 0, 0, SPARE_ROWS)), weight, bias)[..., : rows.shape[-2], :]


@functools.cache
def _pointwise() -> tuple[Callable[..., Tensor], Callable[..., Tensor]]:
    """The prepacked map without and with gelu, in a form that a trace can hold.

    It cannot note the operation's empty list of numbers by itself.
    """
    source = """
    def {name}(x: Tensor, weight: Tensor, bias: Optional[Tensor]) -> Tensor:
        numbers: List[Optional[number]] = []
        return torch.ops.mkldnn._linear_pointwise(x, weight, bias, "{name}", numbers, "none")
    """
    names = ("none", "gelu")
    unit = torch.jit.CompilationUnit(
        "".join(textwrap.dedent(source).format(name=name) for name in names)
    )
    return unit.none, unit.gelu


class Prepackable(nn.Module):
    """A layer that is a linear map of rows, in half the time for a few rows once it is prepacked.

    A live step is a few rows against weights that no longer lie in the cache, and oneDNN reads its
    own blocked layout at twice the speed. With AVX2 and above its results do not depend on the
    number of rows, to the bit. The plain weight stays for training, half precision and saving.

    Args:
        gelu: whether F.gelu follows.
        row_invariant: whether a row's result is the same, to the bit, however few rows there are.
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

    def map(self, rows: Tensor) -> Tensor:
        """[..., in] -> [..., out]."""
        if self.prepacked is not None and not torch.is_autocast_enabled(rows.device.type):
            return prepacked_linear(rows, *self.prepacked, gelu=self.gelu)
        out = (row_invariant_linear if self.row_invariant else F.linear)(rows, *self.plain())
        return F.gelu(out) if self.gelu else out


class Linear(Prepackable):
    """nn.Linear that can be prepacked."""

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
