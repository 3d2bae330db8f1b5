"""Steps in onnxruntime: the sound and the state of torch's, whatever rows there are."""

from __future__ import annotations

import copy
import dataclasses
import json
import pickle
import shutil
import sys
from pathlib import Path

import pytest
import torch

from xyt_stream import Codec
from xyt_stream.edge import manifest, step
from xyt_stream.edge.streams import DEFAULT
from xyt_stream.streaming.decoder import StreamDecoder
from xyt_stream.streaming.exported_decoder import OnnxStep, exported_decoder

SLOTS = 11
FRAMES = 60  # more than a ring holds
CLOSE = 1e-5


def float32_graph() -> step.Step:
    """The exported decoder whose sound is that of torch."""
    found = manifest.read(DEFAULT)
    return step.load(DEFAULT, found, found.decoder, threads=1)


def in_onnxruntime(codec: Codec, slots: int = SLOTS) -> StreamDecoder:
    decoder = StreamDecoder(codec.network, slots)
    decoder.compile(float32_graph())
    assert isinstance(decoder._compiled, OnnxStep)
    return decoder


def both(codec: Codec, slots: int = SLOTS) -> tuple[StreamDecoder, StreamDecoder]:
    """A decoder with the exported graph, and one without."""
    return in_onnxruntime(codec, slots), codec.stream_decoder(slots)


