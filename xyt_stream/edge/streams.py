"""Encodes and decodes live streams with an exported model."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt

from xyt_stream.edge import step
from xyt_stream.edge.inputs import Codes, Samples, check_codes, check_samples
from xyt_stream.edge.manifest import FRAMES, Manifest, StepSpec, read
from xyt_stream.edge.saved import Format, Saved
from xyt_stream.errors import ModelError

DEFAULT = Path(__file__).parent.parent / "assets"  # the folder of the model in the package


class _EdgeStream:
    """The encoder's and the decoder's common part.

    Attributes:
        name: which model this is.
        hash: the hex SHA-256 of its file.
        input_rate: Hz of the sound that is encoded.
        output_rate: Hz of the decoded sound.
        frame_samples_in: samples in one code frame (80 ms) at the input rate.
        frame_samples_out: the same at the output rate.
        num_codebooks: codes in a frame.
        codebook_size: values that each may have.
        delay: seconds.
    """

    def __init__(
        self, folder: str | Path | None, threads: int, half: str, *, rest: bool = False
    ) -> None:
        if type(threads) is not int or threads < 1:
            raise ModelError(f"threads are 1 or more, not {threads!r}")
        place = DEFAULT if folder is None else Path(folder)
        manifest: Manifest = read(place)
        spec: StepSpec = getattr(manifest, half)
        self.name, self.hash = manifest.name, manifest.hash
        self.input_rate, self.output_rate = manifest.input_rate, manifest.output_rate
        self.frame_samples_in = manifest.frame_samples_in
        self.frame_samples_out = manifest.frame_samples_out
        self.num_codebooks, self.codebook_size = manifest.num_codebooks, manifest.codebook_size
        self.delay = float(spec.delay)
        self._spec = spec
        self._step = step.load(place, manifest, spec, threads)
        self._format = Format(
            manifest,
            spec,
            half[:1].upper().encode(),
            frame=0 if rest else manifest.frame_samples_in,
            rest=spec.delay_samples if rest else 0,
        )
        self.reset()

    def reset(self) -> None:
        """Start a fresh stream."""
        self._state = self._step.first()
        self._waiting = np.zeros(0, np.float32)
        self._rest = np.zeros(self._spec.delay_samples, np.float32)

    def state(self) -> bytes:
        """All that the stream remembers, for `load_state` of any encoder or decoder like this.

        It is about a megabyte, always the same but for samples that wait.
        """
        arrays = {name: value.numpy() for name, value in self._state.items()}
        return self._format.write(Saved(self._waiting, arrays, self._rest))

    def load_state(self, data: bytes) -> None:
        """Go on with the stream that `state` was taken from.

        Raises:
            StateError: it is damaged, hostile, or of another model; this stream goes on as it was.
        """
        saved = self._format.read(data)
        self._state = self._step.state(saved.state)
        self._waiting, self._rest = saved.waiting, saved.rest


class EdgeEncoder(_EdgeStream):
    """Live encoding of one stream, without torch: the codes of `StreamEncoder`.

    Args:
        folder: that `xyt-stream export` wrote; None for the default model.
        threads: that a step may use.

    Attributes:
        delay: seconds from the first sample of a frame until its codes can be known.

    Raises:
        ModelError: no exported model, or files that do not belong together.
        MissingExtraError: there is no onnxruntime.
    """

    def __init__(self, folder: str | Path | None = None, *, threads: int = 1) -> None:
        super().__init__(folder, threads, "encoder")

    def push(self, pcm: npt.ArrayLike) -> Codes:
        """Code any number of samples of the stream.

        Args:
            pcm: float32 [samples] at 16 kHz.

        Returns:
            int64 [codebooks, new frames].

        Raises:
            AudioError: not float samples, or NaN among them; nothing is heard then.
        """
        samples = np.concatenate([self._waiting, check_samples(pcm)])
        hop = self.frame_samples_in
        whole = len(samples) // hop * hop
        self._waiting = samples[whole:].copy()
        codes = np.zeros((self.num_codebooks, whole // hop), np.int64)
        for i, frame in enumerate(samples[:whole].reshape(-1, 1, hop)):
            (found,), self._state = self._step.run(frame, self._state)
            codes[:, i] = found[0]
        return codes

    def flush(self) -> Codes:
        """End the stream; the next push starts anew.

        Returns:
            int64 [codebooks, frames]: all that is left, a last partial frame padded with zeros.
        """
        padding = -len(self._waiting) % self.frame_samples_in
        codes = self.push(np.zeros(padding, np.float32))
        self.reset()
        return codes


class EdgeDecoder(_EdgeStream):
    """Live decoding of one stream, without torch: the sound of `StreamDecoder`, within 1e-4.

    Args, raises: as `EdgeEncoder`.

    Attributes:
        delay: seconds from a frame's codes until all its sound is out.
        delay_samples: the same in samples at the output rate.
    """

    def __init__(self, folder: str | Path | None = None, *, threads: int = 1) -> None:
        super().__init__(folder, threads, "decoder", rest=True)
        self.delay_samples = self._spec.delay_samples
        self._started = False

    def reset(self) -> None:
        super().reset()
        self._started = False

    def load_state(self, data: bytes) -> None:
        super().load_state(data)
        self._started = bool(self._state[FRAMES].numpy()[0])

    def push(self, codes: npt.ArrayLike) -> Samples:
        """Decode any number of frames of the stream.

        Args:
            codes: int64 [codebooks, frames], of the first one or more codebooks.

        Returns:
            float32 [new samples].

        Raises:
            CodeError: not integers, a wrong shape, or a code out of range; nothing is decoded then.
        """
        frames = check_codes(codes, self.num_codebooks, self.codebook_size)
        pcm = np.zeros((frames.shape[1], self.frame_samples_out), np.float32)
        for i in range(len(pcm)):
            (sound, rest), self._state = self._step.run(frames[None, :, i], self._state)
            pcm[i], self._rest = sound[0], rest[0]
        sound = pcm.reshape(-1)
        if len(pcm) and not self._started:
            sound = sound[self.delay_samples :]
            self._started = True
        return sound

    def flush(self) -> Samples:
        """End the stream; the next push starts anew.

        Returns:
            float32 [samples]: all that is left to play.
        """
        rest = self._rest if self._started else np.zeros(0, np.float32)
        self.reset()
        return rest
