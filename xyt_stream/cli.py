"""The command line: thin commands over the library. Heavy imports wait until a command needs them,
so that `--help` and wrong arguments are answered at once.
"""

from __future__ import annotations

import inspect
import json
import sys
from collections.abc import Callable, Sequence
from enum import Enum
from functools import partial, update_wrapper
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.markup import escape
from rich.progress import track
from rich.table import Column, Table

from xyt_stream.errors import XYTError

if TYPE_CHECKING:
    import torch

    from xyt_stream.audio import Samples, SoundInfo
    from xyt_stream.streaming.codec import Codec

app = typer.Typer(
    help="Speech to 1000 bits a second and back, live.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
bench_app = typer.Typer(help="Measure speed and fidelity on this machine.", no_args_is_help=True)
app.add_typer(bench_app, name="bench")
console = Console()

MODEL_HELP = (
    "A hub name, a folder, or a .safetensors, .ckpt or .bin file; 'mini' is inside the package."
)
Model = Annotated[str | None, typer.Option(help=MODEL_HELP)]
ModelArgument = Annotated[str, typer.Argument(help=MODEL_HELP)]
Config = Annotated[
    Path | None,
    typer.Option(help="The .yaml or config.json of published weights, if not beside them."),
]
Revision = Annotated[str | None, typer.Option(help="Of a hub name: a branch, a tag or a commit.")]
Device = Annotated[str, typer.Option(help="Where the model runs: cpu, cuda, cuda:1 ...")]
Lookahead = Annotated[
    int | None,
    typer.Option(
        min=0,
        help="Frames of the future (80 ms each) that each step of a live stream waits for and "
        "sees: better sound from a bidirectional model, later; 0 without this option.",
    ),
]
WholeOrLookahead = Annotated[
    int | None,
    typer.Option(
        min=0,
        help="Code as a live stream whose steps see so many frames (80 ms each) of the future; "
        "without this option the model is given the whole file at once.",
    ),
]
Lookaheads = Annotated[
    list[int] | None,
    typer.Option("--lookahead", min=0, help="Frames; may be given again. Else a range of them."),
]
Offline = Annotated[
    bool, typer.Option("--offline", help="The whole file at once, not as a live stream.")
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


class Precision(str, Enum):
    """What torch calls the types that stacks may compute in."""

    float32 = "float32"
    bfloat16 = "bfloat16"
    float16 = "float16"


class Weights(str, Enum):
    """What torch calls the types that a live model's weights may have."""

    float32 = "float32"
    bfloat16 = "bfloat16"


class LogLevel(str, Enum):
    """From which level on the server's log is written."""

    info = "info"
    warning = "warning"
    error = "error"


Dtype = Annotated[
    Precision,
    typer.Option(
        "--dtype", help="What whole files are computed in; half is quicker on some hardware."
    ),
]

LoadCodec = Callable[..., "Codec"]  # takes its Weights, if not float32

DEFAULT_PORT = 8765
DEFAULT_URL = f"ws://127.0.0.1:{DEFAULT_PORT}"


def main(args: Sequence[str] | None = None) -> None:
    """Runs one command line; what goes wrong becomes one red line and exit status 1."""
    try:
        app(args)
    except (XYTError, OSError) as error:
        typer.secho(f"Error: {error}", fg="red", err=True)
        sys.exit(1)


def with_model(command: Callable[..., None], *, argument: bool = False) -> Callable[..., None]:
    """Gives a command `--model`, `--config`, `--revision` and `--device`.

    Its first parameter becomes a function that loads the model, for when all else is checked.

    Args:
        argument: the command starts with the model, instead of having an option for it.
    """

    def run(
        model: Model = None,
        config: Config = None,
        revision: Revision = None,
        device: Device = "cpu",
        **rest: Any,
    ) -> None:
        def load(weights: Weights = Weights.float32) -> Codec:
            import torch

            from xyt_stream import Codec

            dtype = getattr(torch, weights.value)
            return Codec.load(model, device, config=config, revision=revision, dtype=dtype)

        command(load, **rest)

    model, *shared, _ = inspect.signature(run, eval_str=True).parameters.values()
    _, *own = inspect.signature(command, eval_str=True).parameters.values()
    if argument:
        first = model.replace(annotation=ModelArgument, default=inspect.Parameter.empty)
        parameters = [first, *own, *shared]
    else:
        parameters = [*own, model, *shared]
    update_wrapper(run, command)
    run.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
    run.__signature__ = inspect.Signature(  # type: ignore[attr-defined]
        [parameter.replace(kind=inspect.Parameter.KEYWORD_ONLY) for parameter in parameters]
    )
    return run


with_model_argument = partial(with_model, argument=True)


@app.command()
@with_model
def encode(
    load: LoadCodec,
    source: Source,
    target: Annotated[Path, typer.Argument(help="The .xyt file to write.")],
    lookahead: WholeOrLookahead = None,
    dtype: Dtype = Precision.float32,
) -> None:
    """Sound file to code file."""
    from xyt_stream.evaluate.listen import encode_clip
    from xyt_stream.protocol.code_file import CodeFile

    precision = _precision(dtype, lookahead)
    codec = load()
    samples, info = _read(source, codec)
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
    _say(
        f"{target}: {info.seconds:.2f} s as {codes.shape[1]} frames of {codes.shape[0]} codes, "
        f"{target.stat().st_size} bytes"
    )


@app.command()
@with_model
def decode(
    load: LoadCodec,
    source: Annotated[Path, typer.Argument(help="The .xyt file to read.")],
    target: SoundTarget,
    rate: Rate = None,
    lookahead: WholeOrLookahead = None,
    dtype: Dtype = Precision.float32,
) -> None:
    """Code file to sound file, exactly as long as the original."""
    import torch

    from xyt_stream.evaluate.listen import decode_clip
    from xyt_stream.protocol.code_file import CodeFile

    precision = _precision(dtype, lookahead)
    file = CodeFile.read(source)
    codec = load()
    file.require_model(codec.name, codec.hash)
    codes = torch.from_numpy(file.codes)
    decoded = decode_clip(codec, codes, lookahead, precision).numpy()
    _write(target, decoded, codec, file.original_samples, file.original_rate, rate)


@app.command()
@with_model
def roundtrip(
    load: LoadCodec,
    source: Source,
    target: SoundTarget,
    offline: Offline = False,
    rate: Rate = None,
    lookahead: Lookahead = None,
) -> None:
    """Sound file to codes and back: how speech sounds at 1000 bits a second."""
    from xyt_stream.evaluate.listen import decode_clip, encode_clip

    ahead = _lookahead(offline, lookahead)
    codec = load()
    samples, info = _read(source, codec)
    decoded = decode_clip(codec, encode_clip(codec, samples, ahead), ahead)
    _write(target, decoded.numpy(), codec, info.samples, info.rate, rate)


@app.command()
@with_model
def serve(
    load: LoadCodec,
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65_535, help="0 picks a free one.")] = (
        DEFAULT_PORT
    ),
    max_sessions: Annotated[
        int, typer.Option(min=0, help="Streams at once; 0 measures what this machine carries.")
    ] = 32,
    token: Token = None,
    token_file: Annotated[
        Path | None,
        typer.Option(help="More tokens, one a line: SECRET, or SECRET and the ROLE,ROLE it opens."),
    ] = None,
    allow_anyone: Annotated[
        bool, typer.Option("--allow-anyone", help="Serve other machines without any token.")
    ] = False,
    origin: Annotated[
        list[str] | None,
        typer.Option(help="Web pages that may connect, beside this host's; '*' for all."),
    ] = None,
    proxy: Annotated[
        list[str] | None,
        typer.Option(help="Address or network of a proxy: its X-Forwarded-For is believed."),
    ] = None,
    tls_cert: Annotated[
        Path | None, typer.Option(help="Certificate in PEM: serve wss:// and https://.")
    ] = None,
    tls_key: Annotated[
        Path | None, typer.Option(help="Its key, if that is not in the same file.")
    ] = None,
    lookahead: Lookahead = None,
    duplex: Annotated[
        str | None,
        typer.Option(help="A speech model for users to talk with: package.module:Factory."),
    ] = None,
    message_bytes: Annotated[int, typer.Option(min=1024, help="Of one message.")] = 262_144,
    queue: Annotated[int, typer.Option(min=1, help="Messages that wait for one client.")] = 64,
    ahead: Annotated[
        float, typer.Option(min=0, help="Seconds of sound a client may be ahead of real time.")
    ] = 30,
    max_load: Annotated[
        float,
        typer.Option(
            min=0, help="Share of real time that steps may take, or nobody new comes in; 0 for any."
        ),
    ] = 0.95,
    address_sessions: Annotated[
        int, typer.Option(min=0, help="Sessions of one address at once; 0 for any number.")
    ] = 64,
    address_joins: Annotated[
        float, typer.Option(min=0, help="Connections a second of one address; 0 for any number.")
    ] = 50,
    rooms: Annotated[int, typer.Option(min=1, help="Rooms at once.")] = 256,
    members: Annotated[int, typer.Option(min=1, help="Members of one room.")] = 64,
    hello_time: Annotated[
        float, typer.Option(min=0.1, help="Seconds for the handshake, and for the hello.")
    ] = 10,
    idle_time: Annotated[
        float, typer.Option(min=0, help="Seconds that a client may send nothing; 0 for ever.")
    ] = 600,
    session_time: Annotated[
        float, typer.Option(min=0, help="Seconds that a session may last; 0 for ever.")
    ] = 0,
    resume_time: Annotated[
        float, typer.Option(min=0, help="Seconds that a session waits for a lost client.")
    ] = 30,
    keepalive: Annotated[
        float, typer.Option(min=0, help="Seconds between pings; 0 for none.")
    ] = 20,
    drain_time: Annotated[
        float, typer.Option(min=0, help="Seconds to send what is left at shutdown.")
    ] = 5,
    dtype: Annotated[
        Weights,
        typer.Option(help="What the model computes in; half is quicker and changes some codes."),
    ] = Weights.float32,
    log_level: Annotated[LogLevel, typer.Option(help="What to log, as JSON lines.")] = (
        LogLevel.info
    ),
) -> None:
    """Serve the codec over websockets until Ctrl-C."""
    from xyt_stream.server.app import serve as run_server
    from xyt_stream.server.limits import Limits

    run_server(
        load(dtype),
        host=host,
        port=port,
        max_sessions=max_sessions,
        lookahead=lookahead or 0,
        token=token,
        token_file=token_file,
        origins=origin or (),
        allow_anyone=allow_anyone,
        proxies=proxy or (),
        tls_cert=tls_cert,
        tls_key=tls_key,
        limits=Limits(
            message_bytes=message_bytes,
            queue=queue,
            load=max_load,
            ahead=ahead,
            address_sessions=address_sessions,
            address_joins=address_joins,
            rooms=rooms,
            members=members,
            hello_time=hello_time,
            idle_time=idle_time,
            session_time=session_time,
            resume_time=resume_time,
            keepalive=keepalive,
            drain_time=drain_time,
        ),
        duplex=duplex,
        log_level=log_level.value,
    )


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
def talk(
    url: Url = DEFAULT_URL,
    room: Annotated[
        str | None,
        typer.Option(help="Where a model waits, or will; else the server's own model answers."),
    ] = None,
    input_device: InputDevice = None,
    output_device: OutputDevice = None,
    input_file: InputFile = None,
    output_file: OutputFile = None,
    listen: Annotated[
        float, typer.Option(min=0, help="Seconds of silence after the --input file.")
    ] = 5,
    token: Token = None,
) -> None:
    """Talk with a speech model, both at once."""
    from xyt_stream.client.run import run_talk

    run_talk(
        url,
        room,
        token=token,
        input_device=input_device,
        output_device=output_device,
        input_file=input_file,
        output_file=output_file,
        listen=listen,
    )


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
@with_model
def info(load: LoadCodec, lookahead: Lookaheads = None, json_file: Json = None) -> None:
    """What the model is: its parts and rates, and what each lookahead costs a live stream."""
    from xyt_stream.streaming.summary import summarize

    codec = load()
    summary = summarize(codec.network.config, lookahead)
    table = Table(Column(), Column(overflow="fold"), title=codec.name, show_header=False)
    for name, value in {
        "hash": codec.hash,
        "hears": f"{summary.input_rate} Hz",
        "speaks": f"{summary.output_rate} Hz",
        "frame": f"{summary.frame_ms:g} ms",
        "codes": f"{summary.codebooks} of {summary.codebook_size} values a frame",
        "bits a second": f"{summary.bits_per_second:g}",
        "attention": f"{'causal' if summary.causal else 'bidirectional'}, "
        f"{summary.context_seconds:g} s",
    }.items():
        table.add_row(name, value)
    parts = Table("part", Column("parameters", justify="right"))
    for name, count in summary.parts.items():
        parts.add_row(name, f"{count:,}")
    parts.add_section()
    parts.add_row("all", f"{summary.parameters:,}")
    live = Table(
        *(
            "lookahead, frames",
            "delay, ms",
            "encoder",
            "decoder",
            "memory, MB",
            "encoder",
            "decoder",
        ),
        title="one live stream",
    )
    for row in summary.live:
        delays = (row.delay_ms, row.encoder_delay_ms, row.decoder_delay_ms)
        sizes = (row.state_bytes, row.encoder_state_bytes, row.decoder_state_bytes)
        cells = (*(f"{ms:g}" for ms in delays), *(f"{size / 1e6:.1f}" for size in sizes))
        live.add_row(str(row.lookahead), *cells)
    console.print(table, parts, live, sep="\n")
    _write_json(json_file, {"name": codec.name, "hash": codec.hash, **summary.flat()})


