"""Admission at /v1/realtime, and the ends of sessions."""

from __future__ import annotations

import asyncio
import base64
import json
from contextlib import suppress

import pytest
from realtime_models import Fails, Mute
from websockets.asyncio.client import connect as raw_connect
from websockets.exceptions import ConnectionClosed, InvalidStatus

from xyt_stream.client import connect as xyt_connect
from xyt_stream.server.admission.access import Access, read_tokens
from xyt_stream.server.admission.limits import Limits
from xyt_stream.server.app import running

TOKENS = "talk-word user\nmic-word mic\nall-word\n"


async def events_of(socket):
    """All that comes until the server closes; and its close code."""

    async def gather():
        events = []
        with suppress(ConnectionClosed):
            while True:
                events.append(json.loads(await socket.recv()))
        return events, socket.close_code

    return await asyncio.wait_for(gather(), 120)


def dial(server, **options):
    return raw_connect(f"{server.url}/v1/realtime?model=any", **options)


async def test_tokens_in_a_header_or_among_subprotocols(talking):
    async with talking(Mute, access=Access(read_tokens(TOKENS))) as server:
        for word, wrong in {"talk-word": None, "all-word": None, "mic-word": "forbidden"}.items():
            as_header = {"additional_headers": {"Authorization": f"Bearer {word}"}}
            as_browsers = {"subprotocols": ["realtime", f"openai-insecure-api-key.{word}"]}
            for options in (as_header, as_browsers):
                async with dial(server, **options) as socket:
                    event = json.loads(await socket.recv())
                    assert event["type"] == ("session.created" if wrong is None else "error")
                    if wrong is not None:
                        assert event["error"]["code"] == wrong
                    if "subprotocols" in options:
                        assert socket.subprotocol == "realtime"


async def test_a_wrong_token_is_refused(talking, sdk):
    async with talking(Mute, access=Access(read_tokens(TOKENS))) as server:
        async with sdk(server, token="nothing") as connection:
            event = await connection.recv()
            assert (event.type, event.error.code) == ("error", "unauthorized")
            with pytest.raises(ConnectionClosed) as caught:
                await connection.recv()
            assert caught.value.rcvd.code == 4401
        async with dial(server) as socket:
            assert (await events_of(socket))[1] == 4401


async def test_foreign_pages_are_refused(talking):
    async with talking(Mute) as server:
        with pytest.raises(InvalidStatus):
            await dial(server, origin="https://evil.example", subprotocols=["realtime"])


@pytest.mark.parametrize(
    ("query", "options", "code", "close_code"),
    [
        ("intent=transcription", {}, "transcription_not_supported", 4405),
        ("model=any&intent=transcription", {}, "transcription_not_supported", 4405),
        ("call_id=rtc_1", {}, "call_id_not_supported", 4405),
        (
            "model=any",
            {"additional_headers": {"OpenAI-Beta": "realtime=v1"}},
            "beta_api_shape_disabled",
            4000,
        ),
        (
            "model=any",
            {"subprotocols": ["realtime", "openai-beta.realtime-v1"]},
            "beta_api_shape_disabled",
            4000,
        ),
    ],
)
async def test_other_endpoints_are_refused_by_name(
    talking, until_free, query, options, code, close_code
):
    async with talking(Mute) as server:
        url = f"{server.url}/v1/realtime?{query}"
        async with raw_connect(url, **options) as socket:
            (event,), closed_with = await events_of(socket)
            assert event["type"] == "error"
            assert (event["error"]["code"], event["error"]["type"]) == (
                code,
                "invalid_request_error",
            )
            assert closed_with == close_code
        await until_free(server)


@pytest.mark.parametrize("query", ["", "?model=any&intent=conversation", "/?model=any"])
async def test_conversations_come_in(talking, query):
    async with talking(Mute) as server:
        headers = {"OpenAI-Beta": "assistants=v2"}
        async with raw_connect(
            f"{server.url}/v1/realtime{query}", additional_headers=headers
        ) as socket:
            assert json.loads(await socket.recv())["type"] == "session.created"


async def test_without_a_model_it_is_refused(codec):
    async with running(codec, max_sessions=2) as server, dial(server) as socket:
        (event,), code = await events_of(socket)
        assert code == 4405
        assert "--duplex" in event["error"]["message"]


