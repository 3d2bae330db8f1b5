"""Defines the command cluster."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from xyt_stream.cli.options import DEFAULT_PORT
from xyt_stream.errors import ServeError

app = typer.Typer()

_OWN = (
    "--host",
    "--port",
    "--node",
    "--proxy",
    "--peers",
    "--peer-secret",
    "--tls-cert",
    "--tls-key",
)  # set by this command


@app.command(context_settings={"allow_extra_args": True, "ignore_unknown_options": True})
def cluster(
    context: typer.Context,
    nodes: Annotated[int, typer.Option(min=1, max=64, help="Servers to start.")] = 3,
    host: Annotated[str, typer.Option(help="Address that HAProxy listens on.")] = "127.0.0.1",
    port: Annotated[
        int, typer.Option(min=0, max=65_535, help="0 picks a free one.")
    ] = DEFAULT_PORT,
    token_file: Annotated[
        Path | None,
        typer.Option(help="Tokens, one a line, as for serve; XYT_TOKEN also opens all nodes."),
    ] = None,
    allow_anyone: Annotated[
        bool, typer.Option("--allow-anyone", help="Serve other machines without any token.")
    ] = False,
) -> None:
    """Serve with several nodes behind HAProxy on this machine, until Ctrl-C.

    All other options are those of serve, for each node. A node that ends is started again.
    """
    import os

    for word in context.args:
        if word.partition("=")[0] in _OWN:
            raise typer.BadParameter(f"the nodes get their own {word.partition('=')[0]}")
    from xyt_stream.cli import server
    from xyt_stream.cli.options import TOKEN_VARIABLE
    from xyt_stream.server.admission.access import Access, all_tokens, check_bind
    from xyt_stream.server.cluster.launcher import serve_cluster

    options = list(context.args)
    # Here, once, before each node would refuse them.
    typer.main.get_command(server.app).make_context("xyt-stream serve", list(options))
    if token_file is not None:
        options += ["--token-file", str(token_file)]
    tokens = all_tokens(os.environ.get(TOKEN_VARIABLE), token_file)
    if not any(word.partition("=")[0] == "--token" for word in options):
        check_bind(host, Access(tokens), public=allow_anyone)
    try:
        serve_cluster(nodes, host=host, port=port, options=options)
    except NotImplementedError:
        raise ServeError("a cluster needs signals and processes as Linux and macOS have") from None
