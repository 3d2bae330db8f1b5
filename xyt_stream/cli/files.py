"""Defines the commands between sound files and code files: encode, decode, roundtrip."""

from __future__ import annotations

from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from xyt_stream.cli.groups import ModelOptions, grouped
from xyt_stream.cli.options import (
    Lookahead,
    Offline,
    Source,
    check_distinct,
    check_source,
    ends_in,
    live_lookahead,
    one_thread,
)
from xyt_stream.cli.terminal import report_source, say, seconds_bar
from xyt_stream.standard_streams import target_name

if TYPE_CHECKING:
    import torch

    from xyt_stream.streaming.codec import Codec

app = typer.Typer()


class Precision(str, Enum):
    """Torch's names of the dtypes that a whole file may be computed in."""

    float32 = "float32"
    bfloat16 = "bfloat16"
    float16 = "float16"


SoundTarget = Annotated[
    Path, typer.Argument(help="The wav, flac, ogg or mp3 to write; - for standard output.")
]
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
        Path,
        typer.Argument(
            dir_okay=False,
            callback=ends_in(".xyt", holding="codes"),
            help="The .xyt file to write; - for standard output.",
        ),
    ],
    lookahead: WholeOrLookahead = None,
    dtype: Dtype = Precision.float32,
    *,
    model: ModelOptions,
) -> None:
    """Encode a sound file into a code file."""
    check_source(source)
    from xyt_stream.audio import SoundReader
    from xyt_stream.protocol.code_file import CodeFile

    with SoundReader(source) as reader:
        model.check(lookahead)
        precision = _precision(dtype, lookahead)
        codec = model.load()
        import numpy as np
        import torch

        from xyt_stream.cli.sound import encode_live
        from xyt_stream.streaming.clips import encode_clip

        ahead = _stream_lookahead(codec, lookahead, precision)
        if ahead is None:
            samples = np.concatenate(list(reader.resampled(codec.input_rate)))
            codes = encode_clip(codec, samples, None, precision)
        else:
            one_thread()
            with seconds_bar("encoding", reader.seconds) as advance:
                codes = torch.cat(list(encode_live(codec, reader, ahead, advance)), 1)
        info = reader.info
    report_source(source, info, beside=target)
    size = CodeFile(
        codes=codes.numpy(),
        codebook_size=codec.codebook_size,
        model_name=codec.name,
        model_hash=codec.hash,
        input_rate=codec.input_rate,
        frame_samples=codec.frame_samples_in,
        original_rate=info.rate,
        original_samples=info.samples,
    ).write(target)
    count = f"{codes.shape[1]} frame{'s' * (codes.shape[1] > 1)} of {codes.shape[0]} codes"
    say(f"{target_name(target)}: {info.seconds:.2f} s as {count}, {size} bytes", beside=target)


@app.command()
@grouped
def decode(
    source: Annotated[Path, typer.Argument(help="The .xyt file to read; - for standard input.")],
    target: SoundTarget,
    rate: Rate = None,
    lookahead: WholeOrLookahead = None,
    dtype: Dtype = Precision.float32,
    *,
    model: ModelOptions,
) -> None:
    """Decode a code file into a sound file of exactly the original's length."""
    from xyt_stream.audio import SoundWriter, check_target, scaled_length
    from xyt_stream.protocol.code_file import CodeFile

    check_target(target, rate)
    file = CodeFile.read(source)
    rate = rate or file.original_rate
    check_target(target, rate)
    model.check(lookahead)
    precision = _precision(dtype, lookahead)
    codec = model.load()
    file.require_model(codec.name, codec.hash)
    import torch

    from xyt_stream.cli.sound import TargetFile, decode_live
    from xyt_stream.streaming.clips import decode_clip

    codes = torch.from_numpy(file.codes)
    length = scaled_length(file.original_samples, file.original_rate, rate)
    with SoundWriter(target, rate, samples=length) as writer:
        out = TargetFile(writer, codec.output_rate, rate)
        ahead = _stream_lookahead(codec, lookahead, precision)
        if ahead is None:
            out.write(decode_clip(codec, codes, None, precision).numpy())
        else:
            one_thread()
            with seconds_bar("decoding", file.seconds) as advance:
                for decoded in decode_live(codec, iter([codes]), ahead):
                    out.write(decoded)
                    advance(len(decoded) / codec.output_rate)
        out.finish(file.original_samples, file.original_rate)
    say(f"{target_name(target)}: {length / rate:.2f} s at {rate} Hz", beside=target)


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
    from xyt_stream.audio import SoundReader, SoundWriter, check_target

    check_target(target, rate)
    check_source(source)
    check_distinct(source, target)
    ahead = live_lookahead(offline, lookahead)
    with SoundReader(source) as reader:
        rate = rate or reader.rate
        check_target(target, rate)
        model.check(ahead)
        codec = model.load()
        import numpy as np
        import torch

        from xyt_stream.cli.sound import TargetFile, decode_live, encode_live
        from xyt_stream.streaming.clips import decode_clip, encode_clip

        with SoundWriter(target, rate) as writer:
            out = TargetFile(writer, codec.output_rate, rate)
            ahead = _stream_lookahead(codec, ahead, torch.float32)
            if ahead is None:
                samples = np.concatenate(list(reader.resampled(codec.input_rate)))
                out.write(decode_clip(codec, encode_clip(codec, samples, None), None).numpy())
            else:
                one_thread()
                with seconds_bar("roundtrip", reader.seconds) as advance:
                    codes = encode_live(codec, reader, ahead, advance)
                    for decoded in decode_live(codec, codes, ahead):
                        out.write(decoded)
            length = out.finish(reader.info.samples, reader.rate)
        report_source(source, reader.info, beside=target)
    say(f"{target_name(target)}: {length / rate:.2f} s at {rate} Hz", beside=target)


def _precision(dtype: Precision, lookahead: int | None) -> torch.dtype:
    if lookahead is not None and dtype is not Precision.float32:
        raise typer.BadParameter("live streams are float32: leave --lookahead or --dtype out")
    import torch

    precision: torch.dtype = getattr(torch, dtype.value)
    return precision


def _stream_lookahead(codec: Codec, lookahead: int | None, dtype: torch.dtype) -> int | None:
    """The lookahead of the stream that a file is processed as; None: the whole file at once.

    A causal model gives the same either way, and a stream takes constant memory.
    """
    import torch

    if lookahead is None and codec.causal and dtype is torch.float32:
        return 0
    return lookahead
