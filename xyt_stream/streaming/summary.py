"""Summarises a model from its config: sizes, rates, and delay and memory at each lookahead."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from torch import nn

from xyt_stream.audio import FRAME_SECONDS, INPUT_RATE
from xyt_stream.model.checkpoint import build
from xyt_stream.model.config import ModelConfig
from xyt_stream.model.quantizer import ResidualQuantizer
from xyt_stream.model.tokenizer import Tokenizer
from xyt_stream.streaming.coder import StreamCoder
from xyt_stream.streaming.decoder import StreamDecoder
from xyt_stream.streaming.encoder import StreamEncoder

LOOKAHEADS = (0, 1, 2, 4, 8, 16, 32)  # frames


@dataclass(frozen=True)
class Live:
    """One stream at one lookahead; delays in ms, memory in bytes."""

    lookahead: int
    encoder_delay_ms: float
    decoder_delay_ms: float
    encoder_state_bytes: int
    decoder_state_bytes: int

    @property
    def delay_ms(self) -> float:
        return self.encoder_delay_ms + self.decoder_delay_ms

    @property
    def state_bytes(self) -> int:
        return self.encoder_state_bytes + self.decoder_state_bytes


@dataclass(frozen=True)
class Summary:
    """The figures of one model.

    Args:
        parts: parameters of each, the codebooks' entries among them.
        live: one for each lookahead asked for.
    """

    parts: dict[str, int]
    causal: bool
    context_seconds: float  # over which attention reaches
    input_rate: int  # Hz
    output_rate: int
    frame_ms: float
    codebooks: int
    codebook_size: int
    bits_per_second: float
    live: list[Live]

    @property
    def parameters(self) -> int:
        return sum(self.parts.values())

    def flat(self) -> dict[str, Any]:
        """The figures for `--json`."""
        return {**asdict(self), "parameters": self.parameters}


def default_lookaheads(config: ModelConfig) -> list[int]:
    """0 for a causal model; for another those LOOKAHEADS that its window has frames for."""
    return [n for n in LOOKAHEADS if n == 0 or (not config.causal and n < config.context)]


def summarize(config: ModelConfig, lookaheads: list[int] | None = None) -> Summary:
    """The figures of a model.

    Args:
        lookaheads: frames; the default ones if None.

    Raises:
        ModelError: a lookahead that this model cannot have.
    """
    network = build(config)
    if lookaheads is None:
        lookaheads = default_lookaheads(config)
    quantizer = config.quantizer
    bits = (quantizer.codebook_size - 1).bit_length()
    return Summary(
        parts={name: _parameters(modules) for name, modules in _parts(network).items()},
        causal=config.causal,
        context_seconds=config.context * FRAME_SECONDS,
        input_rate=INPUT_RATE,
        output_rate=config.output_rate,
        frame_ms=1000 * FRAME_SECONDS,
        codebooks=quantizer.codebooks,
        codebook_size=quantizer.codebook_size,
        bits_per_second=quantizer.codebooks * bits / FRAME_SECONDS,
        live=[_live(network, lookahead) for lookahead in lookaheads],
    )


def _parts(network: Tokenizer) -> dict[str, list[nn.Module]]:
    """Every module that has parameters, under the part it belongs to."""
    encoder, decoder = network.encoder, network.decoder
    return {
        "semantic tower": [encoder.semantic],
        "semantic adapter": [encoder.semantic_adapter],
        "acoustic tower": [encoder.acoustic],
        "pre-RVQ adapter": [encoder.pre_rvq_adapter],
        "downsampling": [encoder.downsample],
        "quantizer": [network.quantizer],
        "post-RVQ adapter": [decoder.post_rvq_adapter],
        "upsampling": [decoder.upsample],
        "acoustic decoder": [decoder.stack, decoder.deconv1, decoder.deconv2],
        "vocoder": [decoder.vocoder],
    }


def _parameters(modules: list[nn.Module]) -> int:
    # Codebooks are no parameters to torch, but they are learned.
    codebooks = [module.codebooks for module in modules if isinstance(module, ResidualQuantizer)]
    return sum(p.numel() for p in [*codebooks, *(p for m in modules for p in m.parameters())])


def _live(network: Tokenizer, lookahead: int) -> Live:
    # The network has no weights, so neither do its streams take any memory.
    encoder = StreamEncoder(network, 1, lookahead=lookahead)
    decoder = StreamDecoder(network, 1, lookahead=lookahead)
    return Live(
        lookahead=lookahead,
        encoder_delay_ms=1000 * encoder.delay,
        decoder_delay_ms=1000 * decoder.delay,
        encoder_state_bytes=_state_bytes(encoder),
        decoder_state_bytes=_state_bytes(decoder),
    )


def _state_bytes(half: StreamCoder) -> int:
    held = [half.history.held] if half.history else []
    return sum(tensor.nbytes for tensor in [*half.stream.all.tensors(), *held])
