"""Linear maps that a CPU can take in the layout it reads fastest."""

from __future__ import annotations

import torch
from torch import Tensor, nn

ROWS = 4  # that the layout is chosen for: the 50 Hz positions of one frame


def pack_weight(weight: Tensor) -> Tensor | None:
    """A weight, [out, in], laid out for `packed_linear`; None where that cannot be."""
    if weight.device.type != "cpu" or not torch._C._has_mkldnn:
        return None
    packed: Tensor = torch.ops.mkldnn._reorder_linear_weight(weight, ROWS)
    return packed


def packed_linear(x: Tensor, packed: Tensor, bias: Tensor | None) -> Tensor:
    """As F.linear."""
    out: Tensor = torch.ops.mkldnn._linear_pointwise(x, packed, bias, "none", [], "")
    return out


class Linear(nn.Linear):
    """nn.Linear, and the same in half the time for a few rows once `pack` was called.

    A live step is a few rows against weights that no longer lie in the cache, and oneDNN reads its
    own blocked layout at twice the speed. Its results do not depend on the number of rows, to the
    bit. The plain weight stays for training, half precision and saving.
    """

    packed: Tensor | None = None

    def pack(self) -> None:
        """Lay the weight out anew, where this machine and this torch can."""
        self.packed = pack_weight(self.weight)

    def forward(self, x: Tensor) -> Tensor:
        """[..., in] -> [..., out]."""
        if self.packed is None or torch.is_autocast_enabled(x.device.type):
            return super().forward(x)
        return packed_linear(x, self.packed, self.bias)
