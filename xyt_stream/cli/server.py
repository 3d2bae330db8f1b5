"""Defines the command serve."""

from __future__ import annotations

import secrets
from enum import Enum
from pathlib import Path
from typing import Annotated

import typer

from xyt_stream.cli.groups import ModelOptions, grouped
from xyt_stream.cli.options import (
    DEFAULT_PORT,
    TOKEN_VARIABLE,
    Lookahead,
    Weights,
    not_empty,
    one_thread,
)
from xyt_stream.server.admission.limits import Limits

_TOKEN_BYTES = 9  # of a token made here: twelve characters, short enough for a QR code

app = typer.Typer()


class LogLevel(str, Enum):
    """From which level on the server's log is written."""

    info = "info"
    warning = "warning"
    error = "error"


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
    token: Annotated[
        str | None,
        typer.Option(
            envvar=TOKEN_VARIABLE,
            callback=not_empty,
            help="Token that clients give for any role. Default: none is asked for.",
        ),
    ] = None,
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
    node: Annotated[
        str | None,
        typer.Option(
            help="Name of this server among several behind a proxy; where it is full, the proxy "
            "can then try another. Default: it is alone, and has the machine's name."
        ),
    ] = None,
    peers: Annotated[
        list[str] | None,
        typer.Option(
            help="The other nodes, to which live sessions move when this one goes away: "
            "NAME=http://HOST:PORT, NAME,NAME=http://{node}.DOMAIN:PORT, or, without names, which "
            "rooms over several nodes need, http://{node}.DOMAIN:PORT. Needs --node."
        ),
    ] = None,
    peer_secret: Annotated[
        Path | None, typer.Option(help="File with the secret that all nodes share.")
    ] = None,
    tls_cert: Annotated[
        Path | None, typer.Option(help="Certificate in PEM: serve wss:// and https://.")
    ] = None,
    tls_key: Annotated[
        Path | None, typer.Option(help="Its key, if that is not in the same file.")
    ] = None,
    https: Annotated[
        bool,
        typer.Option(
            "--https",
            help="Serve https:// with a certificate made now, as phones need for the microphone; "
            "for other machines also a token, if there is none.",
        ),
    ] = False,
    lookahead: Lookahead = None,
    relay: Annotated[
        bool,
        typer.Option("--relay", help="Pass codes on without a codec: clients encode and decode."),
    ] = False,
    duplex: Annotated[
        str | None,
        typer.Option(help="A speech model for users to talk with: package.module:Factory."),
    ] = None,
    *,
    limits: Limits,
    dtype: Annotated[
        Weights,
        typer.Option(help="What the model computes in; half is quicker and changes some codes."),
    ] = Weights.float32,
    log_level: Annotated[
        LogLevel, typer.Option(help="What to log: text in a terminal, else JSON lines.")
    ] = LogLevel.info,
    model: ModelOptions,
) -> None:
    """Serve the codec over websockets until Ctrl-C."""
    if relay and (duplex is not None or model != ModelOptions() or lookahead):
        raise typer.BadParameter(
            "--relay runs no model: leave --duplex, --lookahead and the options of a model out"
        )
    from xyt_stream.cli.welcome import announce, certificate_names, is_terminal
    from xyt_stream.server.admission.access import Access, all_tokens, check_bind, is_loopback
    from xyt_stream.server.admission.address import check_address
    from xyt_stream.server.admission.proxies import Proxies
    from xyt_stream.server.admission.tls import tls_context
    from xyt_stream.server.duplex.models import load

    # Checked here, before torch is imported for the model, and again where the server listens.
    tls = tls_context(tls_cert, tls_key)
    access, made = Access(all_tokens(token, token_file), origin or ()), None
    if https and access.is_open and not allow_anyone and not is_loopback(host):
        token = made = secrets.token_urlsafe(_TOKEN_BYTES)
    else:
        check_bind(host, access, public=allow_anyone)
    check_address(host, port)
    others = None
    if peers:
        from xyt_stream.server.handover.peers import Peers

        if node is None or peer_secret is None:
            raise typer.BadParameter("--peers needs --node and --peer-secret")
        others = Peers.read(peers, peer_secret)
    model.check(lookahead)
    Proxies(proxy or ())
    if duplex is not None:
        load(duplex)
    fingerprint = None
    if https and tls is None:
        from xyt_stream.server.admission.certificate import make_certificate

        certificate = make_certificate(certificate_names(host))
        tls, fingerprint = certificate.tls, certificate.fingerprint
    from xyt_stream.server.app import serve as run_server

    if not relay:
        one_thread()
    if is_terminal() and not relay:
        from xyt_stream.cli.terminal import say

        say("loading the model ...")
    run_server(
        None if relay else model.load(dtype),
        host=host,
        port=port,
        max_sessions=max_sessions,
        lookahead=lookahead or 0,
        token=token,
        token_file=token_file,
        origins=origin or (),
        allow_anyone=allow_anyone,
        proxies=proxy or (),
        node=node,
        peers=others,
        tls=tls,
        limits=limits,
        duplex=duplex,
        log_level=log_level.value,
        on_ready=lambda server: announce(
            server, token=made, asks_token=not access.is_open, fingerprint=fingerprint
        ),
    )