async def test_a_full_server_is_busy_and_free_again_later(talking, sdk, until_free):
    async with talking(Mute, max_sessions=2) as server:
        async with sdk(server) as connection:
            assert (await connection.recv()).type == "session.created"
            async with dial(server) as socket:
                (event,), code = await events_of(socket)
            assert (event["error"]["code"], event["error"]["type"]) == ("busy", "server_error")
            assert code == 4503
        await until_free(server)
        async with sdk(server) as connection:
            assert (await connection.recv()).type == "session.created"


async def test_sessions_of_one_address_are_counted(talking):
    async with (
        talking(Mute, limits=Limits(address_sessions=1)) as server,
        dial(server) as first,
    ):
        assert json.loads(await first.recv())["type"] == "session.created"
        async with dial(server) as second:
            (event,), code = await events_of(second)
        assert (event["error"]["code"], code) == ("too_many", 4429)


async def test_large_events_are_read_and_too_large_ones_are_not(talking):
    limits = Limits(message_bytes=1000, realtime_bytes=50_000)
    async with talking(Mute, limits=limits) as server:
        for size, kept in ((30_000, True), (60_000, False)):
            async with dial(server) as socket:
                await socket.recv()
                audio = base64.b64encode(bytes(size // 4 * 3)).decode()
                append = {"type": "input_audio_buffer.append", "audio": audio}
                await socket.send(json.dumps(append))
                await socket.send('{"type": "input_audio_buffer.clear"}')
                if kept:
                    assert json.loads(await socket.recv())["type"] == "input_audio_buffer.cleared"
                else:
                    assert (await events_of(socket))[1] == 1009


async def test_a_failing_model_ends_its_own_session_only(talking, until_free, caplog):
    async with talking(Fails) as server:
        async with dial(server) as socket:
            await socket.recv()
            audio = base64.b64encode(bytes(48_000)).decode()
            await socket.send(json.dumps({"type": "input_audio_buffer.append", "audio": audio}))
            events, code = await events_of(socket)
            assert (events[-1]["error"]["code"], code) == ("internal", 4500)
        await until_free(server)
        async with xyt_connect(server.url, "loopback"):
            pass
    assert "a bug in somebody's model" in caplog.text


async def test_idle_clients_are_ended(talking, until):
    async with talking(Mute, limits=Limits(idle_time=0.5)) as server, dial(server) as socket:
        events, code = await events_of(socket)
        assert (events[-1]["error"]["code"], code) == ("idle", 4430)


async def test_shutdown_is_announced(talking):
    async with talking(Mute) as server:
        socket = await dial(server)
        await socket.recv()
        waiting = asyncio.create_task(events_of(socket))
    events, code = await waiting
    assert (events[-1]["error"]["code"], code) == ("going_away", 1012)


async def test_a_client_that_vanishes_leaves_nothing_behind(talking, until_free):
    async with talking(Mute) as server:
        socket = await dial(server)
        await socket.recv()
        socket.transport.abort()
        await until_free(server)


async def test_other_paths_speak_xyt(talking):
    async with talking(Mute) as server, raw_connect(f"{server.url}/v1/other") as socket:
        (event,), code = await events_of(socket)
        assert (event["name"], code) == ("wrong_subprotocol", 4406)


async def test_a_session_with_items_of_sound_leaves_no_task(talking, until):
    """It ended with a cancellation that came just as its wait for the model's turn did."""

    def tasks():
        return [
            task
            for task in asyncio.all_tasks()
            if "RealtimeSession" in task.get_coro().__qualname__
        ]

    sound = base64.b64encode(bytes(200_000)).decode()
    part = {"type": "input_audio", "audio": sound}
    item = {"type": "message", "role": "user", "content": [part]}
    event = json.dumps({"type": "conversation.item.create", "item": item})
    async with talking(Mute) as server:
        for number in range(6):
            async with dial(server) as socket:
                await socket.recv()
                for _ in range(3):
                    await socket.send(event)
                await asyncio.sleep(0.05 * number)
                socket.transport.abort()
            await until(lambda: not tasks())
