"""The front door: one object that codes sound, whole or live."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor

from xyt_stream.audio import FRAME_SAMPLES, INPUT_RATE
from xyt_stream.errors import AudioError, DeviceError
from xyt_stream.model import checkpoint, hub
from xyt_stream.model.checkpoint import Checkpoint
from xyt_stream.model.precision import precision
from xyt_stream.streaming import offline
from xyt_stream.streaming.decoder import StreamDecoder
from xyt_stream.streaming.encoder import StreamEncoder
from xyt_stream.streaming.inputs import Codes, Samples, check_codes, check_samples


class Codec:
    """Speech to codes and back.

        codec = Codec.load()
        codes = codec.encode(wav)    # float32 [samples] at 16 kHz -> int64 [8, frames]
        wav = codec.decode(codes)

    Attributes:
        name, hash: which model this is; the hash is the hex SHA-256 of its file.
        input_rate, output_rate: Hz.
        frame_samples_in, frame_samples_out: samples in one code frame (80 ms).
        num_codebooks, codebook_size: how many codes a frame has, and how many values each.
        causal: whether streams need no lookahead.
    """

    def __init__(self, loaded: Checkpoint) -> None:
        self.network = loaded.network
        self.hash = loaded.hash
        config = loaded.network.config
        self.name = config.name
        self.causal = config.causal
        self.input_rate = INPUT_RATE
        self.output_rate = config.output_rate
        self.frame_samples_in = FRAME_SAMPLES
        self.frame_samples_out = config.frame_samples_out
        self.num_codebooks = config.quantizer.codebooks
        self.codebook_size = config.quantizer.codebook_size

    @classmethod
    def load(
        cls,
        model: str | Path | None = None,
        device: str = "cpu",
        *,
        config: str | Path | None = None,
        revision: str | None = None,
        dtype: torch.dtype = torch.float32,
    ) -> Codec:
        """Load a model.

        Args:
            model: None or "mini" for the default that ships in the package; a hub name
                ("fdugyt/XY_Tokenizer"); a folder; or a weights file (.safetensors, .ckpt, .bin).
            device: "cpu", "cuda", "cuda:1", ...
            config: where published weights' .yaml or config.json is, if not beside them.
            revision: of a hub name: a branch, tag or commit.
            dtype: of weights and activations: float32 or bfloat16, which is quicker, takes half
                the memory and changes some codes.

        Raises:
            ModelError: no such model, or files that do not fit.
            DeviceError: no such device.
        """
        source = hub.find(model, config=config, revision=revision)
        loaded = checkpoint.load(source, check_device(device), dtype)
        # In float32 a second copy of the published size would cost 2 GB.
        if loaded.network.config.causal or dtype != torch.float32:
            loaded.network.prepack()
        return cls(loaded)

    @property
    def device(self) -> torch.device:
        """Where the network runs."""
        return self.network.quantizer.codebooks.device

    @torch.inference_mode()
    def encode(
        self,
        wav: Samples,
        lengths: Tensor | None = None,
        *,
        dtype: torch.dtype = torch.float32,
    ) -> Tensor:
        """Code whole clips.

        Args:
            wav: float32 [samples] or [batch, samples] at 16 kHz.
            lengths: samples of each clip of a batch, int64 [batch]; all are full without it.
            dtype: float32; bfloat16 and float16 are quicker where the hardware has them, and
                change some codes. Mels and the quantizer are float32 in any case.

        Returns:
            int64 [codebooks, frames] or [batch, codebooks, frames] on the CPU, with
            samples // 1280 frames: a last partial frame is left out, as the published code does.
            A shorter clip's codes are its first length // 1280 frames.

        Raises:
            AudioError: not float samples, or NaN among them.
            ModelError: no such precision.
        """
        wav = check_samples(wav, (1, 2))
        batch = wav.reshape(-1, wav.shape[-1]).to(self.device)
        lengths = self._lengths(lengths, batch)
        frames = batch.shape[1] // FRAME_SAMPLES
        if frames == 0 or len(batch) == 0:
            codes = torch.zeros(len(batch), self.num_codebooks, frames, dtype=torch.int64)
        else:
            with precision(self.device, dtype):
                codes = offline.encode(self.network, batch, lengths)
        codes = codes.cpu()
        return codes[0] if wav.ndim == 1 else codes

    @torch.inference_mode()
    def decode(
        self,
        codes: Codes,
        lengths: Tensor | None = None,
        *,
        dtype: torch.dtype = torch.float32,
    ) -> Tensor:
        """Decode whole clips.

        Args:
            codes: int64 [codebooks, frames] or [batch, codebooks, frames]; fewer codebooks than
                the model has, its first ones, give a rougher sound.
            lengths: frames of each clip of a batch, int64 [batch]; all are full without it.
            dtype: as for `encode`; the inverse FFT is float32 in any case.

        Returns:
            float32 [frames * frame_samples_out], or with a batch axis before, on the CPU; silence
            beyond a shorter clip's end.

        Raises:
            CodeError: not integers, a wrong shape, or a code out of range.
            ModelError: no such precision.
        """
        codes = check_codes(codes, (2, 3), self.num_codebooks, self.codebook_size)
        batch = (codes if codes.ndim == 3 else codes[None]).to(self.device)
        lengths = self._lengths(lengths, batch)
        if batch.shape[2] == 0 or len(batch) == 0:
            wav = torch.zeros(len(batch), batch.shape[2] * self.frame_samples_out)
        else:
            with precision(self.device, dtype):
                wav = offline.decode(self.network, batch, lengths)
        wav = wav.cpu()
        return wav[0] if codes.ndim == 2 else wav

    def stream_encoder(self, slots: int = 1, lookahead: int = 0) -> StreamEncoder:
        """Live encoding of `slots` streams, `lookahead` frames behind (0 for a causal model)."""
        encoder = StreamEncoder(self.network, slots, lookahead=lookahead)
        encoder.compile()
        return encoder

    def stream_decoder(self, slots: int = 1, lookahead: int = 0) -> StreamDecoder:
        """Live decoding of `slots` streams, `lookahead` frames behind (0 for a causal model)."""
        decoder = StreamDecoder(self.network, slots, lookahead=lookahead)
        decoder.compile()
        return decoder

    def _lengths(self, lengths: Tensor | None, batch: Tensor) -> Tensor:
        """Checked lengths of a batch, its whole last axis without any."""
        full = batch.shape[-1]
        if lengths is None:
            return torch.full((len(batch),), full, device=self.device)
        if lengths.shape != (len(batch),) or bool(((lengths < 0) | (lengths > full)).any()):
            raise AudioError(f"lengths must be {len(batch)} numbers from 0 to {full}")
        return lengths.to(self.device)


def check_device(device: str) -> str:
    """`device`, if torch can run on it; DeviceError otherwise."""
    try:
        kind = torch.device(device)
    except RuntimeError as error:
        raise DeviceError(f"there is no device {device!r}: try cpu, cuda or cuda:1") from error
    try:
        torch.zeros(1, device=kind)
    except (RuntimeError, AssertionError) as error:
        reason = str(error).splitlines()[0]
        raise DeviceError(f"the device {device!r} cannot be used: {reason}") from error
    return device
