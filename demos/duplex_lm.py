"""Runs a small language model over the eight code streams, which continues the user's speech.

    xyt-stream serve --duplex demos.duplex_lm:Babbler    # in the folder above this one
    python demos/train_duplex_lm.py FOLDER_OF_SPEECH     # for another codec than the default one

It knows no words: it babbles in the voice that it heard. It shows how a model generates speech at
the end of a turn. Codebook k lags k frames behind (the delay pattern of XY-Tokenizer's LLMs), so
one step of the network chooses each code of a frame with the codes before it known.

So small a network predicts speech, but not the voice of its speaker. Each code is drawn from the
network, or from a continuous cache (Grave et al., 2017, arXiv 1612.04426) of the frames heard. The
deeper the codebook, the likelier the cache: the first codebooks hold most of the sounds, and all of
them hold the voice.
"""

from __future__ import annotations

import collections
import hashlib
import os
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from xyt_stream import Codec
from xyt_stream.errors import ModelError
from xyt_stream.server.duplex.vad import TurnRecorder, VoiceActivity

WEIGHTS = Path(os.environ.get("XYT_DUPLEX_LM", Path(__file__).with_suffix(".safetensors")))
WINDOW = 192  # steps that it sees
REMEMBERED = 160  # frames of the user's that it goes on from
LONGEST = 125  # frames that it babbles: 10 s
PAUSE, AMONG = 4, 16  # so many frames of so many may be silent: that is easily foreseen for ever
TEMPERATURE, LIKELIEST = 0.9, 60
TRUST, FADING = 0.4, 0.5  # share of first codes from the network; factor for each next codebook
PAST = (1.0, 0.7, 0.5)  # what it counts to be like a frame heard, now and so many frames ago
ALIKE, NEAR = 16.0, 12.0  # how much likelier alike frames are, and codes near to them
COPIED = 3  # frames in a row that it may say much as it heard them
SAME = 0.5  # how far first sounds may be for that, as a share of how far they are on average

Codes = npt.NDArray[np.int64]


def delayed(codes: Tensor, nothing: int) -> Tensor:
    """Shifts codebook k by k frames.

    [batch, codebooks, frames] -> [batch, codebooks, frames + codebooks - 1].
    """
    codebooks, frames = codes.shape[1:]
    out = codes.new_full((len(codes), codebooks, frames + codebooks - 1), nothing)
    for codebook in range(codebooks):
        out[:, codebook, codebook : codebook + frames] = codes[:, codebook]
    return out


class Block(nn.Module):
    """Attention and a gated layer; keys and values are kept when it is fed step by step."""

    def __init__(self, width: int, heads: int, dropout: float) -> None:
        super().__init__()
        self.heads, self.dropout = heads, dropout
        self.before = nn.RMSNorm(width)
        self.qkv = nn.Linear(width, 3 * width, bias=False)
        self.out = nn.Linear(width, width, bias=False)
        self.between = nn.RMSNorm(width)
        self.up = nn.Linear(width, 4 * width, bias=False)
        self.down = nn.Linear(2 * width, width, bias=False)

    def forward(self, x: Tensor, turn: Tensor, memory: Memory | None, layer: int) -> Tensor:
        """[batch, steps, width] -> the same; `turn` rotates queries and keys, complex."""
        batch, steps, width = x.shape
        heads = self.qkv(self.before(x)).view(batch, steps, 3, self.heads, -1)
        q, k, v = heads.permute(2, 0, 3, 1, 4)
        q, k = rotated(q, turn), rotated(k, turn)
        mask = None
        if memory is not None:
            k, v, mask = memory.add(layer, k, v)
        seen = F.scaled_dot_product_attention(q, k, v, mask, is_causal=mask is None)
        seen = self.out(seen.transpose(1, 2).reshape(batch, steps, width))
        x = x + F.dropout(seen, self.dropout, self.training)
        gate, value = self.up(self.between(x)).chunk(2, dim=-1)
        return x + F.dropout(self.down(F.silu(gate) * value), self.dropout, self.training)


def rotated(x: Tensor, turn: Tensor) -> Tensor:
    """Rotary positions: [batch, heads, steps, size], and complex [steps, size / 2]."""
    pairs = torch.view_as_complex(x.float().reshape(*x.shape[:-1], -1, 2))
    return torch.view_as_real(pairs * turn).flatten(-2).type_as(x)