@app.command()
def convert(
    model: ModelArgument,
    target: Annotated[Path, typer.Argument(help="The .safetensors file to write.")],
    config: Config = None,
    revision: Revision = None,
) -> None:
    """Any checkpoint to one .safetensors file with its config inside, which loads much faster and
    is the same model by the same hash: the same codes, the same sound.
    """
    from xyt_stream.model import checkpoint, sources

    checkpoint.convert(sources.find(model, config=config, revision=revision), target)
    _say(f"{target}: {target.stat().st_size / 1e6:.0f} MB")


@app.command("eval")
@with_model_argument
def evaluate_command(
    load: LoadCodec,
    folder: Annotated[
        Path, typer.Argument(exists=True, file_okay=False, help="Searched for sound files.")
    ],
    offline: Offline = False,
    lookahead: Lookahead = None,
    codebooks: Annotated[
        int | None, typer.Option(min=1, help="Decode the first so many codebooks only.")
    ] = None,
    peers: Annotated[
        bool, typer.Option("--peers", help="Score Codec2 and Opus beside it, where installed.")
    ] = False,
    json_file: Json = None,
    csv_file: Annotated[
        Path | None, typer.Option("--csv", dir_okay=False, help="Write the scores of each file.")
    ] = None,
    plots: Annotated[
        Path | None,
        typer.Option(file_okay=False, help="Folder for spectrograms and use of the codes."),
    ] = None,
) -> None:
    """Score a model on recordings: intelligibility, quality and use of its codes."""
    from xyt_stream.evaluate.peers import PEERS
    from xyt_stream.evaluate.report import evaluate

    codec = load()
    ahead = _lookahead(offline, lookahead)
    for peer in PEERS if peers else ():
        if not peer.installed:
            _say(f"{peer.name} is left out: its programs come with Debian's {peer.package}")
    report = evaluate(
        codec,
        folder,
        lookahead=ahead,
        codebooks=codebooks,
        peers=[peer for peer in PEERS if peers and peer.installed],
        progress=lambda paths: track(paths, "scoring", console=console, transient=True),
    )
    console.print(*report.tables(), sep="\n")
    for name, reason in report.scores.skipped.items():
        _say(f"{name} was not judged: {reason}")
    _write_json(json_file, report.flat())
    if csv_file is not None:
        report.write_csv(csv_file)
    if plots is not None:
        from xyt_stream.evaluate.plots import draw_codes, draw_spectrograms

        plots.mkdir(parents=True, exist_ok=True)
        draw_codes(report.counts, plots / "codes.png")
        for file in report.scores.files:
            picture = plots / f"{file.name.replace('/', '-')}.png"
            draw_spectrograms(codec, folder / file.name, picture, ahead)


