"""Steps of few rows in onnxruntime: the sound and the state of torch's, whatever rows there are."""

from __future__ import annotations

import copy
import dataclasses
import pickle
import shutil
import sys
from pathlib import Path

import pytest
import torch

from xyt_stream import Codec
from xyt_stream.edge import manifest
from xyt_stream.edge.streams import DEFAULT
from xyt_stream.streaming.decoder import StreamDecoder
from xyt_stream.streaming.few_rows import FEW, FewRows, exported_decoder

SLOTS = FEW + 3
FRAMES = 60  # more than a ring holds
CLOSE = 1e-5


def both(codec: Codec, slots: int = SLOTS) -> tuple[StreamDecoder, StreamDecoder]:
    """A decoder with the exported graph, and one without."""
    few, torch_only = codec.stream_decoder(slots), StreamDecoder(codec.network, slots)
    torch_only.compile()
    assert isinstance(few._compiled, FewRows)
    return few, torch_only


def taken(decoder: StreamDecoder, codes: torch.Tensor, chosen: torch.Tensor) -> torch.Tensor:
    return decoder.step(codes, torch.ones(len(chosen), dtype=torch.bool), chosen)


def same_state(few: StreamDecoder, torch_only: StreamDecoder) -> bool:
    pairs = [(few.slot_tensors(slot), torch_only.slot_tensors(slot)) for slot in range(SLOTS)]
    return all(torch.allclose(a[name], b[name], atol=1e-4) for a, b in pairs for name in a)


@pytest.mark.parametrize("seed", range(3))
def test_streams_that_come_and_go_have_the_sound_of_torch(codec: Codec, seed: int) -> None:
    few, torch_only = both(codec)
    random = torch.Generator().manual_seed(seed)
    for step in range(FRAMES):
        rows = int(torch.randint(1, SLOTS + 1, (), generator=random))
        chosen = torch.randperm(SLOTS, generator=random)[:rows]
        if step % 3 == 0:
            chosen = torch.arange(rows)
        codes = torch.randint(1024, (rows, 8), generator=random)
        codes[torch.rand(rows, generator=random) < 0.2, 5:] = -1  # five codebooks beside eight
        begun = few.stream.all.frames[chosen] > 0  # a stream's first samples are none of its sound
        sounds = [taken(decoder, codes, chosen)[begun] for decoder in (few, torch_only)]
        assert torch.allclose(*sounds, atol=CLOSE)
        if step % 10 == 9:
            fresh = torch.rand(SLOTS, generator=random) < 0.2
            for decoder in (few, torch_only):
                decoder.reset(fresh)
                decoder.move(step % SLOTS, (step + 4) % SLOTS)
    assert torch.equal(few.stream.all.frames, torch_only.stream.all.frames)
    assert same_state(few, torch_only)
    assert torch.allclose(few.tail(), torch_only.tail(), atol=CLOSE)


