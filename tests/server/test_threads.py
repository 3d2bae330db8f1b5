"""A thread may raise anything: its sessions end with a named error, and /healthz reports it."""

from __future__ import annotations

import pytest

from xyt_stream.client import connect
from xyt_stream.errors import ProtocolError
from xyt_stream.server.admission.limits import Limits
from xyt_stream.server.app import running


class Exits:
    """Raises SystemExit in the method `where`, in its first conversation."""

    where = "step"
    raised = 0

    def __init__(self, codec):
        pass

    def _maybe(self, where):
        if where == self.where and not type(self).raised:
            type(self).raised += 1
            raise SystemExit(3)

    def open(self, session):
        self._maybe("open")

    def step(self, codes):
        self._maybe("step")
        return codes

    def close(self):
        self._maybe("close")


class ExitsTogether(Exits):
    """The same for all conversations at once."""

    batched = True

    def __init__(self, codec, slots):
        pass

    def open(self, slot, session):
        self._maybe("open")

    def step(self, codes, active):
        self._maybe("step")
        return codes, active

    def close(self, slot):
        self._maybe("close")


@pytest.mark.parametrize("where", ["open", "step", "close"])
@pytest.mark.parametrize("kind", [Exits, ExitsTogether])
async def test_a_model_that_exits_ends_one_conversation(codec, clip, hear, until, kind, where):
    model = type("Model", (kind,), {"where": where, "raised": 0})
    limits = Limits(load=0)
    async with running(codec, max_sessions=4, duplex=model, limits=limits) as server:
        if where == "close":
            async with connect(server.url, "user") as connection:
                await connection.end()
                await hear(connection)
        else:
            await fails(server, "user", clip)
        await until(lambda: model.raised == 1 and server.engine.free_slots == 4)
        assert server.service.readiness.what_has_stopped() is None
        async with connect(server.url, "user") as connection:
            await connection.send_pcm(clip[:2560])
            await connection.end()
            assert len((await hear(connection)).sound) == 2560


async def test_a_step_that_exits_ends_its_streams_and_no_more(codec, clip, hear, until):
    async with running(codec, max_sessions=2, limits=Limits(load=0)) as server:
        step, server.engine._device.step = server.engine._device.step, exits
        await fails(server, "encode", clip)
        server.engine._device.step = step
        await until(lambda: server.engine.free_slots == 2)
        async with connect(server.url, "encode") as connection:
            await connection.send_pcm(clip[:2560])
            await connection.end()
            assert (await hear(connection)).codes.shape[1] == 2


async def test_a_dead_engine_gives_its_slots_back_and_health_knows(codec, clip, until):
    async with running(codec, max_sessions=2, limits=Limits(load=0)) as server:
        await fails(server, "encode", clip, server.engine, "_gather")
        await until(lambda: server.engine.free_slots == 2)
        assert server.service.readiness.what_has_stopped() == "The engine has stopped"


async def test_a_dead_model_s_thread_is_known(codec, clip, until):
    model = type("Model", (Exits,), {"where": "nowhere"})
    limits = Limits(load=0)
    async with running(codec, max_sessions=4, duplex=model, limits=limits) as server:
        await fails(server, "user", clip, server.service.runner, "_step")
        await until(lambda: server.engine.free_slots == 4)
        assert server.service.readiness.what_has_stopped() == "The speech model has stopped"


def exits(*given):
    raise SystemExit(3)


async def fails(server, role, pcm, part=None, method=""):
    """A session fails by its name; `method` of `part` exits once it has begun."""

    async def speak():
        async with connect(server.url, role) as connection:
            if part is not None:
                setattr(part, method, exits)
            await connection.send_pcm(pcm[:2560])
            async for _ in connection:
                pass

    with pytest.raises(ProtocolError) as caught:
        await speak()
    assert caught.value.name == "internal"