@pytest.fixture(scope="session")
def int8(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the model in the package, whose manifest says that its decoder is int8."""
    folder = shutil.copytree(DEFAULT, tmp_path_factory.mktemp("int8") / "mini")
    (file,) = folder.glob("*.json")
    found = json.loads(file.read_text())
    found["decoder"]["precision"] = "int8"
    file.write_text(json.dumps(found))
    return folder


def taken(decoder: StreamDecoder, codes: torch.Tensor, chosen: torch.Tensor) -> torch.Tensor:
    return decoder.step(codes, torch.ones(len(chosen), dtype=torch.bool), chosen)


def same_state(exported: StreamDecoder, torch_only: StreamDecoder) -> bool:
    pairs = [(exported.slot_tensors(slot), torch_only.slot_tensors(slot)) for slot in range(SLOTS)]
    return all(torch.allclose(a[name], b[name], atol=1e-4) for a, b in pairs for name in a)


@pytest.mark.parametrize("seed", range(3))
def test_streams_that_come_and_go_have_the_sound_of_torch(codec: Codec, seed: int) -> None:
    exported, torch_only = both(codec)
    random = torch.Generator().manual_seed(seed)
    for number in range(FRAMES):
        rows = int(torch.randint(1, SLOTS + 1, (), generator=random))
        chosen = torch.randperm(SLOTS, generator=random)[:rows]
        if number % 3 == 0:
            chosen = torch.arange(rows)
        codes = torch.randint(1024, (rows, 8), generator=random)
        codes[torch.rand(rows, generator=random) < 0.2, 5:] = -1  # five codebooks beside eight
        begun = exported.stream.all.frames[chosen] > 0  # what comes first is no sound
        sounds = [taken(decoder, codes, chosen)[begun] for decoder in (exported, torch_only)]
        assert torch.allclose(*sounds, atol=CLOSE)
        if number % 10 == 9:
            fresh = torch.rand(SLOTS, generator=random) < 0.2
            for decoder in (exported, torch_only):
                decoder.reset(fresh)
                decoder.move(number % SLOTS, (number + 4) % SLOTS)
    assert torch.equal(exported.stream.all.frames, torch_only.stream.all.frames)
    assert same_state(exported, torch_only)
    assert torch.allclose(exported.tail(), torch_only.tail(), atol=CLOSE)


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
    alone, beside = in_onnxruntime(codec), in_onnxruntime(codec)
    codes = torch.randint(1024, (FRAMES, SLOTS, 8))
    for number, frame in enumerate(codes):
        mine = taken(alone, frame[:1], torch.tensor([4]))
        others = torch.tensor([4, *range(number % 4), *range(5, 5 + number % 6)])
        heard = taken(beside, frame[: len(others)], others)
        if number:
            assert torch.allclose(mine[0], heard[0], atol=CLOSE)


def test_slots_that_wait_stay_as_they_are(codec: Codec) -> None:
    decoder = in_onnxruntime(codec)
    taken(decoder, torch.randint(1024, (4, 8)), torch.arange(4, 8))
    before = {name: value.clone() for name, value in decoder.slot_tensors(4).items()}
    for chosen in ([3, 7], [0, 1, 2], [9, 5, 6]):
        taken(decoder, torch.randint(1024, (len(chosen), 8)), torch.tensor(chosen))
    assert all(torch.equal(value, before[name]) for name, value in decoder.slot_tensors(4).items())


def test_a_step_with_a_slot_that_waits_is_torchs(codec: Codec) -> None:
    exported, torch_only = both(codec)
    active = torch.tensor([True, False, True])
    codes = torch.randint(1024, (3, 8))
    sounds = [decoder.step(codes, active) for decoder in (exported, torch_only)]
    assert torch.equal(sounds[0][active], sounds[1][active])
    assert exported.stream.all.frames.tolist() == [1, 0, 1] + (SLOTS - 3) * [0]


def test_steps_take_no_more_memory(codec: Codec) -> None:
    decoder = in_onnxruntime(codec)
    places = [tensor.data_ptr() for tensor in decoder.stream.all.tensors()]
    for _ in range(3):
        for rows in range(1, SLOTS + 1):
            taken(decoder, torch.zeros(rows, 8, dtype=torch.int64), torch.randperm(SLOTS)[:rows])
    assert places == [tensor.data_ptr() for tensor in decoder.stream.all.tensors()]
    assert len(decoder._compiled._bound) <= 2 * SLOTS  # type: ignore[union-attr]


def test_a_codec_with_its_decoder_loaded_can_be_copied(int8: Path) -> None:
    codec = Codec.load(int8)
    codec.stream_decoder()
    for other in (pickle.loads(pickle.dumps(codec)), copy.deepcopy(codec)):
        assert isinstance(other.stream_decoder()._compiled, OnnxStep)


def test_only_an_export_in_eight_bits_of_the_very_model_is_used(
    codec: Codec, int8: Path, tmp_path: Path
) -> None:
    assert exported_decoder(int8, codec.hash) is not None
    assert exported_decoder(DEFAULT, codec.hash) is None
    assert exported_decoder(int8, "0" * 64) is None
    assert exported_decoder(tmp_path, codec.hash) is None
    broken = shutil.copytree(int8, tmp_path / "broken")
    (broken / "decoder.onnx").write_bytes(b"no graph")
    assert exported_decoder(broken, codec.hash) is None


def test_an_export_with_another_state_is_not_used(codec: Codec) -> None:
    graph = float32_graph()
    decoder = StreamDecoder(codec.network, 2)
    names = {module: name for name, module in codec.network.named_modules()}
    state = decoder.stream.all.named(names)
    assert OnnxStep.fits(graph, state)
    keys = next(name for name in state if name.endswith(".keys"))
    assert not OnnxStep.fits(graph, {**state, keys: state[keys][:, :, 4:]})
    assert not OnnxStep.fits(graph, {name: state[name] for name in list(state)[:-1]})


def test_without_onnxruntime_torch_decodes(
    codec: Codec, int8: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    monkeypatch.setattr(step, "_loaded", type(step._loaded)())
    assert exported_decoder(int8, codec.hash) is None


def test_the_manifest_says_that_keys_and_values_are_rings(codec: Codec) -> None:
    spec = manifest.read(DEFAULT).decoder
    context = codec.network.config.context
    for each in spec.state:
        if each.name.endswith((".keys", ".values")):
            assert each.shape[1] % (context + 1) == 0
    assert dataclasses.astuple(spec.state[0])[0] == manifest.FRAMES
