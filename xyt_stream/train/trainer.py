"""One training step, and all that must be kept to go on after a stop."""

from __future__ import annotations

import copy
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from pickle import UnpicklingError
from typing import Any, TypeVar

import torch
from torch import Tensor
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn
from torch.utils.data import DataLoader, Dataset

from xyt_stream.audio import FRAME_SAMPLES
from xyt_stream.errors import ModelError
from xyt_stream.model.config import ModelConfig
from xyt_stream.model.precision import precision
from xyt_stream.model.quantizer import Quantized
from xyt_stream.model.timeline import Clip
from xyt_stream.model.tokenizer import Tokenizer
from xyt_stream.train.adversary import Adversary
from xyt_stream.train.codebooks import CodebookLearner
from xyt_stream.train.data import Crops
from xyt_stream.train.losses import MelLoss
from xyt_stream.train.optimizer import Optimizer
from xyt_stream.train.text import Reader, Transcript, Transcripts, collate

COMMITMENT = 0.25
MAX_GRADIENT = 5.0  # norm
EMA_DECAY = 0.998
KMEANS_VECTORS = 12  # for each code of a book
MAX_WORKERS = 8

T = TypeVar("T")


@dataclass(frozen=True)
class Recipe:
    """How a network is trained.

    Args:
        steps: how long the learning-rate schedule is.
        quantizer_start: steps before the quantizer joins; until then latents pass unquantized, so
            that k-means finds something worth dividing.
        fewer_books: share of crops decoded from a random number of first codebooks.
        adversary_start: steps before the judges join.
        adversary: weight of their loss.
        judged: samples of each crop that they are shown.
        codes_final: steps before encoder and codebooks stand still, as averaged until then, and
            only the decoder learns on, beside the judges (the paper's post-training). Codes made
            from then on keep their meaning. What ships lies halfway between the decoder of then
            and the one of now.
        text: weight of the text loss, where there is text.
        seed: of weights, crops and everything else drawn.
    """

    steps: int = 6500
    quantizer_start: int = 400
    fewer_books: float = 0.25
    adversary_start: int = 3000
    adversary: float = 0.1
    judged: int = 8_000
    codes_final: int = 4300
    text: float = 0.05
    seed: int = 0


