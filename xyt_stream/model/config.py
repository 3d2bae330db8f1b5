"""Describes the sizes of a network; one config serves the causal and the published models."""

from __future__ import annotations

from typing import Annotated, Any

import msgspec
from msgspec import Meta

from xyt_stream.audio import FRAME_SAMPLES, INPUT_RATE
from xyt_stream.errors import ModelError

MEL_HOP = 160  # samples, 10 ms
MEL_WINDOW = 400  # samples, 25 ms
MELS_PER_FRAME = FRAME_SAMPLES // MEL_HOP  # 8, at 100 Hz
STEPS_PER_FRAME = 4  # transformer positions in one code frame, at 50 Hz

# A config comes from a stranger's file: far beyond any use, sizes are refused before they cost
# memory or time.
Width = Annotated[int, Meta(ge=1, le=65_536)]
Depth = Annotated[int, Meta(ge=0, le=1_024)]


class Config(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Base of the configs: immutable; `ModelConfig.from_dict` checks types and ranges."""


class StackConfig(Config, frozen=True):
    """A stack of transformer layers.

    Args:
        width: channels.
        layers, heads: number of layers, and of attention heads in each.
        ffn: channels inside the feed-forward.
    """

    width: Width
    layers: Depth
    heads: Width
    ffn: Width


class QuantizerConfig(Config, frozen=True):
    """The residual quantizer: `codebooks` tables of `codebook_size` vectors of `dim` channels.

    Args:
        beam: choices of codes that the search keeps from one codebook to the next. Codes mean the
            same whatever it is.
    """

    dim: Width
    codebooks: Annotated[int, Meta(ge=1, le=256)] = 8
    codebook_size: Annotated[int, Meta(ge=2, le=65_536)] = 1024
    beam: Annotated[int, Meta(ge=1, le=64)] = 1


class VocoderConfig(Config, frozen=True):
    """Vocos (arXiv 2306.00814): `blocks` ConvNeXt blocks and an inverse STFT.

    Args:
        width, ffn: channels of a block and inside it.
        n_fft, hop: samples at the output rate; one hop for each 10 ms.
    """

    width: Width
    ffn: Width
    blocks: Depth
    n_fft: Width
    hop: Width

    @property
    def overlap_samples(self) -> int:
        """Samples of a frame's sound that the next frame's windows still add to."""
        return (self.n_fft - self.hop) // 2


class ModelConfig(Config, frozen=True):
    """One network.

    Args:
        name: as files and messages show it.
        causal: attention sees its own 80 ms block and `context` frames before it, convolutions
            pad on the left, positions are rotary. Otherwise the published model: attention over a
            window of `context` frames, centred convolutions, absolute sinusoids.
        context: code frames.
        output_rate: Hz.
        mels: mel bins, into the encoder and out of the decoder.

    Raises:
        ModelError: sizes that contradict each other.
    """

    name: str
    causal: bool
    context: Annotated[int, Meta(ge=0, le=4_096)]  # a live stream remembers as many
    output_rate: Annotated[int, Meta(ge=1, le=768_000)]
    semantic_encoder: StackConfig
    semantic_adapter: StackConfig
    acoustic_encoder: StackConfig
    pre_rvq_adapter: StackConfig
    quantizer: QuantizerConfig
    post_rvq_adapter: StackConfig
    acoustic_decoder: StackConfig
    vocoder: VocoderConfig
    mels: Width = 80

    def __post_init__(self) -> None:
        frame_samples = self.vocoder.hop * MELS_PER_FRAME
        if self.output_rate * FRAME_SAMPLES != frame_samples * INPUT_RATE:
            raise ModelError(
                f"the config does not fit: an output rate of {self.output_rate} Hz needs a vocoder "
                f"hop of {self.output_rate // 100}, not {self.vocoder.hop}"
            )
        if self.vocoder.n_fft % self.vocoder.hop or (self.vocoder.n_fft - self.vocoder.hop) % 2:
            raise ModelError("the config does not fit: n_fft must be a multiple of the vocoder hop")
        for field, stack in self.stacks().items():
            if stack.width % (2 * stack.heads):
                raise ModelError(f"the config does not fit: {field}.width over heads must be even")

    def stacks(self) -> dict[str, StackConfig]:
        """The transformer stacks by field name."""
        values = {name: getattr(self, name) for name in self.__struct_fields__}
        return {name: value for name, value in values.items() if isinstance(value, StackConfig)}

    @property
    def frame_samples_out(self) -> int:
        """Samples at the output rate in one code frame."""
        return self.vocoder.hop * MELS_PER_FRAME

    def to_dict(self) -> dict[str, Any]:
        """As plain values, for JSON."""
        values: dict[str, Any] = msgspec.to_builtins(self)
        return values

    @classmethod
    def from_dict(cls, values: object) -> ModelConfig:
        """Back from `to_dict`.

        Raises:
            ModelError: a field is unknown, missing, of another type or out of range.
        """
        try:
            return msgspec.convert(values, cls)
        except msgspec.ValidationError as error:
            if isinstance(error.__cause__, ModelError):
                raise error.__cause__ from None
            reason = str(error).replace("`$.", "`")
            raise ModelError(f"the config does not fit: {reason}") from None


def published(name: str, output_rate: int) -> ModelConfig:
    """The released sizes, 520 M parameters, for 16, 24 or 32 kHz out."""

    def stack(layers: int) -> StackConfig:
        return StackConfig(width=768, layers=layers, heads=12, ffn=3072)

    hop = output_rate // 100
    return ModelConfig(
        name=name,
        causal=False,
        context=375,  # 30 s
        output_rate=output_rate,
        semantic_encoder=stack(12),
        semantic_adapter=stack(4),
        acoustic_encoder=stack(12),
        pre_rvq_adapter=stack(4),
        quantizer=QuantizerConfig(dim=512),
        post_rvq_adapter=stack(4),
        acoustic_decoder=stack(12),
        vocoder=VocoderConfig(width=512, ffn=4096, blocks=30, n_fft=4 * hop, hop=hop),
    )


def mini() -> ModelConfig:
    """The sizes of the default: a causal XY-Tokenizer that one CPU thread runs."""
    width, ffn = 192, 768

    def stack(layers: int) -> StackConfig:
        return StackConfig(width=width, layers=layers, heads=3, ffn=ffn)

    return ModelConfig(
        name="mini",
        causal=True,
        context=20,  # 1.6 s: what training clips can teach
        output_rate=16_000,
        semantic_encoder=stack(3),
        semantic_adapter=stack(1),
        acoustic_encoder=stack(3),
        pre_rvq_adapter=stack(1),
        quantizer=QuantizerConfig(dim=48, beam=8),
        post_rvq_adapter=stack(2),
        acoustic_decoder=stack(4),
        # A 30 ms window leaves 10 ms to overlap after a frame's end, so 90 ms in all.
        vocoder=VocoderConfig(width=256, ffn=768, blocks=6, n_fft=480, hop=160),
    )
