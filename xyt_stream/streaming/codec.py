"""Defines the codec: one object that codes sound, whole or live."""

from __future__ import annotations

from functools import cached_property
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from xyt_stream.audio import FRAME_SAMPLES, INPUT_RATE
from xyt_stream.edge.step import Step
from xyt_stream.errors import AudioError, CodeError, DeviceError
from xyt_stream.model import checkpoint, hub
from xyt_stream.model.checkpoint import Checkpoint
from xyt_stream.model.precision import precision
from xyt_stream.streaming import offline
from xyt_stream.streaming.decoder import StreamDecoder
from xyt_stream.streaming.encoder import StreamEncoder
from xyt_stream.streaming.exported_decoder import exported_decoder
from xyt_stream.streaming.inputs import (
    Codes,
    Lengths,
    Samples,
    check_codes,
    check_lengths,
    check_samples,
    warn_if_loud,
)
from xyt_stream.streaming.uncompiled import uncompiled


class Codec:
    """Speech to codes and back.

        codec = Codec.load()
        codes = codec.encode(wav)    # float32 [samples] at 16 kHz -> int64 [8, frames]
        wav = codec.decode(codes)

    It may be pickled, copied and used from several threads at once; each stream belongs to one.

    Attributes:
        name: which model this is.
        hash: the hex SHA-256 of its file.
        input_rate: Hz of the sound that is encoded.
        output_rate: Hz of the decoded sound.
        frame_samples_in: samples in one code frame (80 ms) at the input rate.
        frame_samples_out: the same at the output rate.
        num_codebooks: codes in a frame.
        codebook_size: values that each may have.
        causal: whether streams need no lookahead.
    """

    def __init__(self, loaded: Checkpoint, folder: Path | None = None) -> None:
        self._folder = folder  # that may hold the model's export
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

    def __getstate__(self) -> dict[str, Any]:
        # A copy loads its own: onnxruntime's session cannot be pickled.
        return {name: each for name, each in vars(self).items() if name != "_decoder_graph"}

    def __repr__(self) -> str:
        kind = "causal" if self.causal else "bidirectional"
        return (
            f"<Codec {self.name!r} {self.hash[:12]}: {kind}, {self.input_rate} Hz in, "
            f"{self.output_rate} Hz out, {self.num_codebooks} codebooks of {self.codebook_size}, "
            f"on {self.device}>"
        )

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
        return cls(loaded, source.weights.parent)

    @property
    def device(self) -> torch.device:
        """The device that the network runs on."""
        return self.network.quantizer.codebooks.device

    @uncompiled
    def encode(
        self,
        wav: Samples,
        lengths: Lengths | None = None,
        *,
        pad: bool = False,
        dtype: torch.dtype = torch.float32,
    ) -> Tensor:
        """Code whole clips.

        Args:
            wav: float [samples] or [batch, samples] at 16 kHz, full scale at +-1.
            lengths: samples of each clip of a batch, int64 [batch]; all are full without it.
            pad: fill a clip's last partial frame up with silence and code it too, as live streams
                do. Without it that frame, up to 80 ms, is left out, as by the published code.
            dtype: float32; bfloat16 and float16 are quicker where the hardware has them, and
                change some codes. Mels and the quantizer are float32 in any case.

        Returns:
            int64 [codebooks, frames] or [batch, codebooks, frames] on the CPU, with
            samples // 1280 frames; with `pad`, rounded up. A shorter clip's codes are its first
            frames, counted likewise; the others mean nothing.

        Raises:
            InputTypeError: no numbers at all, a path for example.
            AudioError: not float samples, other axes, NaN among them, or lengths that do not fit.
            ModelError: no such precision.
        """
        wav = check_samples(wav, (1, 2))
        warn_if_loud(wav)
        batch = (wav if wav.ndim == 2 else wav[None]).to(self.device)
        lengths = check_lengths(lengths, batch, AudioError)
        if pad:
            inside = torch.arange(batch.shape[1], device=batch.device) < lengths[:, None]
            batch = F.pad(batch * inside, (0, -batch.shape[1] % FRAME_SAMPLES))
            lengths = lengths + -lengths % FRAME_SAMPLES
        frames = batch.shape[1] // FRAME_SAMPLES
        if frames == 0 or len(batch) == 0:
            shape = len(batch), self.num_codebooks, frames
            codes = torch.zeros(shape, dtype=torch.int64, device="cpu")
        else:
            with torch.inference_mode(), precision(self.device, dtype):
                codes = offline.encode(self.network, batch, lengths)
        codes = codes.to("cpu", copy=True)
        return codes if wav.ndim == 2 else codes[0]

    @uncompiled
    def decode(
        self,
        codes: Codes,
        lengths: Lengths | None = None,
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
            InputTypeError: no numbers at all, a path for example.
            CodeError: not integers, other axes, a code out of range, or lengths that do not fit.
            ModelError: no such precision.
        """
        codes = check_codes(codes, (2, 3), self.num_codebooks, self.codebook_size)
        batch = (codes if codes.ndim == 3 else codes[None]).to(self.device)
        lengths = check_lengths(lengths, batch, CodeError)
        if batch.shape[2] == 0 or len(batch) == 0:
            shape = len(batch), batch.shape[2] * self.frame_samples_out
            wav = torch.zeros(shape, dtype=torch.float32, device="cpu")
        else:
            with torch.inference_mode(), precision(self.device, dtype):
                wav = offline.decode(self.network, batch, lengths)
        wav = wav.to("cpu", copy=True)
        return wav if codes.ndim == 3 else wav[0]

    def stream_encoder(self, slots: int = 1, lookahead: int = 0) -> StreamEncoder:
        """Start live encoding of `slots` streams.

        Args:
            lookahead: frames of the future that each step waits for; 0 for a causal model.

        Raises:
            ModelError: a lookahead that this model cannot have.
        """
        encoder = StreamEncoder(self.network, slots, lookahead=lookahead)
        encoder.compile()
        return encoder

    def stream_decoder(self, slots: int = 1, lookahead: int = 0) -> StreamDecoder:
        """Start live decoding of `slots` streams; arguments and errors as `stream_encoder`."""
        decoder = StreamDecoder(self.network, slots, lookahead=lookahead)
        decoder.compile(self._decoder_graph)
        return decoder

    @cached_property
    def _decoder_graph(self) -> Step | None:
        """The decoder in eight bits, where the model's folder holds one."""
        weight = self.network.decoder.deconv1.weight
        plain = weight.device.type == "cpu" and weight.dtype == torch.float32
        if self._folder is None or not (self.causal and plain):
            return None
        return exported_decoder(self._folder, self.hash)


def check_device(device: str) -> str:
    """`device`, if torch can compute on it.

    Raises:
        DeviceError: there is no such device, or it does not work.
    """
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
