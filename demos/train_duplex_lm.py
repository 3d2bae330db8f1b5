"""Trains the model of duplex_lm.py on the codes of speech, under an hour on a CPU.

    python demos/train_duplex_lm.py FOLDER_OF_SPEECH

Codes are made once for each codec. The work folder keeps them and the state of the training, which
resumes when it is started again. Each clip is used at three speeds, which gives more voices.
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from duplex_lm import WEIGHTS, WINDOW, CodeModel, codes_hash, delayed
from rich.progress import track
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.func import functional_call

from xyt_stream import Codec
from xyt_stream.audio import FRAME_SAMPLES, INPUT_RATE, Samples, resample, to_float32
from xyt_stream.errors import XYTError
from xyt_stream.train.corpus import find_clips, load_clip

SPEEDS = (1.0, 0.9, 1.1)
QUIET = -20.0  # dB below the clip, on average, of the first codebook's codes for silence
SHORTEST = 12  # frames of a clip
HELD_OUT = 40  # every so many-th clip is for validation
CROP = WINDOW  # frames
BATCH = 4096  # frames
NEAR = 200  # clips, by length, that a batch is drawn from
RATE = 2e-3
WARM_UP = 100  # steps
SAVED_EVERY = 100
NO_LABEL = -100


def clips_as_codes(folder: Path, codec: Codec, work: Path) -> tuple[list[Tensor], Tensor]:
    """Codes each clip at each speed, [codebooks, frames], and finds the quiet first codes; once."""
    path = work / f"codes-{codes_hash(codec)[:16]}.safetensors"
    if not path.is_file():
        made, levels, counts = {}, *np.zeros((2, codec.codebook_size))
        for number, clip in enumerate(track(find_clips(folder), "coding", transient=True)):
            sound = to_float32(load_clip(clip))
            for speed in SPEEDS:
                heard = resample(sound, round(INPUT_RATE * speed), INPUT_RATE)
                codes = codec.encode(heard)
                made[f"{number:06}-{speed}"] = codes.short()
                frames = heard[: codes.shape[1] * FRAME_SAMPLES].reshape(-1, FRAME_SAMPLES)
                np.add.at(levels, codes[0].numpy(), level(frames) - level(heard))
                np.add.at(counts, codes[0].numpy(), 1)
        quiet = levels < QUIET * np.maximum(counts, 1)
        save_file({**made, "quiet": torch.from_numpy(quiet)}, path)
    codes = load_file(path)
    quiet = codes.pop("quiet")
    return [codes[name] for name in sorted(codes)], quiet


def level(sound: Samples) -> Samples:
    """dB of the last axis."""
    return 10 * np.log10(np.square(sound).mean(-1) + 1e-9)


class Batches:
    """Random crops of clips about equally long; batch number i is always the same one."""

    def __init__(self, clips: list[Tensor], nothing: int) -> None:
        long_enough = [clip for clip in clips if clip.shape[1] >= SHORTEST]
        if not long_enough:
            raise SystemExit(f"no clip is longer than {SHORTEST} frames")
        self.clips = sorted(long_enough, key=lambda clip: clip.shape[1])
        self.nothing = nothing
        lengths = np.array([min(clip.shape[1], CROP) for clip in self.clips])
        self.weights = lengths / lengths.sum()

    def __getitem__(self, step: int) -> tuple[Tensor, Tensor]:
        """Inputs and labels [batch, codebooks, steps]; positions outside a clip have no label."""
        rng = np.random.default_rng(step)
        middle = rng.choice(len(self.clips), p=self.weights)
        around = np.arange(max(0, middle - NEAR), min(len(self.clips), middle + NEAR + 1))
        size = max(1, BATCH // min(CROP, self.clips[around[-1]].shape[1]))
        rows = []
        for index in rng.choice(around, size):
            clip = self.clips[index].long()
            start = rng.integers(max(1, clip.shape[1] - CROP + 1))
            crop = clip[None, :, start : start + CROP]
            # Up to the last step in which all codebooks are still in the crop.
            rows.append(delayed(crop, self.nothing)[0, :, : crop.shape[2]])
        steps = max(row.shape[1] for row in rows)
        padded = torch.stack(
            [F.pad(row, (1, steps - row.shape[1]), value=self.nothing) for row in rows]
        )
        labels = padded[:, :, 1:]
        return padded[:, :, :-1], labels.masked_fill(labels == self.nothing, NO_LABEL)


class Learner(nn.Module):
    """The model in training: it computes each code's embedding from the codec's vector.

    So codes of like sound have like embeddings, and fewer clips are memorised.
    """

    vectors: Tensor

    def __init__(self, vectors: Tensor) -> None:
        super().__init__()
        codebooks, size, dim = vectors.shape
        self.model = CodeModel(codebooks, size)
        width = self.model.embed.shape[-1]
        self.model.embed.requires_grad_(False)
        even = vectors - vectors.mean(1, keepdim=True)
        even = even / even.square().mean((1, 2), keepdim=True).sqrt()
        self.register_buffer("vectors", even, persistent=False)
        self.project = nn.Parameter(torch.randn(codebooks, dim, width) * 0.03 * dim**-0.5)
        self.nothing = nn.Parameter(torch.zeros(codebooks, 1, width))

    def forward(self, batch: tuple[Tensor, Tensor]) -> Tensor:
        """Mean loss over all codes, in nats."""
        inputs, labels = batch
        logits = functional_call(self.model, {"embed": self.embed()}, inputs)
        return F.cross_entropy(logits.flatten(0, 2), labels.flatten(), ignore_index=NO_LABEL)

    def embed(self) -> Tensor:
        """[codebooks, size + 1, width]."""
        return torch.cat([self.vectors @ self.project, self.nothing], dim=1)

    @torch.no_grad()
    def save(self, out: Path, codes: str) -> None:
        self.model.embed.copy_(self.embed())
        self.model.save(out, codes)


def learning_rate(step: int, steps: int) -> float:
    """Up in a line, down in a cosine."""
    if step < WARM_UP:
        return RATE * (step + 1) / WARM_UP
    done = (step - WARM_UP) / max(1, steps - WARM_UP)
    return RATE * (0.02 + 0.98 * 0.5 * (1 + np.cos(np.pi * done)))


def train(folder: Path, out: Path, work: Path, steps: int, model_name: str | None = None) -> float:
    """Trains, and writes to `out` the weights that were best on the held-out clips.

    Returns:
        Bits a code of that.
    """
    work.mkdir(parents=True, exist_ok=True)
    codec = Codec.load(model_name)
    clips, quiet = clips_as_codes(folder, codec, work)
    each = len(SPEEDS)
    held = [clip for n, clip in enumerate(clips) if n // each % HELD_OUT == HELD_OUT - 1]
    kept = [clip for n, clip in enumerate(clips) if n // each % HELD_OUT != HELD_OUT - 1]
    torch.manual_seed(0)
    learner = Learner(codec.network.quantizer.codebooks.float())
    learner.model.quiet.copy_(quiet)
    parameters = [each for each in learner.parameters() if each.requires_grad]
    print(
        f"{sum(p.numel() for p in parameters) / 1e6:.2f} M parameters, {len(kept)} clips",
        flush=True,
    )
    optimizer = torch.optim.AdamW(parameters, RATE, betas=(0.9, 0.98), weight_decay=0.05)
    saved, first, best = work / f"training-{codes_hash(codec)[:16]}.pt", 0, float("inf")
    if saved.is_file():
        state = torch.load(saved, weights_only=True)
        learner.load_state_dict(state["learner"])
        optimizer.load_state_dict(state["optimizer"])
        first, best = state["step"], state["best"]
    batches = Batches(kept, learner.model.nothing)
    checks = Batches(held or kept, learner.model.nothing)
    started = time.monotonic()
    for step in range(first, steps):
        torch.manual_seed(step)  # dropout, too, is the same after a stop
        for group in optimizer.param_groups:
            group["lr"] = learning_rate(step, steps)
        with torch.autocast("cpu", torch.bfloat16):
            loss = learner(batches[step])
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(parameters, 1.0)
        optimizer.step()
        if (step + 1) % SAVED_EVERY == 0 or step + 1 == steps:
            check = validate(learner, checks)
            pace = (time.monotonic() - started) / (step + 1 - first)
            bits, step_time = loss.item() / np.log(2), f"{pace:.2f} s a step"
            print(
                f"step {step + 1}: {bits:.3f} bits a code, held out {check:.3f}, {step_time}",
                flush=True,
            )
            if check < best:
                best = check
                learner.save(out, codes_hash(codec))
            state = {"learner": learner.state_dict(), "optimizer": optimizer.state_dict()}
            torch.save({**state, "step": step + 1, "best": best}, saved.with_suffix(".new"))
            saved.with_suffix(".new").replace(saved)  # a stop in between costs nothing
    return best


@torch.inference_mode()
def validate(learner: Learner, batches: Batches) -> float:
    """Bits a code."""
    learner.eval()
    losses = [learner(batches[number]).item() for number in range(4)]
    learner.train()
    return float(np.mean(losses) / np.log(2))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Trains a small language model over codes.")
    parser.add_argument("folder", type=Path, help="of speech, any sound files")
    parser.add_argument("--out", type=Path, default=WEIGHTS)
    parser.add_argument("--work", type=Path, default=Path("runs/duplex_lm"))
    parser.add_argument("--steps", type=int, default=500)
    parser.add_argument("--model", help="the codec: a name or a file; else the default one")
    options = parser.parse_args()
    try:
        train(options.folder, options.out, options.work, options.steps, options.model)
    except XYTError as error:
        sys.exit(f"Error: {error}")
