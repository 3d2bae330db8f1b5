"""Is what a device computes right, before anybody asks how fast it is."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from xyt_stream.audio import FRAME_SAMPLES
from xyt_stream.streaming.codec import Codec
from xyt_stream.streaming.decoder import StreamDecoder
from xyt_stream.streaming.encoder import StreamEncoder
from xyt_stream.streaming.graphs import Capture, Graphs

FRAMES = 40
SAME_SOUND = 1e-3  # of full scale
# Live and offline multiply matrices of different sizes, which a GPU sums in different orders; where
# two codes are as near, the order decides, and the books after it follow.
SAME_CODES = 0.98


@dataclass(frozen=True)
class Check:
    """One property, and how well it holds."""

    name: str
    good: bool
    detail: str


def noise(rows: int, frames: int = FRAMES) -> Tensor:
    """Sound whose loudness comes and goes as speech's does: float32 [rows, samples]."""
    generator = torch.Generator().manual_seed(1)
    loud = torch.rand(rows, frames, generator=generator).repeat_interleave(FRAME_SAMPLES, dim=1)
    return 0.2 * loud * torch.randn(loud.shape, generator=generator)


def streaming_is_offline(codec: Codec) -> Check:
    """The same codes and sound for pieces of any size."""
    (wav,) = noise(1)
    codes = codec.encode(wav)
    encoder, decoder = codec.stream_encoder(), codec.stream_decoder()
    pieces = torch.split(wav, 3001)
    live = torch.cat([*(encoder.push(piece) for piece in pieces), encoder.flush()], dim=1)
    heard = torch.cat(
        [*(decoder.push(part) for part in torch.split(codes, 3, dim=1)), decoder.flush()]
    )
    same = float((live == codes).double().mean())
    off = float((heard - codec.decode(codes)).abs().max())
    good = same >= SAME_CODES and off <= SAME_SOUND
    return Check("streaming is offline", good, f"{same:.2%} of codes, sound within {off:.1e}")


@torch.inference_mode()
def slots_are_independent(codec: Codec, slots: int) -> Check:
    """A stream is the same among silent neighbours and among loud ones that come and go."""
    wav = noise(slots).to(codec.device)
    alone, among = (_one_of(codec, wav, slots, others) for others in (False, True))
    same = torch.equal(alone[0], among[0])
    off = float((alone[1] - among[1]).abs().max())
    detail = f"codes {'identical' if same else 'DIFFER'}, sound within {off:.1e}"
    return Check("slots are independent", same and off <= SAME_SOUND, detail)


def _one_of(codec: Codec, wav: Tensor, slots: int, others: bool) -> tuple[Tensor, Tensor]:
    """Codes and sound of the stream in the middle."""
    encoder = StreamEncoder(codec.network, slots, graphs=False)
    decoder = StreamDecoder(codec.network, slots, graphs=False)
    middle = slots // 2
    coming = torch.Generator().manual_seed(2)
    made, heard = [], []
    for frame in torch.split(wav, FRAME_SAMPLES, dim=1):
        active = torch.rand(slots, generator=coming) < (0.7 if others else 0)
        active[middle] = True
        active = active.to(codec.device)
        rows = frame if others else frame * active[:, None]
        codes = encoder.step(rows, active)
        made.append(codes[middle])
        heard.append(decoder.step(codes, active)[middle])
    return torch.stack(made), torch.cat(heard)


@torch.inference_mode()
def graphs_are_eager(codec: Codec, slots: int, capture: Capture) -> Check:
    """Replayed steps of changing numbers of slots give what steps launched one by one give."""
    wav = noise(slots).to(codec.device)
    eager = _halves(codec, slots)
    captured = _halves(codec, slots)
    books = torch.zeros(slots, codec.num_codebooks, dtype=torch.int64, device=codec.device)
    encode = Graphs(captured[0].run, wav[:, :FRAME_SAMPLES].clone(), capture)
    decode = Graphs(captured[1].run, books, capture)
    same, off = True, 0.0
    for i, frame in enumerate(torch.split(wav, FRAME_SAMPLES, dim=1)):
        rows = 1 << i % slots.bit_length()  # whole buckets: others would be filled up
        active = torch.ones(rows, dtype=torch.bool, device=codec.device)
        active[:: 2 + i % 3] = False
        codes, replayed = eager[0].run(frame[:rows], active), encode(frame[:rows], active)
        same &= torch.equal(codes[active], replayed[active])
        sound, again = eager[1].run(codes, active), decode(codes, active)
        if active.any():
            off = max(off, float((sound - again)[active].abs().max()))
    detail = f"codes {'identical' if same else 'DIFFER'}, sound within {off:.1e}"
    return Check("graphs are eager", same and off <= SAME_SOUND, detail)


def _halves(codec: Codec, slots: int) -> tuple[StreamEncoder, StreamDecoder]:
    return (
        StreamEncoder(codec.network, slots, graphs=False),
        StreamDecoder(codec.network, slots, graphs=False),
    )
