"""Ways to attend to a ring of keys, side by side."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from statistics import median

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel

from xyt_stream.evaluate.timing import timed

REPEATS = 20
BACKENDS = {
    "SDPA, memory-efficient": SDPBackend.EFFICIENT_ATTENTION,
    "SDPA, cuDNN": SDPBackend.CUDNN_ATTENTION,
    "SDPA, written out": SDPBackend.MATH,
}


def variants(
    device: torch.device,
    dtype: torch.dtype,
    *,
    streams: int,
    heads: int,
    length: int,
    capacity: int,
    head_dim: int,
    compiled: bool,
) -> dict[str, float | None]:
    """Median ms of one attention of each kind; None for one that does not run here.

    Args:
        length, capacity: queries and ring entries of a stream; each tenth entry is out of sight.
        compiled: flex_attention, too, which takes a compiler and half a minute.
    """
    q = torch.randn(streams, heads, length, head_dim, device=device).to(dtype)
    k, v = (torch.randn(streams, heads, capacity, head_dim, device=device).to(dtype) for _ in "kv")
    seen = (torch.arange(capacity, device=device) % 10 > 0).expand(streams, 1, 1, capacity)
    attend = F.scaled_dot_product_attention
    ways: dict[str, Callable[[], Tensor]] = {
        "SDPA, torch's choice": partial(attend, q, k, v, attn_mask=seen)
    }
    for name, backend in BACKENDS.items():
        ways[name] = partial(_with_backend, backend, q, k, v, seen)
    if compiled:
        ways["flex_attention"] = partial(_flex(), q, k, v, seen)
    return {name: _time(way, device) for name, way in ways.items()}


def _with_backend(backend: SDPBackend, q: Tensor, k: Tensor, v: Tensor, seen: Tensor) -> Tensor:
    with sdpa_kernel(backend):
        return F.scaled_dot_product_attention(q, k, v, attn_mask=seen)


def _flex() -> Callable[[Tensor, Tensor, Tensor, Tensor], Tensor]:
    from torch.nn.attention.flex_attention import flex_attention

    def attend(q: Tensor, k: Tensor, v: Tensor, seen: Tensor) -> Tensor:
        visible = seen[:, 0, 0]

        def score(value: Tensor, b: Tensor, h: Tensor, i: Tensor, j: Tensor) -> Tensor:
            return torch.where(visible[b, j], value, -torch.inf)

        out: Tensor = flex_attention(q, k, v, score_mod=score)
        return out

    return torch.compile(attend, dynamic=False)


def _time(way: Callable[[], Tensor], device: torch.device) -> float | None:
    try:
        way()
    except Exception:  # each kind refuses what it cannot do in its own way
        return None
    return 1e3 * median(timed(way, device)[1] for _ in range(REPEATS))
