"""Builds the whole network, XY-Tokenizer (arXiv 2506.23325, section 3), on any timeline."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from xyt_stream.model.config import STEPS_PER_FRAME, ModelConfig, StackConfig
from xyt_stream.model.features import LogMel
from xyt_stream.model.layers import Conv, Deconv, Downsample, Upsample
from xyt_stream.model.linear import Prepackable
from xyt_stream.model.quantizer import ResidualQuantizer
from xyt_stream.model.timeline import Timeline
from xyt_stream.model.transformer import Stack
from xyt_stream.model.vocoder import Vocoder


class Tower(nn.Module):
    """A Whisper encoder: two convolutions from 100 Hz mels to 50 Hz, then a stack."""

    def __init__(self, config: ModelConfig, stack: StackConfig) -> None:
        super().__init__()
        causal = config.causal
        self.conv1 = Conv(config.mels, stack.width, 3, causal=causal, pads=False, gelu=True)
        self.conv2 = Conv(stack.width, stack.width, 3, causal=causal, stride=2, gelu=True)
        self.stack = Stack(stack, STEPS_PER_FRAME, window(config, STEPS_PER_FRAME))

    def forward(self, mel: Tensor, timeline: Timeline) -> Tensor:
        """[batch, length (+ 1), mels] -> [batch, length / 2, width]."""
        x = self.conv2(self.conv1(mel, timeline), timeline)
        out: Tensor = self.stack(x, timeline)
        return out


class Encoder(nn.Module):
    """Mel features to the latents that the quantizer codes."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        semantic, acoustic = config.semantic_encoder, config.acoustic_encoder
        self.semantic = Tower(config, semantic)
        self.acoustic = Tower(config, acoustic)
        self.semantic_adapter = Stack(
            config.semantic_adapter,
            STEPS_PER_FRAME,
            window(config, STEPS_PER_FRAME),
            input_width=semantic.width,
            output_width=semantic.width,
        )
        self.pre_rvq_adapter = Stack(
            config.pre_rvq_adapter,
            STEPS_PER_FRAME,
            window(config, STEPS_PER_FRAME),
            input_width=semantic.width + acoustic.width,
        )
        self.downsample = Downsample(config.pre_rvq_adapter.width, STEPS_PER_FRAME)

    def forward(self, mel: Tensor, timeline: Timeline) -> Tensor:
        """[batch, 8 * frames (+ 1), mels] -> [batch, frames, 4 * width]."""
        mel = mel.to(self.semantic.conv1.weight.dtype)
        semantic = self.semantic_adapter(self.semantic(mel, timeline), timeline)
        acoustic = self.acoustic(mel, timeline)
        x = self.pre_rvq_adapter(torch.cat([semantic, acoustic], dim=-1), timeline)
        out: Tensor = self.downsample(x)
        return out


class Decoder(nn.Module):
    """Quantized frames to a waveform."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        stack = config.acoustic_decoder
        joined = stack.width * STEPS_PER_FRAME
        self.post_rvq_adapter = Stack(
            config.post_rvq_adapter,
            1,
            window(config, 1),
            input_width=joined,
            output_width=joined,
        )
        self.upsample = Upsample(stack.width, STEPS_PER_FRAME)
        self.stack = Stack(stack, STEPS_PER_FRAME, window(config, STEPS_PER_FRAME))
        self.deconv1 = Deconv(stack.width, stack.width, 3, stride=2, gelu=True)
        self.deconv2 = Deconv(stack.width, config.mels, 3, gelu=True)
        self.vocoder = Vocoder(config.vocoder, config.mels, causal=config.causal)

    def features(self, x: Tensor, timeline: Timeline) -> Tensor:
        """[batch, frames, 4 * width] -> input of the vocoder, [batch, 8 * frames, mels]."""
        x = x.to(self.deconv1.weight.dtype)
        x = self.stack(self.upsample(self.post_rvq_adapter(x, timeline)), timeline)
        out: Tensor = self.deconv2(self.deconv1(x, timeline), timeline)
        return out

    def forward(self, x: Tensor, timeline: Timeline) -> Tensor:
        """[batch, frames, 4 * width] -> samples [batch, frames * frame_samples_out]."""
        out: Tensor = self.vocoder(self.features(x, timeline), timeline)
        return out


class Tokenizer(nn.Module):
    """The whole network; both halves take a timeline, for whole clips, training or live streams."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.config = config
        self.mel = LogMel(config.mels, causal=config.causal)
        self.encoder = Encoder(config)
        width = STEPS_PER_FRAME * config.pre_rvq_adapter.width
        self.quantizer = ResidualQuantizer(config.quantizer, width)
        self.decoder = Decoder(config)

    def latent(self, wav: Tensor, timeline: Timeline) -> Tensor:
        """Samples [batch, frames * 1280] -> quantizer input [batch, frames, 4 * width]."""
        out: Tensor = self.encoder(self.mel(wav, timeline), timeline)
        return out

    def encode(self, wav: Tensor, timeline: Timeline) -> Tensor:
        """Samples [batch, frames * 1280] -> codes, int64 [batch, codebooks, frames]."""
        return self.quantizer.encode(self.latent(wav, timeline))

    def decode(self, codes: Tensor, timeline: Timeline) -> Tensor:
        """Codes [batch, codebooks, frames] -> samples [batch, frames * frame_samples_out]."""
        out: Tensor = self.decoder(self.quantizer.decode(codes), timeline)
        return out

    def cast(self, dtype: torch.dtype) -> None:
        """Convert the stacks to compute in `dtype`; call it before `prepack`.

        Mels, the quantizer and the inverse FFT stay float32, as under `precision`. In bfloat16,
        weights take half the memory and half the time to read, which limits a step of few rows.
        """
        head = set(self.decoder.vocoder.head.modules())
        for module in (*self.encoder.modules(), *self.decoder.modules()):
            if module not in head:
                for tensor in (*module.parameters(recurse=False), *module.buffers(recurse=False)):
                    if tensor.is_floating_point():  # and not complex, as phasors are
                        tensor.data = tensor.data.to(dtype)

    def prepack(self) -> None:
        """Lay weights out for speed on a CPU; they must not be trained or moved any more."""
        for module in self.modules():
            if isinstance(module, Prepackable | ResidualQuantizer):
                module.prepack()

    @property
    def samples_ahead(self) -> int:
        """Samples beyond the last frame that are part of the input of `encode`."""
        return self.mel.ahead


def window(config: ModelConfig, positions_per_frame: int) -> int | None:
    """The number of absolute positions of a published stack; None for rotary ones."""
    return None if config.causal else config.context * positions_per_frame
