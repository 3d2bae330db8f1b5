"""Defines the commands `bench load`, `relay`, `proxy`, `soak` and `attack`: many clients."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from xyt_stream.cli.options import (
    MODEL_HELP,
    Device,
    Fingerprint,
    Json,
    Lookahead,
    Token,
    check_source,
    check_url,
)
from xyt_stream.cli.terminal import say, show, write_json
from xyt_stream.model import hub

app = typer.Typer()


def _check_speech(path: Path | None) -> Path | None:
    if path is not None:
        check_source(path)
    return path


def _check_model(model: str | None) -> str | None:
    """Checks a model that is named without the options of its config and revision."""
    if model != "none":
        hub.check(model)
    return model


Speech = Annotated[
    Path | None,
    typer.Option(callback=_check_speech, help="Sound file that the clients send; else noise."),
]
Loaded = Annotated[str | None, typer.Option(callback=_check_model, help=MODEL_HELP)]


@app.command("load")
def bench_load(
    sessions: Annotated[int, typer.Option(min=1, help="Concurrent clients, in real time.")] = 8,
    seconds: Annotated[float, typer.Option(min=1, help="Seconds of sound that each sends.")] = 30,
    url: Annotated[
        str | None, typer.Option(help="Address of the server; else one is started here.")
    ] = None,
    find: Annotated[
        bool, typer.Option("--find-capacity", help="Search for the most sessions within limits.")
    ] = False,
    speech: Speech = None,
    threads: Annotated[int, typer.Option(min=1, help="Threads of the server that is started.")] = 1,
    token: Token = None,
    fingerprint: Fingerprint = None,
    model: Annotated[
        str | None,
        typer.Option(
            callback=_check_model,
            help=f"{MODEL_HELP} 'none' computes nothing, for the server's own time.",
        ),
    ] = None,
    device: Device = "cpu",
    lookahead: Lookahead = None,
    json_file: Json = None,
) -> None:
    """Many clients of one server: turnaround, late and lost frames, capacity."""
    if url is not None:
        check_url(url, fingerprint)
    elif fingerprint is not None:
        raise typer.BadParameter("--fingerprint is that of a server at --url: give both")
    if lookahead and url is None and hub.is_causal(model):
        raise typer.BadParameter(f"{model or hub.DEFAULT} is causal: leave --lookahead out")
    from xyt_stream.bench.capacity_search import find_capacity
    from xyt_stream.bench.load import LATE, LoadResult, Target, measure, own_server
    from xyt_stream.bench.load_clients import Access
    from xyt_stream.bench.speech import speech_or_noise

    pcm = speech_or_noise(speech)

    def run(count: int) -> LoadResult:
        if url is not None:
            result = measure(
                Target(url, access=Access(token, fingerprint)),
                pcm,
                sessions=count,
                seconds=seconds,
            )
        else:
            with own_server(
                model, slots=count, device=device, lookahead=lookahead or 0, threads=threads
            ) as target:
                result = measure(target, pcm, sessions=count, seconds=seconds)
        if find:
            say(result.line)
        return result

    if not find:
        result = run(sessions)
        show(result.table())
        write_json(json_file, result.flat())
        return
    best = find_capacity(run, sessions)
    capacity = best.sessions if best.good else 0
    show(best.table())
    say(f"capacity: {capacity} (no frame lost, 99 of 100 back within {LATE * 1e3:.0f} ms)")
    write_json(json_file, {**best.flat(), "capacity": capacity})


@app.command("relay")
def bench_relay(
    sessions: Annotated[
        int, typer.Option(min=2, help="Mics and speakers, in real time, in whole rooms.")
    ] = 1000,
    speakers: Annotated[
        int, typer.Option(min=1, help="Speakers in the room of each mic; 1: pairs.")
    ] = 9,
    seconds: Annotated[float, typer.Option(min=1, help="Seconds that each mic speaks.")] = 10,
    nodes: Annotated[
        int,
        typer.Option(min=1, max=64, help="Relays behind HAProxy that share one room of all."),
    ] = 1,
    find: Annotated[
        bool, typer.Option("--find-capacity", help="Search for the most sessions within limits.")
    ] = False,
    json_file: Json = None,
) -> None:
    """Many coded sessions of one relay: delay from mic to speaker, lost frames, capacity."""
    from xyt_stream.bench.capacity_search import find_capacity
    from xyt_stream.bench.relay import LATE, LATE_OVER_NODES, RelayLoad, measure, own_relay
    from xyt_stream.bench.relay_cluster import own_cluster

    def run(count: int) -> RelayLoad:
        if nodes > 1:
            with own_cluster(nodes, count - 1) as cluster:
                result = measure(cluster, rooms=1, speakers=count - 1, seconds=seconds)
            if find:
                say(result.line)
            return result
        rooms = max(1, count // (1 + speakers))
        with own_relay() as target:
            result = measure(target, rooms=rooms, speakers=speakers, seconds=seconds)
        if find:
            say(result.line)
        return result

    best = find_capacity(run, sessions, most=1 << 15) if find else run(sessions)
    show(best.table())
    figures = best.flat()
    if find:
        figures["capacity"] = best.sessions if best.good else 0
        late = LATE if nodes == 1 else LATE_OVER_NODES
        say(
            f"capacity: {figures['capacity']} "
            f"(no frame lost, 99 of 100 there within {late * 1e3:.0f} ms)"
        )
    write_json(json_file, figures)


@app.command("proxy")
def bench_proxy(
    sessions: Annotated[int, typer.Option(min=1, help="Concurrent clients, in real time.")] = 32,
    seconds: Annotated[float, typer.Option(min=1, help="Seconds of each load.")] = 8,
    loads: Annotated[int, typer.Option(min=1, help="Loads each way, in turn.")] = 5,
    speech: Speech = None,
    json_file: Json = None,
) -> None:
    """Time that HAProxy adds to a frame's turnaround; the server has no codec."""
    import asyncio

    from xyt_stream.bench.proxy import compare
    from xyt_stream.bench.speech import speech_or_noise

    pcm = speech_or_noise(speech)
    result = asyncio.run(compare(pcm, sessions=sessions, seconds=seconds, loads=loads))
    show(result.table())
    write_json(json_file, result.flat())