class Trainer:
    """A network in training.

    Args:
        config: of a causal network.
        crops: what it hears.
        transcripts: clips with text, for the text loss; None without it.
    """

    def __init__(
        self,
        config: ModelConfig,
        recipe: Recipe,
        crops: Crops,
        transcripts: Transcripts | None,
        device: torch.device,
    ) -> None:
        torch.manual_seed(recipe.seed)
        self.recipe, self.device = recipe, device
        self.crops, self.transcripts = crops, transcripts
        self.network = Tokenizer(config).to(device)
        average = get_ema_multi_avg_fn(EMA_DECAY)  # type: ignore[no-untyped-call]
        self.averaged = AveragedModel(self.network, multi_avg_fn=average)
        trained = torch.nn.ModuleList([self.network])
        self.reader: Reader | None = None
        if transcripts is not None:
            self.reader = Reader(config.quantizer.dim, len(transcripts.alphabet)).to(device)
            trained.append(self.reader)
        self.trained = trained
        self.optimizer = Optimizer(trained, recipe.steps)
        self.books = CodebookLearner(self.network.quantizer, recipe.seed)
        self.adversary = Adversary(recipe.judged, recipe.seed, device)
        self.loss = MelLoss(config.output_rate).to(device)
        self.generator = torch.Generator().manual_seed(recipe.seed)
        self.step_number = 0
        self.earlier: dict[str, Tensor] = {}  # the decoder as it was when codes became final
        self._crops: Iterator[Tensor] | None = None
        self._texts: Iterator[tuple[Tensor, list[Transcript]]] | None = None

    def clip(self, wav: Tensor) -> Clip:
        """The timeline of a batch."""
        config = self.network.config
        frames = wav.shape[1] // FRAME_SAMPLES
        return Clip(frames, causal=config.causal, context=config.context, device=self.device)

    def latents(self, wav: Tensor) -> Tensor:
        """Samples -> quantizer input, float32 [batch, frames, dim]."""
        clip = self.clip(wav)
        mel = self.network.mel(wav, clip)
        with precision(self.device, torch.bfloat16):
            hidden = self.network.encoder(mel, clip)
        out: Tensor = self.network.quantizer.input_proj(hidden.float())
        return out

    def start_codebooks(self) -> None:
        """k-means over the latents of many batches."""
        wanted = KMEANS_VECTORS * self.network.config.quantizer.codebook_size
        batches = -(-wanted // (self.crops.size * self.crops.frames))
        with torch.no_grad():
            found = [
                self.latents(self.crops[self.recipe.steps + i].to(self.device))
                for i in range(batches)
            ]
        self.books.start(torch.cat(found).flatten(0, 1))

    def batches(self, data: Dataset[T]) -> Iterator[T]:
        """The items of the steps to come; beside a GPU, workers prepare them."""
        steps = range(self.step_number, self.recipe.steps)
        workers = min(MAX_WORKERS, os.cpu_count() or 1) if self.device.type == "cuda" else 0
        return iter(DataLoader(data, batch_size=None, sampler=steps, num_workers=workers))

    def step(self) -> dict[str, float]:
        """One step; its losses."""
        if self.step_number == self.recipe.quantizer_start:
            self.start_codebooks()
        final = self.step_number >= self.recipe.codes_final
        if final:
            self.freeze()
        if self._crops is None:
            self._crops = self.batches(self.crops)
        wav = next(self._crops).to(self.device)
        latent = self.latents(wav)
        coded = latent
        parts: dict[str, Tensor] = {}
        found = None
        if self.books.started:
            found = self.quantize(latent)
            if not final:
                parts["commitment"] = COMMITMENT * (latent - found.total).square().mean()
            coded = latent + (self.partial(latent, found) - latent).detach()
        hidden = self.network.quantizer.output_proj(coded)
        with precision(self.device, torch.bfloat16):
            decoded = self.network.decoder(hidden, self.clip(wav)).float()
        parts["mel"] = self.loss(decoded, wav)
        losses = {}
        if self.step_number >= self.recipe.adversary_start:
            ours, theirs = self.adversary.piece(decoded, wav)
            losses["judges"] = self.adversary.learn(ours, theirs)
            parts["adversary"] = self.recipe.adversary * self.adversary.loss(ours, theirs)
        if self.transcripts is not None and self.books.started and not final:
            parts["text"] = self.recipe.text * self.text_loss(self.transcripts)
        torch.stack(list(parts.values())).sum().backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(self.trained.parameters(), MAX_GRADIENT)
        self.optimizer.step(self.step_number)
        if found is not None and not final:
            self.books.update(found)
        self.averaged.update_parameters(self.network)
        self.step_number += 1
        return {**{name: part.item() for name, part in parts.items()}, **losses}

    def freeze(self) -> None:
        """From the first step of post-training on: codes are made as `shipped` makes them."""
        if self.step_number == self.recipe.codes_final:
            self.network.load_state_dict(self.shipped().state_dict())
            weights = self.network.decoder.named_parameters()
            self.earlier = {name: weight.detach().clone() for name, weight in weights}
        self.network.encoder.requires_grad_(False)
        self.network.quantizer.requires_grad_(False)

    def quantize(self, latent: Tensor) -> Quantized:
        """As the quantizer does, without gradients."""
        with torch.no_grad():
            return self.network.quantizer.quantize(latent)

    def partial(self, latent: Tensor, found: Quantized) -> Tensor:
        """What the decoder is given: all books, or for some crops the first few only.

        Those crops teach it to speak from fewer, and the first books to say the most.
        """
        books = len(found.codes)
        fewer = torch.rand(len(latent), generator=self.generator) < self.recipe.fewer_books
        count = torch.randint(1, books + 1, (len(latent),), generator=self.generator)
        count = torch.where(fewer, count, books)
        # A book was given what those before it left over; the last leaves latent - total.
        left = torch.cat([found.residuals, (latent - found.total)[None]])
        rows = torch.arange(len(latent))
        return latent - left[count.to(latent.device), rows.to(latent.device)]

    def text_loss(self, transcripts: Transcripts) -> Tensor:
        """How illegible the text of some clips is in their quantized latents."""
        assert self.reader is not None
        if self._texts is None:
            self._texts = self.batches(transcripts)
        wav, clips = next(self._texts)
        latent = self.latents(wav.to(self.device))
        total = self.quantize(latent).total
        return self.reader.loss(latent + (total - latent).detach(), clips)

    @torch.no_grad()
    def text_error(self) -> float:
        """Character error rate on the clips with text that are kept out, from their codes."""
        assert self.transcripts is not None
        assert self.reader is not None
        errors = []
        for clip in self.transcripts.kept:
            wav, clips = collate([clip])
            total = self.quantize(self.latents(wav.to(self.device))).total
            errors.append(self.reader.error_rate(total, clips))
        return sum(errors) / len(errors)

    @torch.no_grad()
    def shipped(self) -> Tokenizer:
        """The averaged weights with the codebooks of now.

        The decoder is halfway back to where the judges alone took it from: the middle scores better
        than either end (as in Wortsman et al., 2022, arXiv 2203.05482), and buzzes less than the
        earlier one.
        """
        network = copy.deepcopy(self.averaged.module)
        assert isinstance(network, Tokenizer)
        for name, weight in self.earlier.items():
            network.decoder.get_parameter(name).lerp_(weight, 0.5)
        network.quantizer.codebooks.copy_(self.network.quantizer.codebooks)
        network.quantizer.refresh()
        return network.eval()

    def save(self, path: Path) -> None:
        """Everything needed to go on, replaced at once so that a stop never leaves half a file."""
        state = {
            "step": self.step_number,
            "trained": self.trained.state_dict(),
            "averaged": self.averaged.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "books": self.books.state_dict(),
            "adversary": self.adversary.state_dict(),
            "earlier": self.earlier,
            "generator": self.generator.get_state(),
        }
        torch.save(state, path.with_suffix(".tmp"))
        path.with_suffix(".tmp").replace(path)

    def resume(self, path: Path) -> None:
        """Go on from a file that `save` wrote.

        Raises:
            ModelError: the file is damaged or of another recipe.
        """
        try:
            self._restore(torch.load(path, map_location=self.device, weights_only=True))
        except (UnpicklingError, RuntimeError, KeyError, OSError) as error:
            reason = str(error).splitlines()[0]
            raise ModelError(f"training cannot go on from {path}: {reason}") from error

    def _restore(self, state: dict[str, Any]) -> None:
        self.trained.load_state_dict(state["trained"])
        self.network.quantizer.refresh()
        self.averaged.load_state_dict(state["averaged"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.books.load_state_dict(state["books"])
        self.adversary.load_state_dict(state["adversary"])
        self.generator.set_state(state["generator"].cpu())
        self.earlier = state["earlier"]
        self.step_number = state["step"]
        self._crops = self._texts = None
