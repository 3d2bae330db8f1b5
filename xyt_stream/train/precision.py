"""Chooses the precision of training by what the hardware multiplies fastest."""

from __future__ import annotations

import torch


def fastest_dtype(device: torch.device) -> torch.dtype:
    """Returns bfloat16 where the hardware has bfloat16 products, else float32.

    A CPU without them emulates bfloat16 many times slower than float32.
    """
    if device.type == "cuda":
        return torch.bfloat16 if torch.cuda.is_bf16_supported() else torch.float32
    if device.type == "cpu" and torch._C._has_mkldnn:
        products = torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()
        return torch.bfloat16 if products else torch.float32
    return torch.float32
