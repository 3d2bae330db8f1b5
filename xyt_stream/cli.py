"""The command line: thin commands over the library. Heavy imports wait until a command needs them,
so that `--help` and wrong arguments are answered at once.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.markup import escape
from rich.progress import track
from rich.table import Column, Table

from xyt_stream.errors import XYTError

if TYPE_CHECKING:
    from xyt_stream.audio import Samples, SoundInfo
    from xyt_stream.streaming.codec import Codec

app = typer.Typer(
    help="Speech to 1000 bits a second and back, live.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
bench_app = typer.Typer(help="Measure speed on this machine.", no_args_is_help=True)
app.add_typer(bench_app, name="bench")
console = Console()

Model = Annotated[
    str | None,
    typer.Option(help="Checkpoint: a .safetensors file; else the one inside the package."),
]
Device = Annotated[str, typer.Option(help="Where the model runs: cpu, cuda, cuda:1 ...")]
Lookahead = Annotated[
    int,
    typer.Option(min=0, help="Frames of the future (80 ms each) that a step waits for and sees."),
]
Rate = Annotated[
    int | None,
    typer.Option(min=1000, max=768_000, help="Hz of the sound written; else the original's."),
]
Json = Annotated[
    Path | None,
    typer.Option("--json", dir_okay=False, help="Write the figures to this file, too."),
]
Url = Annotated[str, typer.Option(help="The server.")]
Room = Annotated[str, typer.Option(help="The room to meet in.")]
Token = Annotated[
    str | None, typer.Option(envvar="XYT_TOKEN", help="The word the server asks for, if it does.")
]
InputDevice = Annotated[
    str | None, typer.Option(help="Microphone: a number or a part of a name from `devices`.")
]
OutputDevice = Annotated[
    str | None, typer.Option(help="Loudspeaker: a number or a part of a name from `devices`.")
]
InputFile = Annotated[
    Path | None, typer.Option("--input", help="Send this sound file, in real time, not a mic.")
]
OutputFile = Annotated[
    Path | None, typer.Option("--output", help="Write what arrives to this sound file.")
]
Source = Annotated[Path, typer.Argument(help="wav, flac, ogg or mp3; any rate, mono or not.")]
SoundTarget = Annotated[Path, typer.Argument(help="The wav, flac, ogg or mp3 to write.")]

DEFAULT_PORT = 8765
DEFAULT_URL = f"ws://127.0.0.1:{DEFAULT_PORT}"


def main(args: Sequence[str] | None = None) -> None:
    """Runs one command line; what goes wrong becomes one red line and exit status 1."""
    try:
        app(args)
    except (XYTError, OSError) as error:
        typer.secho(f"Error: {error}", fg="red", err=True)
        sys.exit(1)


@app.command()
def encode(
    source: Source,
    target: Annotated[Path, typer.Argument(help="The .xyt file to write.")],
    model: Model = None,
    device: Device = "cpu",
) -> None:
    """Sound file to code file."""
    from xyt_stream.protocol.code_file import CodeFile

    codec = _codec(model, device)
    samples, info = _read(source, codec)
    codes = codec.encode(_whole_frames(samples, codec)).numpy()
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
    _say(
        f"{target}: {info.seconds:.2f} s as {codes.shape[1]} frames of {codes.shape[0]} codes, "
        f"{target.stat().st_size} bytes"
    )


@app.command()
def decode(
    source: Annotated[Path, typer.Argument(help="The .xyt file to read.")],
    target: SoundTarget,
    rate: Rate = None,
    model: Model = None,
    device: Device = "cpu",
) -> None:
    """Code file to sound file, exactly as long as the original."""
    from xyt_stream.protocol.code_file import CodeFile

    file = CodeFile.read(source)
    codec = _codec(model, device)
    file.require_model(codec.name, codec.hash)
    decoded = codec.decode(file.codes).numpy()
    _write(target, decoded, codec, file.original_samples, file.original_rate, rate)


@app.command()
def roundtrip(
    source: Source,
    target: SoundTarget,
    offline: Annotated[
        bool, typer.Option("--offline", help="The whole file at once, not as a live stream.")
    ] = False,
    rate: Rate = None,
    model: Model = None,
    device: Device = "cpu",
    lookahead: Lookahead = 0,
) -> None:
    """Sound file to codes and back: how speech sounds at 1000 bits a second."""
    from xyt_stream.evaluate.listen import stream_decode, stream_encode

    codec = _codec(model, device)
    samples, info = _read(source, codec)
    if offline:
        decoded = codec.decode(codec.encode(_whole_frames(samples, codec)))
    else:
        decoded = stream_decode(codec, stream_encode(codec, samples, lookahead), lookahead)
    _write(target, decoded.numpy(), codec, info.samples, info.rate, rate)


@app.command()
def serve(
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65_535, help="0 picks a free one.")] = (
        DEFAULT_PORT
    ),
    max_sessions: Annotated[int, typer.Option(min=1, help="Streams at once.")] = 8,
    token: Token = None,
    model: Model = None,
    device: Device = "cpu",
) -> None:
    """Serve the codec over websockets until Ctrl-C."""
    from xyt_stream.server.app import serve as run_server

    run_server(_codec(model, device), host=host, port=port, max_sessions=max_sessions, token=token)


@app.command()
def mic(
    url: Url = DEFAULT_URL,
    room: Room = "lobby",
    input_device: InputDevice = None,
    input_file: InputFile = None,
    token: Token = None,
) -> None:
    """Speak into a room."""
    from xyt_stream.client.run import run_mic

    run_mic(url, room, token=token, input_device=input_device, input_file=input_file)


@app.command()
def play(
    url: Url = DEFAULT_URL,
    room: Room = "lobby",
    output_device: OutputDevice = None,
    output_file: OutputFile = None,
    token: Token = None,
) -> None:
    """Hear what is spoken in a room."""
    from xyt_stream.client.run import run_play

    run_play(url, room, token=token, output_device=output_device, output_file=output_file)


@app.command()
def loopback(
    url: Url = DEFAULT_URL,
    input_device: InputDevice = None,
    output_device: OutputDevice = None,
    input_file: InputFile = None,
    output_file: OutputFile = None,
    token: Token = None,
) -> None:
    """Hear yourself through the server's codec."""
    from xyt_stream.client.run import run_loopback

    report = run_loopback(
        url,
        token=token,
        input_device=input_device,
        output_device=output_device,
        input_file=input_file,
        output_file=output_file,
    )
    console.print(report.table())