@pytest.mark.parametrize("first", [0, 1])
def test_a_stream_moves_between_onnxruntime_and_torch(codec: Codec, first: int) -> None:
    decoders = both(codec)
    here, there = decoders[first], decoders[1 - first]
    alone = StreamDecoder(codec.network, 1)
    codes = torch.randint(1024, (FRAMES, 1, 8))
    for frame in codes[: FRAMES // 2]:
        taken(here, frame, torch.tensor([5]))
        alone.step(frame, alone.all_slots)
    for name, value in here.slot_tensors(5).items():
        there.slot_tensors(2)[name].copy_(value)
    for frame in codes[FRAMES // 2 :]:
        sound = taken(there, frame, torch.tensor([2]))
        assert torch.allclose(sound, alone.step(frame, alone.all_slots), atol=CLOSE)


def test_another_stream_changes_nothing(codec: Codec) -> None:
    alone, beside = codec.stream_decoder(SLOTS), codec.stream_decoder(SLOTS)
    codes = torch.randint(1024, (FRAMES, SLOTS, 8))
    for step, frame in enumerate(codes):
        mine = taken(alone, frame[:1], torch.tensor([4]))
        others = torch.tensor([4, *range(step % 4), *range(5, 5 + step % 6)])
        heard = taken(beside, frame[: len(others)], others)
        if step:
            assert torch.allclose(mine[0], heard[0], atol=CLOSE)


def test_slots_that_wait_stay_as_they_are(codec: Codec) -> None:
    decoder = codec.stream_decoder(SLOTS)
    taken(decoder, torch.randint(1024, (4, 8)), torch.arange(4, 8))
    before = {name: value.clone() for name, value in decoder.slot_tensors(4).items()}
    for chosen in ([3, 7], [0, 1, 2], [9, 5, 6]):
        taken(decoder, torch.randint(1024, (len(chosen), 8)), torch.tensor(chosen))
    assert all(torch.equal(value, before[name]) for name, value in decoder.slot_tensors(4).items())


def test_a_step_with_a_slot_that_waits_is_torchs(codec: Codec) -> None:
    few, torch_only = both(codec)
    active = torch.tensor([True, False, True])
    codes = torch.randint(1024, (3, 8))
    sounds = [decoder.step(codes, active) for decoder in (few, torch_only)]
    assert torch.equal(sounds[0][active], sounds[1][active])
    assert few.stream.all.frames.tolist() == [1, 0, 1] + (SLOTS - 3) * [0]


def test_steps_take_no_more_memory(codec: Codec) -> None:
    decoder = codec.stream_decoder(SLOTS)
    places = [tensor.data_ptr() for tensor in decoder.stream.all.tensors()]
    for _ in range(3):
        for rows in range(1, SLOTS + 1):
            taken(decoder, torch.zeros(rows, 8, dtype=torch.int64), torch.randperm(SLOTS)[:rows])
    assert places == [tensor.data_ptr() for tensor in decoder.stream.all.tensors()]
    assert len(decoder._compiled._bound) <= 2 * FEW  # type: ignore[union-attr]


def test_a_codec_with_its_decoder_loaded_can_be_copied(codec: Codec) -> None:
    codec.stream_decoder()
    for other in (pickle.loads(pickle.dumps(codec)), copy.deepcopy(codec)):
        assert isinstance(other.stream_decoder()._compiled, FewRows)


def test_only_an_export_of_the_very_model_is_used(codec: Codec, tmp_path: Path) -> None:
    assert exported_decoder(DEFAULT, codec.hash) is not None
    assert exported_decoder(DEFAULT, "0" * 64) is None
    assert exported_decoder(tmp_path, codec.hash) is None
    broken = shutil.copytree(DEFAULT, tmp_path / "broken")
    (broken / "decoder.onnx").write_bytes(b"no graph")
    assert exported_decoder(broken, codec.hash) is None


def test_an_export_with_another_state_is_not_used(codec: Codec) -> None:
    graph = exported_decoder(DEFAULT, codec.hash)
    assert graph is not None
    decoder = StreamDecoder(codec.network, 2)
    names = {module: name for name, module in codec.network.named_modules()}
    state = decoder.stream.all.named(names)
    assert FewRows.fits(graph, state)
    keys = next(name for name in state if name.endswith(".keys"))
    assert not FewRows.fits(graph, {**state, keys: state[keys][:, :, 4:]})
    assert not FewRows.fits(graph, {name: state[name] for name in list(state)[:-1]})


def test_without_onnxruntime_torch_decodes(codec: Codec, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    from xyt_stream.edge import step

    monkeypatch.setattr(step, "_loaded", type(step._loaded)())
    assert exported_decoder(DEFAULT, codec.hash) is None


def test_the_manifest_says_that_keys_and_values_are_rings(codec: Codec) -> None:
    spec = manifest.read(DEFAULT).decoder
    context = codec.network.config.context
    for each in spec.state:
        if each.name.endswith((".keys", ".values")):
            assert each.shape[1] % (context + 1) == 0
    assert dataclasses.astuple(spec.state[0])[0] == manifest.FRAMES
