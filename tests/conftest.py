from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import HealthCheck, settings

from xyt_stream.audio import Pcm16, read_audio, to_float32, to_int16
from xyt_stream.client import Connection
from xyt_stream.protocol.machine import Codes, Pcm
from xyt_stream.protocol.messages import End, Notice

# On a busy machine torch's threads mostly wait for each other. This must be set before torch is
# loaded, here and in the processes that tests start.
os.environ.setdefault("OMP_NUM_THREADS", "1")

# The same examples in every run, without a time limit: the gate must not depend on chance.
settings.register_profile(
    "gate", derandomize=True, deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("gate")

if TYPE_CHECKING:
    import torch

    from xyt_stream import Codec
    from xyt_stream.server.app import Running


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--device",
        default="cpu",
        help="where the tests marked `device` compute: pytest --device cuda -m device",
    )


@pytest.fixture(scope="session")
def device(request: pytest.FixtureRequest) -> torch.device:
    """The device that `--device` names."""
    import torch

    device = torch.device(request.config.getoption("--device"))
    if device.type == "cuda":  # float32 is to be float32 where a GPU is compared with itself
        torch.backends.cudnn.allow_tf32 = False
    return device


@pytest.fixture(scope="session")
def same_codes(device: torch.device) -> Callable[[torch.Tensor, torch.Tensor], bool]:
    """Whether codes are equal.

    A GPU sums matrices of different shapes in different orders. Where two codes are equally near
    the order decides, and the codebooks after it follow: there nearly all codes must be equal.
    """

    def same_codes(codes: torch.Tensor, expected: torch.Tensor) -> bool:
        assert codes.shape == expected.shape
        share = (codes.cpu() == expected.cpu()).double().mean()
        return bool(share >= (1 if device.type == "cpu" else 0.98))

    return same_codes


@pytest.fixture(autouse=True)
def same_numbers() -> None:
    """Seeds torch, so that random numbers do not depend on the tests before."""
    if "torch" in sys.modules:
        import torch

        torch.manual_seed(0)


@pytest.fixture(scope="session")
def fixtures() -> Path:
    """The folder of short recordings; its README.md names their sources."""
    return Path(__file__).parent / "fixtures"


@pytest.fixture(scope="session")
def codec(device: torch.device) -> Codec:
    """The default model on `device`; each test makes streams of its own from it."""
    from xyt_stream import Codec

    return Codec.load(device=str(device))


@pytest.fixture(scope="session")
def other_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint with the default's shape and random weights."""
    import torch

    from xyt_stream.model import checkpoint
    from xyt_stream.model.config import mini
    from xyt_stream.model.tokenizer import Tokenizer

    path = tmp_path_factory.mktemp("model") / "other.safetensors"
    with torch.random.fork_rng():
        torch.manual_seed(7)
        checkpoint.save(Tokenizer(mini()), path)
    return path


