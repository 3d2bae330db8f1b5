"""One training step, and all that must be kept to go on after a stop."""

from __future__ import annotations

from contextlib import AbstractContextManager
from pathlib import Path
from pickle import UnpicklingError

import torch
from torch import Tensor
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from xyt_stream.audio import FRAME_SAMPLES
from xyt_stream.errors import ModelError
from xyt_stream.model.config import ModelConfig
from xyt_stream.model.timeline import Clip
from xyt_stream.model.tokenizer import Tokenizer
from xyt_stream.train.codebooks import CodebookLearner
from xyt_stream.train.data import Crops
from xyt_stream.train.losses import MelLoss
from xyt_stream.train.optimizer import Optimizer

COMMITMENT = 0.25
MAX_GRADIENT = 5.0  # norm
EMA_DECAY = 0.998
KMEANS_VECTORS = 12  # for each code of a book


class Trainer:
    """A network in training.

    Args:
        config: of a causal network.
        crops: what it hears.
        batch: crops a step.
        steps: how long the learning-rate schedule is.
        quantizer_start: steps before the quantizer joins; until then latents pass unquantized, so
            that k-means finds something worth dividing.
    """

    def __init__(
        self,
        config: ModelConfig,
        crops: Crops,
        *,
        batch: int,
        steps: int,
        quantizer_start: int,
        seed: int,
        device: torch.device,
    ) -> None:
        torch.manual_seed(seed)
        self.device = device
        self.crops, self.batch, self.quantizer_start = crops, batch, quantizer_start
        self.network = Tokenizer(config).to(device)
        average = get_ema_multi_avg_fn(EMA_DECAY)  # type: ignore[no-untyped-call]
        self.averaged = AveragedModel(self.network, multi_avg_fn=average)
        self.optimizer = Optimizer(self.network, steps)
        self.books = CodebookLearner(self.network.quantizer, seed)
        self.loss = MelLoss(config.output_rate).to(device)
        self.step_number = 0

    def autocast(self, enabled: bool = True) -> AbstractContextManager[None]:
        """bfloat16 where the hardware is fast at it."""
        return torch.autocast(self.device.type, dtype=torch.bfloat16, enabled=enabled)

    def clip(self) -> Clip:
        """The timeline of one batch of crops."""
        config = self.network.config
        frames = self.crops.samples // FRAME_SAMPLES
        return Clip(frames, causal=config.causal, context=config.context, device=self.device)

    def latents(self, wav: Tensor, clip: Clip) -> Tensor:
        """Samples -> quantizer input, float32 [batch, frames, dim]."""
        mel = self.network.mel(wav, clip)
        with self.autocast():
            hidden = self.network.encoder(mel, clip)
        out: Tensor = self.network.quantizer.input_proj(hidden.float())
        return out

    def start_codebooks(self) -> None:
        """k-means over the latents of many batches."""
        wanted = KMEANS_VECTORS * self.network.config.quantizer.codebook_size
        batches = -(-wanted // (self.batch * self.clip().frames))
        with torch.no_grad():
            found = [
                self.latents(self.crops.batch(self.batch).to(self.device), self.clip())
                for _ in range(batches)
            ]
        self.books.start(torch.cat(found).flatten(0, 1))

    def step(self) -> dict[str, float]:
        """One step; its losses."""
        if self.step_number == self.quantizer_start:
            self.start_codebooks()
        wav, clip = self.crops.batch(self.batch).to(self.device), self.clip()
        latent = self.latents(wav, clip)
        coded, commitment = latent, latent.new_zeros(())
        if self.books.started:
            with torch.no_grad():
                found = self.network.quantizer.quantize(latent)
            commitment = (latent - found.total).square().mean()
            coded = latent + (found.total - latent).detach()
        hidden = self.network.quantizer.output_proj(coded)
        with self.autocast():
            decoded = self.network.decoder(hidden, clip)
        mel = self.loss(decoded.float(), wav)
        (mel + COMMITMENT * commitment).backward()
        torch.nn.utils.clip_grad_norm_(self.network.parameters(), MAX_GRADIENT)
        self.optimizer.step(self.step_number)
        if self.books.started:
            self.books.update(found)
        self.averaged.update_parameters(self.network)
        self.step_number += 1
        return {"mel": mel.item(), "commitment": commitment.item()}

    def shipped(self) -> Tokenizer:
        """The averaged weights with the codebooks of now."""
        network = self.averaged.module
        assert isinstance(network, Tokenizer)
        network.quantizer.books.copy_(self.network.quantizer.books)
        network.quantizer.refresh()
        return network.eval()

    def save(self, path: Path) -> None:
        """Everything needed to go on, replaced at once so that a stop never leaves half a file."""
        state = {
            "step": self.step_number,
            "network": self.network.state_dict(),
            "averaged": self.averaged.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "books": self.books.state_dict(),
            "crops": self.crops.rng.bit_generator.state,
        }
        torch.save(state, path.with_suffix(".tmp"))
        path.with_suffix(".tmp").replace(path)

    def resume(self, path: Path) -> None:
        """Go on from a file that `save` wrote."""
        try:
            state = torch.load(path, map_location=self.device, weights_only=True)
            self.network.load_state_dict(state["network"])
            self.network.quantizer.refresh()
            self.averaged.load_state_dict(state["averaged"])
            self.optimizer.load_state_dict(state["optimizer"])
            self.books.load_state_dict(state["books"])
            self.crops.rng.bit_generator.state = state["crops"]
            self.step_number = state["step"]
        except (UnpicklingError, RuntimeError, KeyError, OSError) as error:
            reason = str(error).splitlines()[0]
            raise ModelError(f"training cannot go on from {path}: {reason}") from error