@app.command()
def train(
    data: Annotated[
        Path, typer.Option(exists=True, file_okay=False, help="Speech, searched for sound files.")
    ],
    out: Annotated[Path, typer.Option(help="Where checkpoints go; goes on from what is there.")],
    valid: Annotated[
        Path | None, typer.Option(exists=True, file_okay=False, help="Speech to score on.")
    ] = None,
    steps: Annotated[int | None, typer.Option(min=1, help="Steps in all.")] = None,
    seed: Annotated[int, typer.Option(help="Of everything drawn.")] = 0,
    device: Device = "cpu",
) -> None:
    """Train the default model from nothing."""
    from xyt_stream.train.run import train as run_training
    from xyt_stream.train.trainer import Recipe

    recipe = Recipe(seed=seed) if steps is None else Recipe(seed=seed, steps=steps)
    run_training(data, out, valid=valid, recipe=recipe, device=device)


@bench_app.command("stream")
@with_model
def bench_stream(
    load: LoadCodec,
    minutes: Annotated[float, typer.Option(min=0.5, help="Of sound to stream.")] = 10,
    lookahead: Lookahead = None,
    json_file: Json = None,
) -> None:
    """One stream's time per step and memory, early and after minutes of sound."""
    from xyt_stream.bench.stream import measure

    result = measure(load(), minutes=minutes, lookahead=lookahead or 0)
    console.print(result.table())
    _write_json(json_file, result.flat())