@app.command()
def devices() -> None:
    """List microphones and loudspeakers."""
    from xyt_stream.client.devices import list_devices

    rows = list_devices()
    if not rows:
        _say("there are no sound devices here; --input FILE and --output FILE do without")
        return
    table = Table("#", "name", "inputs", "outputs", "default")
    for row in rows:
        table.add_row(*map(escape, row))
    console.print(table)


@app.command()
def info(model: Model = None, device: Device = "cpu") -> None:
    """What the model is."""
    codec = _codec(model, device)
    bits = (codec.codebook_size - 1).bit_length()
    frame_seconds = codec.frame_samples_in / codec.input_rate
    encoding = 1000 * codec.stream_encoder().delay
    decoding = 1000 * codec.stream_decoder().delay
    table = Table(Column(), Column(overflow="fold"), title=codec.name, show_header=False)
    for name, value in {
        "hash": codec.hash,
        "parameters": f"{sum(weights.numel() for weights in codec.network.parameters()):,}",
        "hears": f"{codec.input_rate} Hz",
        "speaks": f"{codec.output_rate} Hz",
        "frame": f"{1000 * frame_seconds:g} ms, {codec.frame_samples_in} samples",
        "codes": f"{codec.num_codebooks} of {bits} bits a frame",
        "bits a second": f"{codec.num_codebooks * bits / frame_seconds:g}",
        "streams": "causal: exactly" if codec.causal else "bidirectional: with --lookahead",
        "delay": f"{encoding + decoding:g} ms ({encoding:g} encoding, {decoding:g} decoding)",
    }.items():
        table.add_row(name, value)
    console.print(table)


