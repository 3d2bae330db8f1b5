"""The private parts of torch, and the codec without them."""

from __future__ import annotations

import subprocess
import sys
import warnings

import pytest
import torch

from xyt_stream import Codec
from xyt_stream.audio import read_audio
from xyt_stream.model import torch_internals
from xyt_stream.streaming.traces import Traces


@pytest.fixture
def speech(fixtures):
    return torch.from_numpy(read_audio(fixtures / "speech.flac")[0])


def test_codes_are_equal_without_private_parts_of_torch(codec, speech, monkeypatch):
    monkeypatch.setattr(torch_internals, "supported", lambda: False)
    plain = Codec.load()
    assert plain.network.encoder.downsample.up_proj.prepacked is None
    codes = codec.encode(speech)
    assert torch.equal(plain.encode(speech), codes)
    encoder, decoder = plain.stream_encoder(), plain.stream_decoder()
    assert not isinstance(encoder._compiled or decoder._compiled, Traces)
    live = torch.cat([*(encoder.push(part) for part in speech.split(999)), encoder.flush()], 1)
    assert torch.equal(live[:, : codes.shape[1]], codes)
    sound = torch.cat([decoder.push(codes), decoder.flush()])
    assert torch.allclose(sound, codec.decode(codes), atol=1e-4)


@pytest.mark.parametrize(
    ("owner", "name"),
    [(torch.jit, "trace"), (torch.jit, "optimized_execution"), (torch_internals, "_scripted")],
)
def test_a_torch_that_lacks_one_of_them_is_not_supported(owner, name, monkeypatch):
    def gone(*_, **__):
        raise AttributeError(name)

    monkeypatch.setattr(owner, name, gone)
    assert not torch_internals.supported.__wrapped__()


def test_a_product_that_is_wrong_is_not_supported(monkeypatch):
    monkeypatch.setattr(torch_internals, "reorder", lambda weight: weight.flip(0))
    assert not torch_internals.supported.__wrapped__()


def test_float16_weights_are_used_only_where_their_product_is_right(monkeypatch):
    monkeypatch.setattr(torch_internals, "pack_float16", lambda weight: torch.zeros(8))
    assert not torch_internals.float16_supported.__wrapped__()
    monkeypatch.undo()
    monkeypatch.delattr(torch, "fbgemm_pack_gemm_matrix_fp16")
    assert not torch_internals.float16_supported.__wrapped__()


def test_codes_are_those_of_plain_weights_without_float16(codec, speech, monkeypatch):
    monkeypatch.setattr(torch_internals, "float16_supported", lambda: False)
    other = Codec.load()
    packed = other.network.encoder.downsample.up_proj.prepacked
    assert packed is None or packed[0].is_mkldnn
    assert torch.equal(other.encode(speech), codec.encode(speech))


def test_a_trace_reads_sizes_as_numbers_and_takes_any_number_of_rows():
    def step(x):
        return x.reshape(x.shape[0], -1) * x.shape[0]

    traced = torch_internals.trace(step, (torch.ones(3, 2, 2),))
    for rows in (1, 3, 5):
        x = torch.randn(rows, 2, 2)
        assert torch.equal(torch_internals.run_trace(traced, (x,)), step(x))
    assert "aten::Int" not in str(traced.graph)


def test_no_warning_of_others_is_hidden():
    def step(x):
        warnings.warn("of the step", UserWarning, stacklevel=1)
        return x + len(x)  # a size, of which torch warns in a trace

    with pytest.warns(UserWarning, match="of the step") as seen:
        torch_internals.trace(step, (torch.ones(3),))
    assert [str(each.message) for each in seen] == ["of the step"]


def test_a_stream_warns_of_nothing_and_loads_no_compiler():
    code = "from xyt_stream import Codec; import torch; e = Codec.load().stream_encoder()\n"
    code += "e.push(torch.zeros(2560))\nimport sys\nassert 'torch._dynamo' not in sys.modules"
    subprocess.run([sys.executable, "-W", "error", "-c", code], check=True)