@bench_app.command("load")
def bench_load(
    sessions: Annotated[int, typer.Option(min=1, help="Clients at once, in real time.")] = 8,
    seconds: Annotated[float, typer.Option(min=1, help="Of sound that each sends.")] = 30,
    url: Annotated[
        str | None, typer.Option(help="The server; else one is started on this machine.")
    ] = None,
    find: Annotated[
        bool, typer.Option("--find-capacity", help="Search for the most that all go well.")
    ] = False,
    speech: Annotated[Path | None, typer.Option(help="What the clients say; else noise.")] = None,
    threads: Annotated[int, typer.Option(min=1, help="Of the server that is started.")] = 1,
    token: Token = None,
    model: Annotated[
        str | None,
        typer.Option(help=f"{MODEL_HELP} 'none' computes nothing: the server's own time."),
    ] = None,
    device: Device = "cpu",
    lookahead: Lookahead = None,
    json_file: Json = None,
) -> None:
    """Many clients of one server: turnaround of a frame, late and lost frames, and the limit."""
    from xyt_stream.bench.load import LATE, Load, Target, find_capacity, measure, own_server
    from xyt_stream.bench.load_clients import speech_or_noise

    pcm = speech_or_noise(speech)

    def run(count: int) -> Load:
        if url is not None:
            result = measure(Target(url), pcm, sessions=count, seconds=seconds, token=token)
        else:
            with own_server(
                model, slots=count, device=device, lookahead=lookahead or 0, threads=threads
            ) as target:
                result = measure(target, pcm, sessions=count, seconds=seconds)
        if find:
            _say(result.line)
        return result

    if not find:
        result = run(sessions)
        console.print(result.table())
        _write_json(json_file, result.flat())
        return
    best = find_capacity(run, sessions)
    capacity = best.sessions if best.good else 0
    console.print(best.table())
    _say(f"capacity: {capacity} (no frame lost, 99 of 100 back within {LATE * 1e3:.0f} ms)")
    _write_json(json_file, {**best.flat(), "capacity": capacity})