@pytest.fixture(scope="session")
def tiny_causal(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A causal checkpoint with random weights, 24 kHz out: as few layers as there can be."""
    import torch

    from xyt_stream.model import checkpoint
    from xyt_stream.model.config import ModelConfig, QuantizerConfig, StackConfig, VocoderConfig
    from xyt_stream.model.tokenizer import Tokenizer

    stack = StackConfig(width=32, layers=1, heads=2, ffn=48)
    config = ModelConfig(
        name="tiny",
        causal=True,
        context=5,
        output_rate=24_000,
        semantic_encoder=stack,
        semantic_adapter=stack,
        acoustic_encoder=stack,
        pre_rvq_adapter=stack,
        quantizer=QuantizerConfig(dim=16, codebooks=3, codebook_size=64, beam=4),
        post_rvq_adapter=stack,
        acoustic_decoder=stack,
        vocoder=VocoderConfig(width=24, ffn=32, blocks=1, n_fft=960, hop=240),
    )
    path = tmp_path_factory.mktemp("tiny") / "small.safetensors"
    with torch.random.fork_rng():
        torch.manual_seed(3)
        network = Tokenizer(config).requires_grad_(False)
    network.quantizer.codebooks.mul_(0.3)
    checkpoint.save(network, path)
    return path


@pytest.fixture(scope="session")
def exported(tiny_causal: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder that `xyt-stream export` makes of it. Tests copy it before they change it."""
    pytest.importorskip("onnxscript", reason="needs the extra export")
    from xyt_stream.export import export
    from xyt_stream.model import hub

    folder = tmp_path_factory.mktemp("exported") / "small"
    export(hub.find(tiny_causal), folder)
    return folder


@pytest.fixture(scope="session")
def published_weights(fixtures: Path) -> Path:
    """A small checkpoint in the published format, 24 kHz out, its config beside it."""
    return fixtures / "published" / "xy24k" / "weights.ckpt"


@pytest.fixture(scope="session")
def published(published_weights: Path) -> Codec:
    """A bidirectional model."""
    from xyt_stream import Codec

    return Codec.load(published_weights)


@pytest.fixture(scope="session")
def clip(fixtures: Path) -> Pcm16:
    """Two seconds of speech at 16 kHz, int16; the last frame is partial."""
    return to_int16(read_audio(fixtures / "speech.flac")[0])


class Through:
    """The codes and the sound that the codec makes of a clip, without a server."""

    def __init__(self, codec: Codec, pcm: Pcm16) -> None:
        encoder, decoder = codec.stream_encoder(), codec.stream_decoder()
        first = encoder.push(to_float32(pcm))
        self.codes = np.concatenate([first, encoder.flush()], axis=1)
        sound = np.concatenate([decoder.push(self.codes), decoder.flush()])
        self.sound = to_int16(sound[: len(pcm)])


@pytest.fixture(scope="session")
def direct(codec: Codec, clip: Pcm16) -> Through:
    return Through(codec, clip)


@pytest.fixture
async def server(codec: Codec, request: pytest.FixtureRequest) -> AsyncIterator[Running]:
    """A real server on a free port, with four slots; its parameter is other limits."""
    from xyt_stream.server.admission.limits import Limits
    from xyt_stream.server.app import running

    # load=0: a busy machine may be too slow for four, which these tests are not about.
    limits = getattr(request, "param", Limits(load=0))
    async with running(codec, max_sessions=4, limits=limits) as server:
        yield server


def code_frames(events: list[object]) -> list[int]:
    """Returns the numbers of all frames of codes; frames that wait together are one message."""
    return [
        event.frame + later
        for event in events
        if isinstance(event, Codes)
        for later in range(event.codes.shape[1])
    ]


class Heard:
    """Everything that a session was sent, up to its end."""

    def __init__(self, events: list[object]) -> None:
        pcm = [event for event in events if isinstance(event, Pcm)]
        codes = [event for event in events if isinstance(event, Codes)]
        self.sound = np.concatenate([np.zeros(0, np.int16), *(event.samples for event in pcm)])
        self.codes = np.concatenate(
            [np.zeros((8, 0), np.int64), *(event.codes for event in codes)], axis=1
        )
        self.sound_frames = [event.frame for event in pcm]
        self.notices = [event.name for event in events if isinstance(event, Notice)]
        self.code_frames = code_frames(events)
        assert isinstance(events[-1], End)
        self.end = events[-1]


async def _hear(connection: Connection, timeout: float = 400.0) -> Heard:
    async def all_events() -> list[object]:
        return [event async for event in connection]

    return Heard(await asyncio.wait_for(all_events(), timeout))


@pytest.fixture
def hear() -> Callable[..., Awaitable[Heard]]:
    """Receives everything up to the end, which must come in time."""
    return _hear


@pytest.fixture
def until() -> Callable[[Callable[[], bool]], Awaitable[None]]:
    """Waits for a condition; the test fails if it is not met."""

    async def until(condition: Callable[[], bool]) -> None:
        async def poll() -> None:
            while not condition():  # noqa: ASYNC110 - a condition has no event to wait for
                await asyncio.sleep(0.005)

        await asyncio.wait_for(poll(), 400)

    return until
