"""Runs Lyra 2 as a baseline for `eval`, where its model files are (extra "eval").

Lyra (github.com/google/lyra) codes 20 ms of 16 kHz speech at 3200, 6000 or 9200 bits a second. Its
three model files lie in the folder lyra/model_coeffs of its repository; ai-edge-litert runs them.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from xyt_stream.audio import INPUT_RATE, Samples, fit_length
from xyt_stream.errors import MissingExtraError, ModelError
from xyt_stream.evaluate.baselines import Baseline

FILES = ("soundstream_encoder.tflite", "quantizer.tflite", "lyragan.tflite")
FRAME = INPUT_RATE // 50  # samples, 20 ms
MOST_BITS = 184  # of a frame: the indices of all quantizers
MOST_LAG = FRAME  # samples that the decoded sound may lag behind


def lyra(folder: Path, bit_rate: int = 3200) -> Baseline:
    """Returns Lyra 2 at 3200, 6000 or 9200 bits a second.

    Raises:
        ModelError: a model file is missing or unreadable, or is not what Lyra has there.
        MissingExtraError: ai-edge-litert is not installed.
    """
    missing = [name for name in FILES if not (folder / name).is_file()]
    if missing:
        raise ModelError(
            f"{folder} lacks {', '.join(missing)}: name a copy of Lyra's folder lyra/model_coeffs"
        )
    model = _Lyra(folder, bit_rate // 50)
    return Baseline(f"Lyra {bit_rate} b/s", (), "", model.roundtrip)


class _Lyra:
    """The three models; `bits` is the size of a coded frame."""

    def __init__(self, folder: Path, bits: int) -> None:
        self.encoder, self.quantizer, self.decoder = (_open(folder / name) for name in FILES)
        self.bits = bits
        try:
            self.encode = self.quantizer.get_signature_runner("encode")
            self.decode = self.quantizer.get_signature_runner("decode")
            self.roundtrip(np.zeros(FRAME, np.float32))
        except (ValueError, RuntimeError, KeyError, IndexError, ZeroDivisionError) as error:
            reason = str(error).splitlines()[0]
            raise ModelError(f"{folder} does not hold Lyra's models: {reason}") from None

    def roundtrip(self, samples: Samples) -> Samples:
        """Encodes and decodes float32 [samples]; the result is aligned and as long."""
        for model in (self.encoder, self.decoder):
            model.reset_all_variables()
        frames = fit_length(samples, -(-len(samples) // FRAME) * FRAME + MOST_LAG).reshape(
            -1, FRAME
        )
        decoded = np.concatenate([self._frame(frame) for frame in frames])
        lags = range(MOST_LAG + 1)
        lag = max(lags, key=lambda lag: float(decoded[lag : lag + len(samples)] @ samples))
        return fit_length(decoded[lag:], len(samples))

    def _frame(self, frame: Samples) -> Samples:
        features = _run(self.encoder, frame)
        return _run(self.decoder, self._quantized(features))

    def _quantized(self, features: Samples) -> Samples:
        """Returns features as the receiver has them; unused quantizers have index -1."""
        found = self._indices(features, 1)
        bits = int(found["output_1"].flat[0])
        count, most = self.bits // bits, MOST_BITS // bits
        indices = np.full((most, 1, 1), -1, np.int32)
        indices[:count, 0, 0] = self._indices(features, count)["output_0"].flat[:count]
        decoded: Samples = self.decode(encoding_indices=indices)["output_0"]
        return decoded

    def _indices(self, features: Samples, count: int) -> dict[str, npt.NDArray[Any]]:
        shapes = self.encode.get_input_details()
        return self.encode(  # type: ignore[no-any-return]
            num_quantizers=np.full(shapes["num_quantizers"]["shape"], count, np.int32),
            input_frames=features.reshape(shapes["input_frames"]["shape"]),
        )


def _open(path: Path) -> Any:
    try:
        from ai_edge_litert.interpreter import Interpreter
    except ImportError:
        raise MissingExtraError("Lyra", "eval") from None
    try:
        model = Interpreter(str(path), num_threads=1)
        model.allocate_tensors()
    except (ValueError, RuntimeError) as error:
        raise ModelError(f"{path} is refused: {str(error).splitlines()[0]}") from None
    return model


def _run(model: Any, values: Samples) -> Samples:
    """Runs a model of one input and one output; returns the output, flat."""
    (target,), (source,) = model.get_input_details(), model.get_output_details()
    model.set_tensor(target["index"], values.astype(np.float32).reshape(target["shape"]))
    model.invoke()
    found: Samples = model.get_tensor(source["index"]).reshape(-1)
    return found
