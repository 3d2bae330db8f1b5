"""Residual vector quantization: each book codes what the books before it left over."""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from xyt_stream.model.config import QuantizerConfig
from xyt_stream.model.linear import Linear, few_rows, pack_weight, packed_linear
from xyt_stream.model.precision import full_precision


class Quantized(NamedTuple):
    """What `ResidualQuantizer.quantize` found.

    Args:
        codes: int64 [codebooks, batch, frames].
        total: sum of the chosen vectors, float32 [batch, frames, dim].
        residuals: what each book was given to code, float32 [codebooks, batch, frames, dim].
    """

    codes: Tensor
    total: Tensor
    residuals: Tensor


class ResidualQuantizer(nn.Module):
    """Euclidean codebooks between two linear projections; float32 throughout.

    The codebooks are a buffer, [codebooks, codebook_size, dim]: whoever trains them moves them by
    averages, not by gradients, and calls `refresh` after.
    """

    books: Tensor
    offsets: Tensor

    def __init__(self, config: QuantizerConfig, width: int) -> None:
        super().__init__()
        self.config = config
        self.input_proj = Linear(width, config.dim, few=True)
        self.output_proj = Linear(config.dim, width)
        books = torch.randn(config.codebooks, config.codebook_size, config.dim)
        self.register_buffer("books", books)
        self.packed: list[Tensor | None] = [None] * config.codebooks
        self.register_buffer("offsets", books.square().sum(2) / 2, persistent=False)

    def pack(self) -> None:
        """Lay the codebooks out for speed; they may not change any more."""
        self.packed = [pack_weight(-book) for book in self.books]

    def refresh(self) -> None:
        """Take note of changed codebooks."""
        self.offsets = self.books.square().sum(2) / 2

    def quantize(self, latent: Tensor) -> Quantized:
        """Nearest code by squared distance, book after book.

        Args:
            latent: float32 [batch, frames, dim], after `input_proj`.
        """
        residual = latent.flatten(0, 1)
        total = torch.zeros_like(residual)
        codes, residuals = [], []
        for book, offset, packed in zip(self.books, self.offsets, self.packed, strict=True):
            residuals.append(residual)
            # |c|^2 / 2 - r.c: half of |r - c|^2, without |r|^2, which is the same for every code
            if packed is None:
                distance = offset - few_rows(residual, book, None)
            else:
                distance = packed_linear(residual, packed, offset)
            code = distance.argmin(1)
            chosen = F.embedding(code, book)
            residual = residual - chosen
            total = total + chosen
            codes.append(code)
        batch, frames, _ = latent.shape
        return Quantized(
            torch.stack(codes).view(-1, batch, frames),
            total.view(latent.shape),
            torch.stack(residuals).view(-1, *latent.shape),
        )

    @full_precision
    def encode(self, x: Tensor) -> Tensor:
        """[batch, frames, width] -> codes, int64 [batch, codebooks, frames]."""
        batch, frames, _ = x.shape
        rows = self.input_proj(x.float().flatten(0, 1))
        return self.quantize(rows[None]).codes.view(-1, batch, frames).transpose(0, 1)

    @full_precision
    def decode(self, codes: Tensor) -> Tensor:
        """Codes of one or more books, the first ones: [batch, codebooks, frames].

        Returns:
            [batch, frames, width].
        """
        total = torch.zeros((), device=codes.device)
        for i, book in enumerate(self.books[: codes.shape[1]]):
            total = total + F.embedding(codes[:, i], book)
        out: Tensor = self.output_proj(total)
        return out