class Memory:
    """Keys and values of the latest WINDOW steps of one stream, in rings that never grow."""

    def __init__(self, layers: int, heads: int, size: int) -> None:
        self.keys = torch.zeros(layers, 1, heads, WINDOW, size)
        self.values = torch.zeros_like(self.keys)
        self.steps = 0

    def add(self, layer: int, k: Tensor, v: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Adds new steps; returns the keys and values that they may attend to, and the mask."""
        count = k.shape[2]
        assert count == 1 or self.steps + count <= WINDOW
        at = (self.steps + torch.arange(count)) % WINDOW
        self.keys[layer][:, :, at], self.values[layer][:, :, at] = k, v
        age = (at[:, None] - torch.arange(WINDOW)) % WINDOW  # [count, WINDOW]
        mask = age <= self.steps + torch.arange(count)[:, None]
        return self.keys[layer], self.values[layer], mask


class CodeModel(nn.Module):
    """Predicts each codebook's next code from all that came before, in the delay pattern.

    Args:
        codebooks, size: codebooks, and codes in each.

    Attributes:
        quiet: which codes of the first codebook stand for silence, bool [size].
    """

    quiet: Tensor

    def __init__(
        self,
        codebooks: int,
        size: int,
        *,
        width: int = 160,
        layers: int = 5,
        heads: int = 5,
        dropout: float = 0.15,
    ) -> None:
        super().__init__()
        self.codebooks, self.size, self.heads = codebooks, size, heads
        self.nothing = size  # fills the rows before a codebook begins
        self.register_buffer("quiet", torch.zeros(size, dtype=torch.bool))
        self.dropout = dropout
        self.embed = nn.Parameter(torch.randn(codebooks, size + 1, width) * 0.02)
        self.often = nn.Parameter(torch.zeros(codebooks, 1, size))
        self.blocks = nn.ModuleList(Block(width, heads, dropout) for _ in range(layers))
        self.norm = nn.RMSNorm(width)
        self.mix = nn.Linear(width, codebooks * width, bias=False)
        for block in self.blocks:
            nn.init.normal_(block.out.weight, std=0.02 / layers**0.5)
            nn.init.normal_(block.down.weight, std=0.02 / layers**0.5)

    def forward(self, codes: Tensor, memory: Memory | None = None) -> Tensor:
        """Returns the logits of the next codes.

        Delayed codes [batch, codebooks, steps] -> [batch, codebooks, steps, size].
        """
        codebooks = torch.arange(self.codebooks)[:, None]
        x = self.embed[codebooks, codes].sum(1) * self.codebooks**-0.5
        x = F.dropout(x, self.dropout, self.training)
        steps, size = x.shape[1], x.shape[2] // self.heads
        first = 0 if memory is None else memory.steps
        # Double: a stream may go on for days.
        place = torch.arange(first, first + steps, dtype=torch.float64)
        speed = 1000.0 ** -torch.arange(0, 1, 2 / size, dtype=torch.float64)
        angle = place[:, None] * speed
        turn = torch.polar(torch.ones_like(angle), angle).to(torch.complex64)
        for layer, block in enumerate(self.blocks):
            x = block(x, turn, memory, layer)
        if memory is not None:
            memory.steps += steps
        mixed = self.mix(self.norm(x)).view(*x.shape[:2], self.codebooks, -1)
        # Input and output share the codes' vectors.
        return torch.einsum("bskw,kcw->bksc", mixed, self.embed[:, : self.size]) + self.often

    def memory(self) -> Memory:
        width = self.embed.shape[-1]
        return Memory(len(self.blocks), self.heads, width // self.heads)

    def save(self, path: Path, codes: str) -> None:
        """Saves the weights in half precision, with the `codes_hash` of their codec."""
        shape = {"books": self.codebooks, "size": self.size, "width": self.embed.shape[-1]}
        shape |= {"layers": len(self.blocks), "heads": self.heads}
        about = {"codes": codes} | {name: str(value) for name, value in shape.items()}
        save_file({name: x.half() for name, x in self.state_dict().items()}, path, about)
        path.chmod(0o644)  # it comes as its owner's alone

    @classmethod
    def load(cls, path: Path, codec: Codec) -> CodeModel:
        """Raises ModelError: it is not there, or knows another codec's codes."""
        train = "train one with demos/train_duplex_lm.py"
        if not path.is_file():
            raise ModelError(f"there is no {path}: {train}")
        with safe_open(path, "pt") as file:
            about = dict(file.metadata())
        weights = {name: x.float() for name, x in load_file(path).items()}
        if about.pop("codes") != codes_hash(codec):
            raise ModelError(f"{path} knows the codes of another codec: {train}")
        sizes = {name: int(value) for name, value in about.items()}
        model = cls(sizes.pop("books"), **sizes)
        model.load_state_dict(weights)
        return model.eval()


def codes_hash(codec: Codec) -> str:
    """Returns the hash of the codec's codebooks, hex SHA-256; the decoder does not matter."""
    codebooks = codec.network.quantizer.codebooks.cpu().half()
    return hashlib.sha256(codebooks.numpy().tobytes()).hexdigest()


class Voice:
    """Draws the next codes from the frames that were heard, so that the voice stays the same.

    Near vectors of a codec are near sounds, and each codebook adds its vector to the sum of those
    before it. To choose the code of codebook k, each heard frame is weighed by the distance of its
    sum after k codebooks from the present frame's sum; the frames before both count as well. One
    heard frame is drawn, and then a code close to the difference from that frame.

    Args:
        vectors: the codec's, float32 [codebooks, size, dim].
        heard: int64 [codebooks, frames].
        random: of its choices.

    Attributes:
        rows: how many steps back it looks.
    """

    def __init__(self, vectors: Tensor, heard: Tensor, random: torch.Generator) -> None:
        self._codebooks = len(vectors)
        self._each = torch.arange(self._codebooks)
        self._vectors = F.pad(vectors, (0, 0, 0, 1))  # nothing adds nothing
        self._firsts, self._random = heard[0], random
        self._energy = vectors.square().sum(2)
        # Row n is the sum after n codebooks: that is known of a frame n steps after its first.
        self.rows = self._codebooks + len(PAST) - 1
        reached = torch.arange(self.rows).clamp(max=self._codebooks)
        made = F.pad(vectors[self._each[:, None], heard].cumsum(0), (0, 0, 0, 0, 1, 0))
        self._made = made[reached]  # [rows, frames, dim]
        middle = self._made.mean(1, keepdim=True)
        self._spread = (self._made - middle).square().sum(2).mean(1).clamp(min=1e-6)
        self._now = torch.zeros_like(self._made[:, 0])
        # How many frames were said in a row much like those before each frame.
        self._copied = torch.zeros_like(self._firsts)

    def add(self, row: Tensor) -> None:
        """Adds a step: delayed codes [codebooks]."""
        self._now[: self._codebooks] += self._vectors[self._each, row]
        self._now = self._now.roll(1, 0)
        self._now[0] = 0.0
        off = (self._made[1] - self._vectors[0, row[0]]).square().sum(1)
        copied = torch.where(off <= SAME * self._spread[1], self._copied + 1, 0)
        self._copied = F.pad(copied[:-1], (1, 0))

    @property
    def _stale(self) -> Tensor:
        """Frames that would repeat the heard speech for too long, bool [frames]."""
        return self._copied >= COPIED

    def copies(self) -> Tensor:
        """Returns the first codes of the stale frames."""
        return self._firsts[self._stale]

    def draw(self, never: Tensor) -> Tensor:
        """Draws codes, int64 [codebooks]; `never`, bool [size], excludes first codes."""
        far = (self._now[:, None] - self._made).square().sum(2) / self._spread[:, None]
        unlike = torch.zeros_like(far[: self._codebooks])
        for age, weight in enumerate(PAST):
            unlike[:, age:] += weight * far[age : age + self._codebooks, : far.shape[1] - age]
            unlike[:, :age] += weight * 2  # which is how far any two are on average
        unlike[0, never[self._firsts] | self._stale] += 1e3
        like = torch.multinomial((-ALIKE * unlike).softmax(-1), 1, generator=self._random)[:, 0]
        lacks = self._made[-1, like] - self._now[: self._codebooks]
        near = 2 * torch.einsum("kd,kcd->kc", lacks, self._vectors[:, :-1]) - self._energy
        near[0, never] = -torch.inf
        likely = (NEAR * near / self._energy.mean(1, keepdim=True)).softmax(-1)
        return torch.multinomial(likely, 1, generator=self._random)[:, 0]


class Speaker:
    """Continues the speech in the frames that were heard.

    Args:
        vectors: the codec's, float32 [codebooks, size, dim].
        heard: int64 [codebooks, frames].
        seed: of its choices.
    """

    @torch.inference_mode()
    def __init__(self, model: CodeModel, vectors: Tensor, heard: Codes, seed: int = 0) -> None:
        self._model = model
        self._memory = model.memory()
        self._random = torch.Generator().manual_seed(seed)
        self._trust = TRUST * FADING ** torch.arange(model.codebooks)
        self._silent: collections.deque[bool] = collections.deque(maxlen=AMONG - 1)
        frames = torch.from_numpy(heard)
        self._voice = Voice(vectors, frames, self._random)
        known = delayed(frames[None], model.nothing)
        begins = known.new_full((1, model.codebooks, 1), model.nothing)
        rows = torch.cat([begins, known], dim=2)
        whole = heard.shape[1] + 1  # steps with all codes known; later steps have some of them
        self._partly = collections.deque(rows[0, :, whole:].T)
        self._latest = collections.deque(rows[0, :, :whole].T, maxlen=model.codebooks)
        for row in rows[0, :, 1:whole].T[-self._voice.rows :]:
            self._voice.add(row)
        self._logits = model(rows[:, :, :whole], self._memory)[0, :, -1]
        for _ in range(model.codebooks - 1):
            self._advance()

    @torch.inference_mode()
    def next(self) -> Codes:
        """Returns the next frame, int64 [codebooks]."""
        self._advance()
        rows = list(self._latest)
        frame = torch.stack([rows[k][k] for k in range(self._model.codebooks)])
        return frame.numpy()

    def _advance(self) -> None:
        """Takes one step: a code of each codebook, of which the k-th belongs k frames back."""
        never = torch.zeros_like(self._model.quiet)
        if sum(self._silent) >= PAUSE:
            never |= self._model.quiet
        never[self._voice.copies()] = True
        self._logits[0, never] = -torch.inf
        likeliest, which = (self._logits / TEMPERATURE).topk(LIKELIEST, dim=-1)
        chosen = torch.multinomial(likeliest.softmax(-1), 1, generator=self._random)
        own = torch.rand(self._model.codebooks, generator=self._random) < self._trust
        row = torch.where(own, which.gather(-1, chosen)[:, 0], self._voice.draw(never))
        if self._partly:
            known = self._partly.popleft()
            row = torch.where(known == self._model.nothing, row, known)
        self._latest.append(row)
        self._voice.add(row)
        self._silent.append(bool(self._model.quiet[row[0]]))
        self._logits = self._model(row[None, :, None], self._memory)[0, :, -1]


class Babbler:
    """Listens while the user speaks, then continues that speech until it is interrupted.

    See xyt_stream/server/duplex/models.py for its methods.
    """

    _models: dict[str, CodeModel] = {}  # noqa: RUF012 - of all conversations

    def __init__(self, codec: Codec) -> None:
        if codec.hash not in self._models:
            self._models[codec.hash] = CodeModel.load(WEIGHTS, codec)
        self._model = self._models[codec.hash]
        self._vectors = codec.network.quantizer.codebooks.cpu().float()
        self._decoder = codec.stream_decoder()
        self._vad = VoiceActivity(codec.output_rate)

    def open(self, session: str) -> None:
        self._decoder.reset()
        self._vad.reset()
        self._turns = TurnRecorder()
        self._heard: collections.deque[Codes] = collections.deque(maxlen=REMEMBERED)
        self._speaker: Speaker | None = None
        self._left = 0

    def step(self, codes: Codes) -> Codes | None:
        self._vad.push(np.asarray(self._decoder.push(codes[:, None])))
        turn = self._turns.push(codes, self._vad.speaking)
        if self._turns.speaking:
            self._speaker = None
        if turn is not None:
            self._heard.extend(turn.T)
            self._speaker = Speaker(self._model, self._vectors, np.stack(self._heard, axis=1))
            self._left = LONGEST
        if self._speaker is None or not self._left:
            return None
        self._left -= 1
        return self._speaker.next()

    def clear(self, played: int) -> None:
        self._speaker = None

    def close(self) -> None:
        self._speaker = None


if __name__ == "__main__":
    print(__doc__)
