"""Defines the commands between sound files and code files: encode, decode, roundtrip."""

from __future__ import annotations

from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from xyt_stream.cli.groups import ModelOptions, grouped
from xyt_stream.cli.options import Lookahead, Offline, Source, in_a_folder, live_lookahead
from xyt_stream.cli.terminal import read_sound, say

if TYPE_CHECKING:
    import torch

    from xyt_stream.audio import Samples
    from xyt_stream.streaming.codec import Codec

app = typer.Typer()


class Precision(str, Enum):
    """Torch's names of the dtypes that a whole file may be computed in."""

    float32 = "float32"
    bfloat16 = "bfloat16"
    float16 = "float16"


SoundTarget = Annotated[Path, typer.Argument(help="The wav, flac, ogg or mp3 to write.")]
WholeOrLookahead = Annotated[
    int | None,
    typer.Option(
        min=0,
        help="Process as a live stream with this lookahead in frames (80 ms each). Default: the "
        "whole file at once.",
    ),
]
Rate = Annotated[
    int | None,
    typer.Option(min=1000, max=768_000, help="Hz of the sound file. Default: the original's."),
]
Dtype = Annotated[
    Precision,
    typer.Option(
        "--dtype", help="Dtype for whole files; half precision is faster on some hardware."
    ),
]


@app.command()
@grouped
def encode(
    source: Source,
    target: Annotated[
        Path, typer.Argument(dir_okay=False, callback=in_a_folder, help="The .xyt file to write.")
    ],
    lookahead: WholeOrLookahead = None,
    dtype: Dtype = Precision.float32,
    *,
    model: ModelOptions,
) -> None:
    """Encode a sound file into a code file."""
    from xyt_stream.protocol.code_file import CodeFile
    from xyt_stream.streaming.clips import encode_clip

    precision = _precision(dtype, lookahead)
    codec = model.load()
    samples, info = read_sound(source, codec)
    codes = encode_clip(codec, samples, lookahead, precision).numpy()
    CodeFile(
        codes=codes,
        codebook_size=codec.codebook_size,
        model_name=codec.name,
        model_hash=codec.hash,
        input_rate=codec.input_rate,
        frame_samples=codec.frame_samples_in,
        original_rate=info.rate,
        original_samples=info.samples,
    ).write(target)
    count = f"{codes.shape[1]} frame{'s' * (codes.shape[1] > 1)} of {codes.shape[0]} codes"
    say(f"{target}: {info.seconds:.2f} s as {count}, {target.stat().st_size} bytes")


@app.command()
@grouped
def decode(
    source: Annotated[Path, typer.Argument(help="The .xyt file to read.")],
    target: SoundTarget,
    rate: Rate = None,
    lookahead: WholeOrLookahead = None,
    dtype: Dtype = Precision.float32,
    *,
    model: ModelOptions,
) -> None:
    """Decode a code file into a sound file of exactly the original's length."""
    import torch

    from xyt_stream.audio import check_target
    from xyt_stream.protocol.code_file import CodeFile
    from xyt_stream.streaming.clips import decode_clip

    check_target(target)
    precision = _precision(dtype, lookahead)
    file = CodeFile.read(source)
    codec = model.load()
    file.require_model(codec.name, codec.hash)
    codes = torch.from_numpy(file.codes)
    decoded = decode_clip(codec, codes, lookahead, precision).numpy()
    _write(target, decoded, codec, file.original_samples, file.original_rate, rate)


@app.command()
@grouped
def roundtrip(
    source: Source,
    target: SoundTarget,
    offline: Offline = False,
    rate: Rate = None,
    lookahead: Lookahead = None,
    *,
    model: ModelOptions,
) -> None:
    """Encode and decode a sound file: speech at 1000 bits a second."""
    from xyt_stream.audio import check_target
    from xyt_stream.streaming.clips import decode_clip, encode_clip

    check_target(target)
    ahead = live_lookahead(offline, lookahead)
    codec = model.load()
    samples, info = read_sound(source, codec)
    decoded = decode_clip(codec, encode_clip(codec, samples, ahead), ahead)
    _write(target, decoded.numpy(), codec, info.samples, info.rate, rate)


def _precision(dtype: Precision, lookahead: int | None) -> torch.dtype:
    if lookahead is not None and dtype is not Precision.float32:
        raise typer.BadParameter("live streams are float32: leave --lookahead or --dtype out")
    import torch

    precision: torch.dtype = getattr(torch, dtype.value)
    return precision


def _write(
    target: Path,
    decoded: Samples,
    codec: Codec,
    original_samples: int,
    original_rate: int,
    rate: int | None,
) -> None:
    """Writes sound of exactly the original's length, at `rate` or the original's rate."""

    from xyt_stream.audio import fit_length, resample, scaled_length, write_audio

    rate = rate or original_rate
    length = scaled_length(original_samples, original_rate, rate)
    write_audio(target, fit_length(resample(decoded, codec.output_rate, rate), length), rate)
    say(f"{target}: {length / rate:.2f} s at {rate} Hz")
