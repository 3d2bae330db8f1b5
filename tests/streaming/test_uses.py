"""A codec inside other programs: training, threads, processes, torch's global settings."""

from __future__ import annotations

import copy
import io
import pickle
import subprocess
import sys
import threading

import pytest
import torch
from torch import nn

from tests.streaming.conftest import tiny_config
from xyt_stream import Codec
from xyt_stream.errors import CodeError, XYTError
from xyt_stream.model import checkpoint
from xyt_stream.model.tokenizer import Tokenizer


class Model(nn.Module):
    """A network of a user's that holds a codec and embeds its codes."""

    def __init__(self, codec: Codec) -> None:
        super().__init__()
        self.codec = codec
        self.embed = nn.Embedding(codec.codebook_size, 3)

    def forward(self, wav: torch.Tensor) -> torch.Tensor:
        return self.embed(self.codec.encode(wav)).sum()


def outputs(codec, wav):
    """Everything that public calls give for `wav`."""
    encoder, decoder = codec.stream_encoder(), codec.stream_decoder()
    codes, live = codec.encode(wav), torch.cat([encoder.push(wav), encoder.flush()], 1)
    return [codes, live, codec.decode(codes), torch.cat([decoder.push(codes), decoder.flush()])]


def equal(ones, others):
    return all(torch.equal(a, b) for a, b in zip(ones, others, strict=True))


@pytest.fixture
def clip(speech):
    return speech[:5000]


def test_results_may_be_changed_and_trained_on(codec, clip):
    encoder, decoder = codec.stream_encoder(2), codec.stream_decoder(2)
    both = torch.ones(2, dtype=torch.bool)
    frame = encoder.step(torch.zeros(2, 1280), both)
    results = [*outputs(codec, clip), frame, decoder.step(frame, both), decoder.tail()]
    for result in results:
        assert not result.is_inference()
        result += 1
        weight = torch.ones((), requires_grad=True)
        (weight * result).sum().backward()
        assert weight.grad == result.sum()


def test_codes_go_into_an_embedding(codec, clip):
    model = Model(codec)
    model(clip).backward()
    assert model.embed.weight.grad.sum() == 3 * codec.encode(clip).numel()


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float64])
@pytest.mark.parametrize("which", ["default", "causal", "bidirectional"])
def test_the_default_dtype_changes_nothing(which, dtype, clip, codec, tmp_path):
    path = None
    if which != "default":
        path = tmp_path / "tiny.safetensors"
        torch.manual_seed(0)
        checkpoint.save(Tokenizer(tiny_config(which == "causal", 20)), path)
        codec = Codec.load(path)
    expected = outputs(codec, clip)
    torch.set_default_dtype(dtype)
    try:
        got = outputs(Codec.load(path), clip)
    finally:
        torch.set_default_dtype(torch.float32)
    assert [each.dtype for each in got] == [each.dtype for each in expected]
    assert equal(got, expected)


@pytest.mark.parametrize("which", ["default", "bidirectional"])
def test_the_default_device_changes_nothing(which, clip, codec, tmp_path):
    path = None
    if which != "default":
        path = tmp_path / "tiny.safetensors"
        checkpoint.save(Tokenizer(tiny_config(False, 20)), path)
        codec = Codec.load(path)
    expected = [*outputs(codec, clip), codec.encode(clip[:9]), codec.stream_decoder().flush()]
    with torch.device("meta"):  # a tensor made there by mistake has no data
        other = Codec.load(path)
        got = [*outputs(other, clip), other.encode(clip[:9]), other.stream_decoder().flush()]
    assert equal(got, expected)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_autocast_around_a_live_stream_changes_nothing(codec, clip, dtype):
    expected = outputs(codec, clip)[1::2]
    codes = codec.encode(clip)
    encoder, decoder = codec.stream_encoder(), codec.stream_decoder()
    with torch.autocast("cpu", dtype):
        live = torch.cat([encoder.push(clip), encoder.flush()], 1)
        sound = torch.cat([decoder.push(codes), decoder.flush()])
    assert equal([live, sound], expected)


def saved(value):
    buffer = io.BytesIO()
    torch.save(value, buffer)
    buffer.seek(0)
    return torch.load(buffer, weights_only=False)


