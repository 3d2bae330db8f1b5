"""Implements residual vector quantization: each codebook codes the residual of those before it."""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from xyt_stream.model.config import QuantizerConfig
from xyt_stream.model.linear import Linear, Prepackable, prepack_weight, row_invariant_linear
from xyt_stream.model.precision import full_precision
from xyt_stream.model.torch_internals import packed_linear


class Quantized(NamedTuple):
    """The result of `ResidualQuantizer.quantize`.

    Args:
        codes: int64 [codebooks, batch, frames].
        total: sum of the chosen vectors, float32 [batch, frames, dim].
        residuals: the input of each codebook, float32 [codebooks, batch, frames, dim].
    """

    codes: Tensor
    total: Tensor
    residuals: Tensor


def rename_codebooks(state: dict[str, Any], prefix: str) -> None:
    """Rename the codebooks in `state`, which older files call "books"."""
    if f"{prefix}books" in state:
        state[f"{prefix}codebooks"] = state.pop(f"{prefix}books")


class ResidualQuantizer(nn.Module):
    """Euclidean codebooks between two linear projections; float32 throughout.

    The codebooks are a buffer, [codebooks, codebook_size, dim]: training moves them by averages,
    not by gradients, and calls `refresh` afterwards.
    """

    codebooks: Tensor
    offsets: Tensor

    def __init__(self, config: QuantizerConfig, width: int) -> None:
        super().__init__()
        self.config = config
        self.input_proj = Linear(width, config.dim, row_invariant=True)
        self.output_proj = Linear(config.dim, width)
        codebooks = torch.randn(
            config.codebooks, config.codebook_size, config.dim, dtype=torch.float32
        )
        self.register_buffer("codebooks", codebooks)
        self.prepacked: list[Tensor | None] = [None] * config.codebooks
        offsets = torch.empty(config.codebooks, config.codebook_size, dtype=torch.float32)
        self.register_buffer("offsets", offsets, persistent=False)
        if not codebooks.is_meta:  # there torch would load its compiler, which takes seconds
            self.refresh()

    def _load_from_state_dict(
        self, state_dict: dict[str, Any], prefix: str, *args: Any, **kwargs: Any
    ) -> None:
        rename_codebooks(state_dict, prefix)
        super()._load_from_state_dict(state_dict, prefix, *args, **kwargs)

    def __getstate__(self) -> dict[str, Any]:
        # As of `Prepackable`.
        return {**self.__dict__, "prepacked": self.prepacked[0] is not None}

    def __setstate__(self, state: dict[str, Any]) -> None:
        plain = {**state, "prepacked": [None] * len(state["_buffers"]["codebooks"])}
        super().__setstate__(plain)  # type: ignore[no-untyped-call]
        if state["prepacked"]:
            self.prepack()

    def prepack(self) -> None:
        """Lay the codebooks out for speed; they must not change any more."""
        self.prepacked = [prepack_weight(-codebook) for codebook in self.codebooks]

    def refresh(self) -> None:
        """Recompute the squared lengths of codebooks that have changed."""
        self.offsets = self.codebooks.square().sum(2) / 2

    def search(self, rows: Tensor) -> Tensor:
        """Chooses codes whose vectors add up to nearly `rows`, one codebook after the other.

        With a beam of 1 each codebook's nearest vector is taken, as in the paper. With a wider one
        the best few choices so far are kept (beam search, as Babenko and Lempitsky, CVPR 2014, do
        it for sums of codebooks), and the last codebook decides.

        Args:
            rows: float32 [rows, dim], after `input_proj`.

        Returns:
            int64 [codebooks, rows].
        """
        size, dim = self.config.codebook_size, self.config.dim
        residual = rows  # [rows * kept, dim]
        kept = 1
        chosen: list[Tensor] = []  # of each codebook so far, [rows, kept]
        for number, codebook in enumerate(self.codebooks, 1):
            score = self._half_distances(residual, number - 1).view(-1, kept * size)
            keep = 1 if number == len(self.codebooks) else min(self.config.beam, kept * size)
            best = score.topk(keep, 1, False)[1] if keep > 1 else score.argmin(1, keepdim=True)
            code = best % size
            if kept > 1:
                before = best // size
                chosen = [codes.gather(1, before) for codes in chosen]
                before = before[..., None].expand(-1, -1, dim)
                residual = residual.view(-1, kept, dim).gather(1, before).flatten(0, 1)
            elif keep > 1:
                residual = residual.repeat_interleave(keep, 0)
            chosen.append(code)
            residual = residual - F.embedding(code.flatten(), codebook)
            kept = keep
        return torch.stack(chosen)[..., 0]

    def _half_distances(self, residuals: Tensor, number: int) -> Tensor:
        """Half the squared distances to a codebook's vectors.

        With a beam of 1 they lack |r|^2 / 2, which is the same for every code of a residual.

        Args:
            residuals: float32 [rows, dim].

        Returns:
            [rows, codebook_size].
        """
        offset, packed = self.offsets[number], self.prepacked[number]
        # |c|^2 / 2 - r.c
        if packed is None:
            half = offset - row_invariant_linear(residuals, self.codebooks[number], None)
        else:
            half = packed_linear(residuals, packed, offset)
        if self.config.beam > 1:
            half = half + residuals.square().sum(1, keepdim=True) / 2
        return half

    def quantize(self, latent: Tensor) -> Quantized:
        """Chooses codes and tells what each codebook was given; see `search`.

        Args:
            latent: float32 [batch, frames, dim], after `input_proj`.
        """
        residual = latent.flatten(0, 1)
        codes = self.search(residual)
        total = torch.zeros_like(residual)
        residuals = []
        for code, codebook in zip(codes, self.codebooks, strict=True):
            residuals.append(residual)
            chosen = F.embedding(code, codebook)
            residual = residual - chosen
            total = total + chosen
        batch, frames, _ = latent.shape
        return Quantized(
            codes.view(-1, batch, frames),
            total.view(latent.shape),
            torch.stack(residuals).view(-1, *latent.shape),
        )

    @full_precision
    def encode(self, x: Tensor) -> Tensor:
        """[batch, frames, width] -> codes, int64 [batch, codebooks, frames]."""
        batch, frames, _ = x.shape
        rows = self.input_proj(x.float().flatten(0, 1))
        return self.search(rows).view(-1, batch, frames).transpose(0, 1)

    @full_precision
    def decode(self, codes: Tensor) -> Tensor:
        """Codes of the first one or more codebooks: [batch, codebooks, frames].

        A code of -1 adds nothing, as if its codebook were left out: streams of fewer codebooks can
        so be decoded beside others.

        Returns:
            [batch, frames, width].
        """
        first = torch.arange(codes.shape[1], device=codes.device) * self.config.codebook_size
        rows = (codes + first[:, None]).clamp(min=0)
        vectors = F.embedding(rows, self.codebooks.flatten(0, 1))
        vectors = vectors.masked_fill((codes < 0)[..., None], 0.0)
        out: Tensor = self.output_proj(vectors.sum(1))
        return out


def packed_weights(module: nn.Module) -> list[tuple[Tensor, Tensor]]:
    """The prepacked weights below a module, codebooks included, each after its plain one."""
    found = []
    for layer in module.modules():
        if isinstance(layer, Prepackable) and layer.prepacked is not None:
            found.append((layer.plain()[0], layer.prepacked[0]))
        if isinstance(layer, ResidualQuantizer):
            pairs = zip(layer.codebooks, layer.prepacked, strict=True)
            found += [(plain, packed) for plain, packed in pairs if packed is not None]
    return found
