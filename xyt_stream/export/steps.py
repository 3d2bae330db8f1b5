"""Expresses the two halves of a codec as pure functions of one frame and a state."""

from __future__ import annotations

from torch import Tensor, nn

from xyt_stream.audio import FRAME_SAMPLES
from xyt_stream.edge.manifest import TensorSpec
from xyt_stream.export.timeline import Envelopes, Functional, initial_state
from xyt_stream.model.config import MELS_PER_FRAME
from xyt_stream.model.tokenizer import Tokenizer


class ExportedStep(nn.Module):
    """One frame in, one frame out.

    Attributes:
        input: the specification of what goes in.
        outputs: of what comes out, before the state.
        first: the state of a fresh stream, each tensor [1, ...], by name.
    """

    input: TensorSpec
    outputs: tuple[TensorSpec, ...]
    first: dict[str, Tensor]

    def __init__(self, network: Tokenizer) -> None:
        super().__init__()
        self.network = network

    def forward(self, x: Tensor, *before: Tensor) -> tuple[Tensor, ...]:
        """Input and state, [batch, ...] each, to outputs and the state after."""
        raise NotImplementedError

    def _before(self, before: tuple[Tensor, ...]) -> dict[str, Tensor]:
        return dict(zip(self.first, before, strict=True))

    def _after(self, timeline: Functional) -> tuple[Tensor, ...]:
        return tuple(timeline.after[name] for name in self.first)


class EncoderStep(ExportedStep):
    """float32 [batch, 1280] -> int64 [batch, codebooks]."""

    def __init__(self, network: Tokenizer) -> None:
        super().__init__(network)
        self.first = initial_state(network, [network.mel, network.encoder])
        self.input = TensorSpec("pcm", "float32", (FRAME_SAMPLES,))
        self.outputs = (TensorSpec("codes", "int64", (network.config.quantizer.codebooks,)),)

    def forward(self, x: Tensor, *before: Tensor) -> tuple[Tensor, ...]:
        timeline = Functional(self.network, self._before(before))
        codes = self.network.encode(x, timeline)[:, :, 0]
        return codes, *self._after(timeline)


class DecoderStep(ExportedStep):
    """int64 [batch, codebooks] -> float32 [batch, frame_samples_out], and what is left to play.

    The codes are those of the first one or more codebooks. The second output is the stream's end if
    no frame follows, float32 [batch, (n_fft - hop) / 2].
    """

    def __init__(self, network: Tokenizer) -> None:
        super().__init__(network)
        self.first = initial_state(network, [network.decoder])
        config = network.config
        self.envelopes = Envelopes.of(network.decoder.vocoder.head, MELS_PER_FRAME)
        self.input = TensorSpec("codes", "int64", (config.quantizer.codebooks,))
        self.outputs = (
            TensorSpec("pcm", "float32", (config.frame_samples_out,)),
            TensorSpec("rest", "float32", tuple(self.envelopes.rest.shape)),
        )

    def forward(self, x: Tensor, *before: Tensor) -> tuple[Tensor, ...]:
        timeline = Functional(self.network, self._before(before), self.envelopes)
        pcm = self.network.decode(x[:, :, None], timeline)
        return pcm, timeline.rest(self.network.decoder.vocoder.head), *self._after(timeline)