@app.command("soak")
def bench_soak(
    minutes: Annotated[float, typer.Option(min=2, help="Minutes in all.")] = 30,
    sessions: Annotated[int, typer.Option(min=1, help="The most at a time.")] = 4,
    speech: Speech = None,
    model: Loaded = None,
    device: Device = "cpu",
    json_file: Json = None,
) -> None:
    """Sessions that come and go for a long time: memory, descriptors and slots must not grow."""
    from xyt_stream.bench.load import own_server
    from xyt_stream.bench.soak import soak
    from xyt_stream.bench.speech import speech_or_noise

    with own_server(model, slots=sessions, device=device) as target:
        result = soak(target, speech_or_noise(speech), sessions=sessions, minutes=minutes)
    show(result.table())
    write_json(json_file, result.flat())


@app.command("attack")
def bench_attack(
    seconds: Annotated[float, typer.Option(min=2, help="Seconds of each attack.")] = 8,
    connections: Annotated[
        int, typer.Option(min=1, max=8, help="Addresses that each attack comes from.")
    ] = 1,
    slow: Annotated[bool, typer.Option("--slow", help="Pause between an attack's pieces.")] = False,
    only: Annotated[
        list[str] | None, typer.Option(help="Name of an attack to run; may be repeated.")
    ] = None,
    speech: Speech = None,
    model: Loaded = None,
    json_file: Json = None,
) -> None:
    """Hostile clients of one server: what they cost a neighbour."""
    import numpy as np

    from xyt_stream.audio import INPUT_RATE
    from xyt_stream.bench.attack import HEAD_START, flat, measure, name_of, table
    from xyt_stream.bench.attacks import ATTACKS
    from xyt_stream.bench.speech import speech_or_noise

    names = [name_of(attack) for attack in ATTACKS]
    if unknown := set(only or []) - set(names):
        raise typer.BadParameter(
            f"there is no attack {unknown.pop()!r}: choose from {', '.join(names)}"
        )
    costs = measure(
        model,
        np.resize(speech_or_noise(speech), round((HEAD_START + seconds) * INPUT_RATE)),
        connections=connections,
        slow=slow,
        only=only or [],
        on_cost=lambda cost: say(cost.line),
    )
    show(table(costs))
    write_json(json_file, flat(costs))