@bench_app.command("soak")
def bench_soak(
    minutes: Annotated[float, typer.Option(min=2, help="In all.")] = 30,
    sessions: Annotated[int, typer.Option(min=1, help="That come and go, at most at once.")] = 4,
    speech: Annotated[Path | None, typer.Option(help="What the clients say; else noise.")] = None,
    model: Model = None,
    device: Device = "cpu",
    json_file: Json = None,
) -> None:
    """Sessions coming and going for long: memory, descriptors and slots must not grow."""
    from xyt_stream.bench.load import own_server
    from xyt_stream.bench.load_clients import speech_or_noise
    from xyt_stream.bench.soak import soak

    with own_server(model, slots=sessions, device=device) as target:
        result = soak(target, speech_or_noise(speech), sessions=sessions, minutes=minutes)
    console.print(result.table())
    _write_json(json_file, result.flat())


@bench_app.command("codec")
@with_model
def bench_codec(
    load: LoadCodec,
    streams: Annotated[
        str, typer.Option(help="How many side by side; several numbers with commas between.")
    ] = "1",
    frames: Annotated[int, typer.Option(min=10, help="To time, after warm-up.")] = 200,
    threads: Annotated[int, typer.Option(min=1, help="That torch may use.")] = 1,
    full: Annotated[
        bool,
        typer.Option(
            "--full", help="The published size, too, live and without a cache: gigabytes, minutes."
        ),
    ] = False,
    lookahead: Lookahead = None,
    plot: Annotated[
        Path | None, typer.Option(dir_okay=False, help="Draw the figures: a png, svg or pdf.")
    ] = None,
    json_file: Json = None,
) -> None:
    """Time per step, memory, and the share of arithmetic, beside Mimi on the same machine."""
    from xyt_stream.bench.codec import compare

    if plot:
        from xyt_stream.bench.plot import draw_steps
    result = compare(
        load(),
        streams=_numbers(streams),
        frames=frames,
        lookahead=lookahead or 0,
        full=full,
        threads=threads,
    )
    console.print(*result.tables(), sep="\n")
    for note in result.notes:
        _say(note)
    _write_json(json_file, result.flat())
    if plot:
        draw_steps(result, plot)


