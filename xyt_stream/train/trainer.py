"""Takes training steps, and keeps the state that a resumed training needs."""

from __future__ import annotations

import copy
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from xyt_stream.audio import FRAME_SAMPLES
from xyt_stream.errors import ModelError
from xyt_stream.model.precision import precision
from xyt_stream.model.quantizer import Quantized
from xyt_stream.model.timeline import ClipTimeline
from xyt_stream.model.tokenizer import Tokenizer
from xyt_stream.train.adversary import Adversary
from xyt_stream.train.codebooks import CodebookLearner
from xyt_stream.train.data import Batch, Crops, Request, load
from xyt_stream.train.losses import MelLoss
from xyt_stream.train.optimizer import Optimizer
from xyt_stream.train.precision import fastest_dtype
from xyt_stream.train.recipe import Recipe
from xyt_stream.train.semantic import SemanticHeads, straight_through
from xyt_stream.train.text import Transcripts

COMMITMENT = 0.25
MAX_GRADIENT = 5.0  # norm
EMA_DECAY = 0.995
KMEANS_VECTORS = 12  # for each code of a codebook
KMEANS_STEP = 1 << 40  # the crops of this step and the following ones are for k-means


@dataclass(frozen=True)
class Data:
    """The training data.

    Args:
        crops: crops of speech, with a teacher's features or without.
        transcripts: clips with text; None: no text loss.
    """

    crops: Crops
    transcripts: Transcripts | None = None