@pytest.mark.parametrize(
    "again", [lambda value: pickle.loads(pickle.dumps(value)), copy.deepcopy, saved, copy.copy]
)
def test_copies_of_a_codec_are_the_same_codec(codec, clip, again):
    expected = outputs(codec, clip)
    for twin in (again(codec), again(Model(codec)).codec):
        assert (twin.hash, repr(twin)) == (codec.hash, repr(codec))
        prepacked = [
            half.encoder.downsample.up_proj.prepacked for half in (codec.network, twin.network)
        ]
        assert (prepacked[0] is None) == (prepacked[1] is None)
        assert equal(outputs(twin, clip), expected)


SPAWNED = """
import torch
from xyt_stream import Codec

class Clips(torch.utils.data.Dataset):
    def __init__(self, codec, wav):
        self.codec, self.wav = codec, wav
    def __len__(self):
        return 2
    def __getitem__(self, index):
        return self.codec.encode(self.wav)

if __name__ == "__main__":
    codec, wav = Codec.load(), torch.randn(3840) / 10
    loader = torch.utils.data.DataLoader(
        Clips(codec, wav), num_workers=1, multiprocessing_context="spawn", batch_size=2
    )
    for codes in loader:
        assert torch.equal(codes, codec.encode(wav).expand(2, -1, -1)), codes
"""


def test_a_spawned_worker_has_a_codec_of_its_own(tmp_path):
    (tmp_path / "program.py").write_text(SPAWNED)
    subprocess.run([sys.executable, tmp_path / "program.py"], check=True)


COMPILED = """
import torch
from torch import nn
from xyt_stream import Codec

class Model(nn.Module):
    def __init__(self, codec):
        super().__init__()
        self.codec, self.embed = codec, nn.Embedding(1024, 3)
        self.encoder = codec.stream_encoder()
    def forward(self, wav):
        codes = self.codec.encode(wav * 0.5)
        live = self.encoder.push(wav * 0.5)
        return self.embed(codes).sum() + self.embed(live).sum() + self.codec.decode(codes).sum()

model, wav = Model(Codec.load()), torch.randn(3840) / 10
expected = model(wav)
model.encoder.reset()
found = torch.compile(model, backend="eager")(wav)
assert torch.equal(found, expected)
found.backward()
"""


def test_a_compiled_module_may_call_a_codec():
    subprocess.run([sys.executable, "-c", COMPILED], check=True)


def test_a_stream_in_use_refuses_another_thread(codec, clip):
    encoder, inside, go = codec.stream_encoder(), threading.Event(), threading.Event()
    step = encoder.step

    def slow(*args):
        inside.set()
        go.wait()
        return step(*args)

    encoder.step = slow
    results = []
    thread = threading.Thread(target=lambda: results.append(encoder.push(clip[:1280])))
    thread.start()
    inside.wait()
    for call in (lambda: encoder.push(clip), encoder.flush):
        with pytest.raises(XYTError, match="a stream belongs to one thread"):
            call()
    go.set()
    thread.join()
    results.append(encoder.push(clip[1280:]))
    assert torch.equal(torch.cat(results, 1), codec.encode(clip))


def test_threads_may_share_a_codec(codec, speech):
    clips = [speech[start : start + 6400] for start in range(0, 16_000, 4000)]
    expected = [outputs(codec, clip) for clip in clips]
    found = [[] for _ in clips]

    def work(number):
        found[number] = outputs(codec, clips[number])

    threads = [threading.Thread(target=work, args=(number,)) for number in range(len(clips))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for ones, others in zip(found, expected, strict=True):
        assert equal(ones, others)


@pytest.mark.parametrize("which", ["codec", "bidirectional"])
def test_a_stream_keeps_its_number_of_codebooks(which, request):
    codec = request.getfixturevalue(which)
    decoder = codec.stream_decoder(lookahead=0 if codec.causal else 2)
    codes = torch.zeros(4, 5, dtype=torch.int64)
    decoder.push(codes)
    for other in (8, 3):
        with pytest.raises(CodeError, match=f"of 4 codebooks, not {other}"):
            decoder.push(codes[:1].expand(other, 5))
    decoder.push(codes)
    decoder.flush()
    decoder.push(codes[:1].expand(8, 5))
