"""The server."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Annotated

import typer

from xyt_stream.cli.groups import ModelOptions, grouped
from xyt_stream.cli.options import DEFAULT_PORT, Lookahead, Token, Weights

app = typer.Typer()


class LogLevel(str, Enum):
    """From which level on the server's log is written."""

    info = "info"
    warning = "warning"
    error = "error"


@dataclass(frozen=True)
class LimitOptions:
    """The server's `Limits`, each an option."""

    message_bytes: Annotated[int, typer.Option(min=1024, help="Of one message.")] = 262_144
    queue: Annotated[int, typer.Option(min=1, help="Messages that wait for one client.")] = 64
    ahead: Annotated[
        float, typer.Option(min=0, help="Seconds of sound a client may be ahead of real time.")
    ] = 30
    load: Annotated[
        float,
        typer.Option(
            "--max-load",
            min=0,
            help="Share of real time that steps may take, or nobody new comes in; 0 for any.",
        ),
    ] = 0.95
    address_sessions: Annotated[
        int, typer.Option(min=0, help="Sessions of one address at once; 0 for any number.")
    ] = 64
    address_joins: Annotated[
        float, typer.Option(min=0, help="Connections a second of one address; 0 for any number.")
    ] = 50
    rooms: Annotated[int, typer.Option(min=1, help="Rooms at once.")] = 256
    members: Annotated[int, typer.Option(min=1, help="Members of one room.")] = 64
    hello_time: Annotated[
        float, typer.Option(min=0.1, help="Seconds for the handshake, and for the hello.")
    ] = 10
    idle_time: Annotated[
        float, typer.Option(min=0, help="Seconds that a client may send nothing; 0 for ever.")
    ] = 600
    session_time: Annotated[
        float, typer.Option(min=0, help="Seconds that a session may last; 0 for ever.")
    ] = 0
    resume_time: Annotated[
        float, typer.Option(min=0, help="Seconds that a session waits for a lost client.")
    ] = 30
    keepalive: Annotated[float, typer.Option(min=0, help="Seconds between pings; 0 for none.")] = 20
    drain_time: Annotated[
        float, typer.Option(min=0, help="Seconds to send what is left at shutdown.")
    ] = 5


@app.command()
@grouped
def serve(
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[
        int, typer.Option(min=0, max=65_535, help="0 picks a free one.")
    ] = DEFAULT_PORT,
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
    *,
    limits: LimitOptions,
    dtype: Annotated[
        Weights,
        typer.Option(help="What the model computes in; half is quicker and changes some codes."),
    ] = Weights.float32,
    log_level: Annotated[
        LogLevel, typer.Option(help="What to log, as JSON lines.")
    ] = LogLevel.info,
    model: ModelOptions,
) -> None:
    """Serve the codec over websockets until Ctrl-C."""
    from xyt_stream.server.admission.limits import Limits
    from xyt_stream.server.app import serve as run_server

    run_server(
        model.load(dtype),
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
        limits=Limits(**vars(limits)),
        duplex=duplex,
        log_level=log_level.value,
    )