class Trainer:
    """Trains a network in two stages: all of it, then the decoder alone.

    Args:
        network: a causal network; it is trained in place.
        trained_before: whether its codebooks are trained already.
    """

    def __init__(
        self,
        network: Tokenizer,
        recipe: Recipe,
        data: Data,
        device: torch.device,
        *,
        trained_before: bool = False,
    ) -> None:
        torch.manual_seed(recipe.seed)
        self.recipe, self.data, self.device = recipe, data, device
        self.dtype = fastest_dtype(device)
        self.network = network.to(device).train().requires_grad_(True)
        dim = network.config.quantizer.dim
        features = data.crops.features
        heads = SemanticHeads(dim, features, data.transcripts, self.encode, device)
        self.heads = heads.to(device)
        self.trained = nn.ModuleDict({"network": self.network, "heads": self.heads})
        self.averaged = self._average()
        self.optimizer = self._optimizer()
        self.codebooks = CodebookLearner(self.network.quantizer, recipe.seed)
        if trained_before:
            self.codebooks.adopt()
        self.adversary = Adversary(recipe.discriminated, self.dtype, recipe.seed, device)
        self.loss = MelLoss(network.config.output_rate).to(device)
        self.generator = torch.Generator().manual_seed(recipe.seed)
        self.step_number = 0
        self.seconds = 0.0  # of training so far
        self.frames = 0  # trained on so far
        self.frozen = False  # whether codes are final
        self.earlier: dict[str, Tensor] = {}  # the decoder when codes became final
        self._batches: Iterator[Batch] | None = None

    @property
    def progress(self) -> float:
        """The share of the training that is done."""
        return self.recipe.progress(self.step_number, self.seconds)

    def _average(self) -> AveragedModel:
        average = get_ema_multi_avg_fn(EMA_DECAY)  # type: ignore[no-untyped-call]
        return AveragedModel(self.network, multi_avg_fn=average)

    def _optimizer(self) -> Optimizer:
        return Optimizer(self.trained, rate=self.recipe.rate, dtype=self.dtype)

    def clip(self, wav: Tensor) -> ClipTimeline:
        """Returns the timeline of a batch."""
        config = self.network.config
        frames = wav.shape[1] // FRAME_SAMPLES
        return ClipTimeline(
            frames, causal=config.causal, context=config.context, device=self.device
        )

    def latents(self, wav: Tensor) -> Tensor:
        """Encodes samples to the quantizer's input, float32 [batch, frames, dim]."""
        clip = self.clip(wav)
        mel = self.network.mel(wav, clip)
        with precision(self.device, self.dtype):
            hidden = self.network.encoder(mel, clip)
        out: Tensor = self.network.quantizer.input_proj(hidden.float())
        return out

    def quantize(self, latent: Tensor) -> Quantized:
        """Quantizes without gradients."""
        with torch.no_grad():
            return self.network.quantizer.quantize(latent)

    def encode(self, wav: Tensor) -> tuple[Tensor, Quantized]:
        """Returns the latents of samples and their quantization."""
        latent = self.latents(wav)
        return latent, self.quantize(latent)

    def start_codebooks(self) -> None:
        """Initialises the codebooks by k-means over the latents of many batches."""
        crops, frames = self.recipe.crops, self.recipe.crop_frames
        wanted = KMEANS_VECTORS * self.network.config.quantizer.codebook_size
        steps = range(KMEANS_STEP, KMEANS_STEP - (-wanted // (crops * frames)))
        with torch.no_grad():
            found = [
                self.latents(self.data.crops[Request(step, crops, frames)].wav.to(self.device))
                for step in steps
            ]
        self.codebooks.start(torch.cat(found).flatten(0, 1))

    def requests(self) -> Iterator[Request]:
        """Yields the requests of the coming steps."""
        recipe, step = self.recipe, self.step_number
        while True:
            longer = 2 if self.progress >= recipe.longer_start else 1
            yield Request(step, max(1, recipe.crops // longer), recipe.crop_frames * longer)
            step += 1

    def step(self) -> dict[str, float]:
        """Trains one step; returns its losses."""
        started = time.perf_counter()
        progress = self.progress
        if not self.frozen and progress >= self.recipe.codes_final:
            self.freeze()
        if not self.codebooks.started and self.step_number >= self.recipe.quantizer_start:
            self.start_codebooks()
        if self._batches is None:
            self._batches = load(self.data.crops, self.requests(), self.device)
        batch = next(self._batches)
        wav = batch.wav.to(self.device, non_blocking=True)
        parts: dict[str, Tensor] = {}
        with torch.set_grad_enabled(not self.frozen):
            coded = latent = self.latents(wav)
            found = self.quantize(latent) if self.codebooks.started else None
            if found is not None:
                coded = straight_through(latent, self.partial(latent, found))
                if not self.frozen:
                    parts |= self.code_losses(batch, latent, found)
        hidden = self.network.quantizer.output_proj(coded)
        with precision(self.device, self.dtype):
            decoded = self.network.decoder(hidden, self.clip(wav)).float()
        parts["mel"] = self.loss(decoded, wav)
        losses = {name: part.item() for name, part in parts.items()}
        if progress >= self.recipe.adversary_start:
            adversarial = self.adversary.step(decoded, wav)
            parts["adversary"] = self.recipe.adversary * adversarial.loss
            losses["adversary"] = adversarial.codec
            losses["discriminators"] = adversarial.discriminators
        torch.stack(list(parts.values())).sum().backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(self.trained.parameters(), MAX_GRADIENT)
        self.optimizer.step(self.stage_progress(progress))
        if found is not None and not self.frozen:
            self.codebooks.update(found)
        self.averaged.update_parameters(self.network)
        self.step_number += 1
        self.seconds += time.perf_counter() - started
        self.frames += wav.numel() // FRAME_SAMPLES
        return losses

    def code_losses(self, batch: Batch, latent: Tensor, found: Quantized) -> dict[str, Tensor]:
        """Returns the weighted losses that shape the codes."""
        parts = {"commitment": COMMITMENT * (latent - found.total).square().mean()}
        teacher = self.heads.teacher_loss(batch, latent, found)
        if teacher is not None:
            parts["teacher"] = self.recipe.teacher * teacher
        text = self.heads.text_loss(self.step_number)
        if text is not None:
            parts["text"] = self.recipe.text * text
        return parts

    def stage_progress(self, progress: float) -> float:
        """Returns the share of the present stage that is done; each stage has its own schedule."""
        final = self.recipe.codes_final
        if self.frozen:
            return (progress - final) / max(1e-6, 1 - final)
        return progress / max(1e-6, final)

    def freeze(self) -> None:
        """Makes codes final: those of `shipped`. From now on only the decoder learns."""
        self.network.load_state_dict(self.shipped().state_dict())
        self.network.quantizer.refresh()
        weights = self.network.decoder.named_parameters()
        self.earlier = {name: weight.detach().clone() for name, weight in weights}
        self._stop_encoder()

    def _stop_encoder(self) -> None:
        self.frozen = True
        for module in (self.network.encoder, self.network.quantizer, self.heads):
            module.requires_grad_(False)
        self.optimizer = self._optimizer()
        self.averaged = self._average()

    def partial(self, latent: Tensor, found: Quantized) -> Tensor:
        """Returns the decoder's input: the sum of all codebooks, for some crops of the first few.

        Those crops teach the decoder to work with fewer codebooks, and the first codebooks to carry
        the most.
        """
        codebooks = len(found.codes)
        fewer = torch.rand(len(latent), generator=self.generator) < self.recipe.fewer_codebooks
        count = torch.randint(1, codebooks + 1, (len(latent),), generator=self.generator)
        count = torch.where(fewer, count, codebooks)
        # Codebook n gets what the n before it left over; after the last, latent - total is left.
        left = torch.cat([found.residuals, (latent - found.total)[None]])
        rows = torch.arange(len(latent))
        return latent - left[count.to(latent.device), rows.to(latent.device)]

    @torch.no_grad()
    def shipped(self) -> Tokenizer:
        """Returns the network to release: averaged weights and the present codebooks.

        The decoder of the second stage is the mean of its first and its present weights
        (Wortsman et al., 2022, arXiv 2203.05482).
        """
        network = copy.deepcopy(self.averaged.module)
        assert isinstance(network, Tokenizer)
        for name, weight in self.earlier.items():
            network.decoder.get_parameter(name).lerp_(weight, 0.5)
        network.quantizer.codebooks.copy_(self.network.quantizer.codebooks)
        network.quantizer.refresh()
        return network.eval()

    def save(self, path: Path) -> None:
        """Writes all that is needed to resume; a stop never leaves half a file."""
        state = {
            "step": self.step_number,
            "seconds": self.seconds,
            "frames": self.frames,
            "frozen": self.frozen,
            "trained": self.trained.state_dict(),
            "averaged": self.averaged.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "codebooks": self.codebooks.state_dict(),
            "adversary": self.adversary.state_dict(),
            "earlier": self.earlier,
            "generator": self.generator.get_state(),
        }
        torch.save(state, path.with_suffix(".tmp"))
        path.with_suffix(".tmp").replace(path)

    def resume(self, path: Path) -> None:
        """Resumes from a file that `save` wrote.

        Raises:
            ModelError: the file is damaged or of another recipe.
        """
        try:
            self._restore(torch.load(path, map_location=self.device, weights_only=True))
        except (UnpicklingError, RuntimeError, KeyError, OSError, ValueError) as error:
            reason = str(error).splitlines()[0]
            raise ModelError(f"training cannot go on from {path}: {reason}") from error

    def _restore(self, state: dict[str, Any]) -> None:
        if state["frozen"]:
            self._stop_encoder()
        self.trained.load_state_dict(state["trained"])
        self.network.quantizer.refresh()
        self.averaged.load_state_dict(state["averaged"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.codebooks.load_state_dict(state["codebooks"])
        self.adversary.load_state_dict(state["adversary"])
        self.generator.set_state(state["generator"].cpu())
        self.earlier = state["earlier"]
        self.step_number, self.seconds = state["step"], state["seconds"]
        self.frames = state["frames"]
        self._batches = None
        self.heads.restart_loading()