@app.command("eval")
def evaluate_command(
    model: Annotated[str, typer.Argument(help="Checkpoint, as for --model; 'mini' is inside.")],
    folder: Annotated[
        Path, typer.Argument(exists=True, file_okay=False, help="Searched for sound files.")
    ],
    device: Device = "cpu",
    lookahead: Lookahead = 0,
    json_file: Json = None,
) -> None:
    """Score a model on recordings: intelligibility, quality and use of its codes."""
    from xyt_stream.evaluate.report import evaluate

    report = evaluate(
        _codec(model, device),
        folder,
        lookahead=lookahead,
        progress=lambda paths: track(paths, "scoring", console=console, transient=True),
    )
    console.print(*report.tables(), sep="\n")
    for name, reason in report.skipped.items():
        _say(f"{name} was not judged: {reason}")
    _write_json(json_file, report.flat())


@app.command()
def train(
    data: Annotated[
        Path, typer.Option(exists=True, file_okay=False, help="Speech, searched for sound files.")
    ],
    out: Annotated[Path, typer.Option(help="Where checkpoints go; goes on from what is there.")],
    valid: Annotated[
        Path | None, typer.Option(exists=True, file_okay=False, help="Speech to score on.")
    ] = None,
    steps: Annotated[int, typer.Option(min=1, help="Steps in all.")] = 3000,
    device: Device = "cpu",
) -> None:
    """Train the default model from nothing."""
    from xyt_stream.train.run import train as run_training

    run_training(data, out, valid=valid, steps=steps, device=device)


@bench_app.command("stream")
def bench_stream(
    minutes: Annotated[float, typer.Option(min=0.5, help="Of sound to stream.")] = 10,
    model: Model = None,
    device: Device = "cpu",
    lookahead: Lookahead = 0,
    json_file: Json = None,
) -> None:
    """One stream's time per step and memory, early and after minutes of sound."""
    from xyt_stream.bench.stream import measure

    result = measure(_codec(model, device), minutes=minutes, lookahead=lookahead)
    console.print(result.table())
    _write_json(json_file, result.flat())


@bench_app.command("codec")
def bench_codec(
    frames: Annotated[int, typer.Option(min=10, help="To time, after warm-up.")] = 200,
    model: Model = None,
    device: Device = "cpu",
    lookahead: Lookahead = 0,
    json_file: Json = None,
) -> None:
    """One thread's time per step beside Mimi's on the same machine."""
    from xyt_stream.bench.codec import compare

    result = compare(_codec(model, device), frames=frames, lookahead=lookahead)
    console.print(result.table())
    _say(result.note)
    _write_json(json_file, result.flat())


def _codec(model: str | None, device: str) -> Codec:
    from xyt_stream import Codec

    return Codec.load(model, device=device)


def _read(source: Path, codec: Codec) -> tuple[Samples, SoundInfo]:
    from xyt_stream.audio import read_audio

    samples, info = read_audio(source, codec.input_rate)
    if info.mixed_down:
        _say(f"{source}: {info.channels} channels mixed down to mono")
    return samples, info


def _whole_frames(samples: Samples, codec: Codec) -> Samples:
    from xyt_stream.audio import fit_length

    size = codec.frame_samples_in
    return fit_length(samples, max(1, -(-len(samples) // size)) * size)


def _write(
    target: Path,
    decoded: Samples,
    codec: Codec,
    original_samples: int,
    original_rate: int,
    rate: int | None,
) -> None:
    """Writes sound of exactly the original's length, at its rate unless told another."""
    from xyt_stream.audio import fit_length, resample, scaled_length, write_audio

    rate = rate or original_rate
    length = scaled_length(original_samples, original_rate, rate)
    write_audio(target, fit_length(resample(decoded, codec.output_rate, rate), length), rate)
    _say(f"{target}: {length / rate:.2f} s at {rate} Hz")


def _say(line: str) -> None:
    """One line as it stands: file names may hold what rich takes for markup."""
    console.print(line, markup=False, highlight=False, soft_wrap=True)


def _write_json(path: Path | None, figures: dict[str, Any]) -> None:
    if path:
        path.write_text(json.dumps(figures, indent=2) + "\n")


if __name__ == "__main__":
    main()