@bench_app.command("lookahead")
@with_model_argument
def bench_lookahead(
    load: LoadCodec,
    file: Source,
    lookahead: Lookaheads = None,
    plot: Annotated[
        Path | None, typer.Option(dir_okay=False, help="Draw the figures: a png, svg or pdf.")
    ] = None,
    json_file: Json = None,
) -> None:
    """Fidelity against latency. For each lookahead: its delay; of each codebook, the share of live
    codes that are the offline ones; the SNR of live against offline sound, both decoded from the
    offline codes; time per step.
    """
    from xyt_stream.bench.lookahead import measure
    from xyt_stream.streaming.summary import default_lookaheads

    if plot:
        from xyt_stream.bench.plot import draw
    codec = load()
    samples, _ = _read(file, codec)
    result = measure(
        codec,
        samples,
        lookahead or default_lookaheads(codec.network.config),
        progress=lambda rows: track(rows, "streaming", console=console, transient=True),
    )
    console.print(*result.tables(), sep="\n")
    _write_json(json_file, result.flat())
    if plot:
        draw(result, plot)


@bench_app.command("offline")
def bench_offline(
    seconds: Annotated[float, typer.Option(min=0.1, max=30, help="Of sound to code.")] = 5,
    repeats: Annotated[int, typer.Option(min=1, help="Of each way, after warm-up.")] = 3,
    device: Device = "cpu",
    json_file: Json = None,
) -> None:
    """A clip through a model of the published size with random weights, beside the published way:
    every clip padded to 30 s, attention written out, a full mask made anew in every layer.
    """
    from xyt_stream.bench.offline import compare, random_network
    from xyt_stream.model.config import published
    from xyt_stream.streaming.codec import check_device

    network = random_network(published("XY-Tokenizer", 16_000), check_device(device))
    result = compare(network, seconds=seconds, repeats=repeats)
    console.print(result.table())
    _say(result.note)
    _write_json(json_file, result.flat())


@bench_app.command("precision")
@with_model_argument
def bench_precision(load: LoadCodec, file: Source, json_file: Json = None) -> None:
    """How many codes half precision changes, and what it does to sound and time: of the stacks
    alone, and of the weights, too.
    """
    from xyt_stream.bench.precision import measure

    codec = load()
    samples, _ = _read(file, codec)
    result = measure(codec, load(Weights.bfloat16), samples)
    console.print(result.table())
    _write_json(json_file, result.flat())


@bench_app.command("text")
@with_model_argument
def bench_text(
    load: LoadCodec,
    data: Annotated[
        Path, typer.Argument(exists=True, file_okay=False, help="Speech with a metadata.csv.")
    ],
    steps: Annotated[int, typer.Option(min=1, help="Of training each reader.")] = 1500,
    json_file: Json = None,
) -> None:
    """How much of what is said can be read off the codes alone (extra `train`)."""
    from xyt_stream.bench.text import measure

    result = measure(load(), data, steps=steps)
    console.print(result.table())
    _write_json(json_file, result.flat())


def _numbers(text: str) -> list[int]:
    """ "1,8,32" as numbers, each of them 1 or more."""
    try:
        numbers = [int(part) for part in text.split(",")]
    except ValueError:
        numbers = [0]
    if min(numbers) < 1:
        raise typer.BadParameter(f"{text!r} is no list of numbers like 1,8,32")
    return numbers


def _lookahead(offline: bool, lookahead: int | None) -> int | None:
    """What a live stream waits for; None: offline."""
    if offline and lookahead is not None:
        raise typer.BadParameter("--offline sees all of the future: leave --lookahead out")
    return None if offline else lookahead or 0


def _precision(dtype: Precision, lookahead: int | None) -> torch.dtype:
    if lookahead is not None and dtype is not Precision.float32:
        raise typer.BadParameter("live streams are float32: leave --lookahead or --dtype out")
    import torch

    precision: torch.dtype = getattr(torch, dtype.value)
    return precision


def _read(source: Path, codec: Codec) -> tuple[Samples, SoundInfo]:
    from xyt_stream.audio import read_audio

    samples, info = read_audio(source, codec.input_rate)
    if info.mixed_down:
        _say(f"{source}: {info.channels} channels mixed down to mono")
    return samples, info


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
