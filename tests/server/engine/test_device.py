"""The device's side of a step: the host waits for results only, and buffers stay where they are."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch.overrides import TorchFunctionMode

from tests.streaming.conftest import tiny
from xyt_stream import Codec
from xyt_stream.model import torch_internals
from xyt_stream.model.checkpoint import Checkpoint, build
from xyt_stream.server.engine import device as module
from xyt_stream.server.engine.device import Device
from xyt_stream.server.engine.device_rows import ChosenRows, FirstRows
from xyt_stream.server.engine.slots import Slots
from xyt_stream.server.engine.work import Work
from xyt_stream.streaming.transfers import Arrival, Transfers

CPU = torch.device("cpu")
SLOTS = 3
FRAMES = 30  # more than a ring of the models here holds


class Elsewhere(Transfers):
    """Copies to and from a device without data, as a GPU's transfers do, and counts the waits."""

    def __init__(self, device: torch.device) -> None:
        super().__init__(device)
        self.waits = 0

    def up(self, rows: torch.Tensor) -> torch.Tensor:
        assert rows.device.type == "cpu"
        return rows.to("meta")

    def down(self, rows: torch.Tensor, staging: torch.Tensor) -> Arrival:
        assert rows.is_meta
        assert staging.shape == rows.shape
        self.waits += 1
        return Arrival(staging, None)


def slots_of(device: Device, codec: Codec) -> Slots:
    return Slots(
        SLOTS,
        frame_samples=codec.frame_samples_in,
        codebooks=codec.num_codebooks,
        encoder_lead=device.encoder.lead,
        decoder_lead=device.decoder.lead,
        most_rows=device.most_rows,
    )


def works(device: Device, slots: Slots, codec: Codec) -> list[Work]:
    """Steps of streams of sound and of codes that come, pause and go."""
    found = []
    random = np.random.default_rng(0)
    for slot in range(SLOTS):
        slots.open(slot, from_codes=slot == 2)
        slots.set_decoding(slot, slot != 1)
    for frame in range(FRAMES):
        for slot in range(SLOTS):
            if random.random() < 0.8 or frame == 0:
                codes = np.zeros(codec.num_codebooks, np.int64)
                sound = np.zeros(codec.frame_samples_in, np.float32)
                slots.push(slot, codes if slot == 2 else sound, frame * 0.08)
        if frame == FRAMES // 2:
            slots.close(0)
            slots.open(0, from_codes=False)
        found.append(slots.take(device.pcm, device.codes, frame * 0.08))
    return found


def a_codec(kind: str) -> Codec:
    return tiny(causal=kind == "causal", context=5 if kind == "causal" else 40, device=CPU)


@pytest.mark.parametrize("kind", ["causal", "bidirectional"])
def test_the_host_waits_for_codes_and_for_sound_and_for_nothing_else(
    kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On tensors without data, where reading any value is an error."""
    monkeypatch.setattr(torch, "is_autocast_enabled", lambda _: False)
    monkeypatch.setattr(module, "Transfers", Elsewhere)
    config = a_codec(kind).network.config
    with torch.device("meta"):
        codec = Codec(Checkpoint(build(config).to("meta"), "none"))
    device = Device(codec, SLOTS, 0)
    slots = slots_of(device, codec)
    assert isinstance(device._encoder_rows, FirstRows)
    transfers = device._encoder_rows._transfers
    assert isinstance(transfers, Elsewhere)
    for work in works(device, slots, codec):
        before = transfers.waits
        device.step(work, slots.lead[work.slots] if work.fresh.any() else None)
        assert transfers.waits - before == int(work.encoded.any()) + int(work.decoded.any())


@pytest.mark.parametrize("kind", ["causal", "bidirectional"])
def test_a_step_reads_and_writes_the_same_memory_every_time(kind: str) -> None:
    codec = a_codec(kind)
    device = Device(codec, SLOTS, 0)
    slots = slots_of(device, codec)
    held = [torch.from_numpy(given) for given in (device.pcm, device.codes)]
    for half in (device.encoder, device.decoder):
        held += half.stream.all.tensors()
    for rows in (device._encoder_rows, device._decoder_rows):
        held += [rows._made] if isinstance(rows, FirstRows) else [x for x, *_ in rows._inputs]
    places = [tensor.data_ptr() for tensor in held]
    for work in works(device, slots, codec):
        device.step(work, slots.lead[work.slots] if work.fresh.any() else None)
    assert [tensor.data_ptr() for tensor in held] == places


class Calls(TorchFunctionMode):
    """Lists what Python calls in torch, by name; not what a trace or a script calls."""

    def __init__(self) -> None:
        super().__init__()
        self.names: set[str] = set()

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.names.add(func.__name__)
        return func(*args, **(kwargs or {}))


def test_a_step_on_a_cpu_calls_torch_for_nothing_but_its_traces() -> None:
    """In each other call a thread gives the interpreter's lock away, and waits to get it back."""
    codec = a_codec("causal")
    device = Device(codec, SLOTS, 0)
    device.warm_up()
    slots = slots_of(device, codec)
    taken, begun = 0, False
    for work in works(device, slots, codec):
        with Calls() as calls:
            device.step(work, None)
        if begun and not (work.fresh.any() or work.starts.any() or work.moves):
            taken += 1
            assert calls.names <= {"numpy", "__get__"}  # these do not give the lock away
        begun = True
    assert taken > FRAMES / 2
    # torch takes the lock for each tensor that nothing but Python holds, at its latest use.
    for rows in (device._encoder_rows, device._decoder_rows):
        assert isinstance(rows, ChosenRows)
        assert all(x._use_count() > 1 for inputs in rows._inputs for x in inputs)


def test_a_torch_without_scripts_takes_the_same_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    def steps() -> list[np.ndarray[Any, np.dtype[Any]]]:
        codec = a_codec("causal")
        device = Device(codec, SLOTS, 0)
        device.warm_up()
        slots = slots_of(device, codec)
        return [device.step(work, None).codes for work in works(device, slots, codec)]

    def missing(*_: object, **__: object) -> None:
        raise RuntimeError("no scripts")

    expected = steps()
    monkeypatch.setattr(torch_internals, "supported", lambda: False)
    monkeypatch.setattr(torch.jit, "script", missing)
    for codes, same in zip(steps(), expected, strict=True):
        np.testing.assert_array_equal(codes, same)
