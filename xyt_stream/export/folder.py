"""Writes a folder with everything that is needed to run a causal model without torch."""

from __future__ import annotations

import shutil
from pathlib import Path

import onnx_ir

from xyt_stream.audio import FRAME_SAMPLES, FRAME_SECONDS, INPUT_RATE
from xyt_stream.edge.manifest import FORMAT, Manifest, StateSpec, StepSpec, Stored, digest
from xyt_stream.errors import ModelError
from xyt_stream.export import graphs, weights
from xyt_stream.export.int8 import quantize
from xyt_stream.export.steps import DecoderStep, EncoderStep, ExportedStep
from xyt_stream.model import checkpoint
from xyt_stream.model.checkpoint import Checkpoint
from xyt_stream.model.hub import Source


def write(source: Source, folder: Path, *, int8_decoder: bool = False) -> Manifest:
    """Write a model's two graphs, its weights and model.json.

    The weights are the model's own file, copied unless it lies there already.

    Args:
        folder: made if it is not there.
        int8_decoder: see `int8.quantize`; for the encoder it would change the codes.

    Raises:
        ModelError: no causal model, or the folder cannot be written.
    """
    loaded = checkpoint.load(source)
    network, config = loaded.network, loaded.network.config
    if not config.causal:
        raise ModelError(f"{config.name} is bidirectional: only a causal model can be exported")
    delay_samples = (config.vocoder.n_fft - config.vocoder.hop) // 2
    try:
        folder.mkdir(exist_ok=True)
        file = _place_weights(loaded, source.weights, folder)
        manifest = Manifest(
            format=FORMAT,
            name=config.name,
            hash=loaded.hash,
            input_rate=INPUT_RATE,
            output_rate=config.output_rate,
            frame_samples_in=FRAME_SAMPLES,
            frame_samples_out=config.frame_samples_out,
            num_codebooks=config.quantizer.codebooks,
            codebook_size=config.quantizer.codebook_size,
            weights=_stored(file),
            encoder=write_step(
                EncoderStep(network), folder / "encoder.onnx", file, FRAME_SECONDS, 0
            ),
            decoder=write_step(
                DecoderStep(network),
                folder / "decoder.onnx",
                file,
                delay_samples / config.output_rate,
                delay_samples,
                int8=int8_decoder,
            ),
        )
        manifest.write(folder)
    except OSError as error:
        raise ModelError(f"{folder} cannot be written: {error.strerror}") from error
    return manifest


def _place_weights(loaded: Checkpoint, original: Path, folder: Path) -> Path:
    """The safetensors file in `folder` that the graphs will point into."""
    if not weights.is_own(original):
        file = folder / f"{loaded.network.config.name}.safetensors"
        checkpoint.save(loaded.network, file, hash=loaded.hash)
        return file
    file = folder / original.name
    if not (file.exists() and file.samefile(original)):
        shutil.copyfile(original, file)
    return file


def write_step(
    step: ExportedStep,
    path: Path,
    file: Path,
    delay: float,
    delay_samples: int,
    *,
    int8: bool = False,
) -> StepSpec:
    """Write a step's graph; what the manifest says about it."""
    model = graphs.trace(step)
    if int8:
        model = quantize(model, step.network.state_dict())
    weights.point(model, file, [step.input.name, *step.first])
    onnx_ir.save(model, path)
    state = [
        StateSpec(name, str(tensor.dtype).removeprefix("torch."), tuple(tensor.shape[1:]))
        for name, tensor in step.first.items()
    ]
    return StepSpec(
        graph=_stored(path),
        precision="int8" if int8 else "float32",
        delay=delay,
        delay_samples=delay_samples,
        input=step.input,
        outputs=step.outputs,
        state=tuple(state),
    )


def _stored(path: Path) -> Stored:
    return Stored(path.name, digest(path))
