"""One training step, and all that must be kept to go on after a stop."""

from __future__ import annotations

import copy
import os
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from pickle import UnpicklingError
from typing import Any, TypeVar

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn
from torch.utils.data import DataLoader, Dataset

from xyt_stream.audio import FRAME_SAMPLES
from xyt_stream.errors import ModelError
from xyt_stream.model.precision import precision
from xyt_stream.model.quantizer import Quantized
from xyt_stream.model.timeline import Clip
from xyt_stream.model.tokenizer import Tokenizer
from xyt_stream.train.adversary import Adversary
from xyt_stream.train.codebooks import CodebookLearner
from xyt_stream.train.data import Batch, Crops, Request
from xyt_stream.train.losses import MelLoss
from xyt_stream.train.optimizer import Optimizer
from xyt_stream.train.precision import fastest_dtype
from xyt_stream.train.recipe import Recipe
from xyt_stream.train.semantic import TeacherHead
from xyt_stream.train.text import CTCHead, Transcript, Transcripts, collate

COMMITMENT = 0.25
MAX_GRADIENT = 5.0  # norm
EMA_DECAY = 0.995
KMEANS_VECTORS = 12  # for each code of a codebook
MAX_WORKERS = 8
NEVER = 1 << 40  # a step that no training reaches; crops from there on are for k-means

T = TypeVar("T")


@dataclass(frozen=True)
class Data:
    """What a network learns from.

    Args:
        crops: of speech, with the teacher's features where there is one.
        transcripts: clips with text; None without.
    """

    crops: Crops
    transcripts: Transcripts | None = None


class Trainer:
    """A network in training.

    Args:
        network: of a causal config; it is trained in place.
        trained_before: whether its codebooks mean something already.
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
        heads: dict[str, nn.Module] = {}
        if data.crops.features is not None:
            heads["first"] = TeacherHead(dim, data.crops.features)
            heads["total"] = TeacherHead(dim, data.crops.features)
        if data.transcripts is not None:
            heads["ctc"] = CTCHead(dim, len(data.transcripts.alphabet))
        self.heads = nn.ModuleDict(heads).to(device)
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
        self.frames = 0  # heard so far
        self.frozen = False
        self.earlier: dict[str, Tensor] = {}  # the decoder when codes became final
        self._batches: Iterator[Batch] | None = None
        self._texts: Iterator[tuple[Tensor, list[Transcript]]] | None = None

    @property
    def progress(self) -> float:
        """Share of the training that is done."""
        return self.recipe.progress(self.step_number, self.seconds)

    def _average(self) -> AveragedModel:
        average = get_ema_multi_avg_fn(EMA_DECAY)  # type: ignore[no-untyped-call]
        return AveragedModel(self.network, multi_avg_fn=average)

    def _optimizer(self) -> Optimizer:
        return Optimizer(self.trained, rate=self.recipe.rate, dtype=self.dtype)

    def clip(self, wav: Tensor) -> Clip:
        """The timeline of a batch."""
        config = self.network.config
        frames = wav.shape[1] // FRAME_SAMPLES
        return Clip(frames, causal=config.causal, context=config.context, device=self.device)

    def latents(self, wav: Tensor) -> Tensor:
        """Samples -> quantizer input, float32 [batch, frames, dim]."""
        clip = self.clip(wav)
        mel = self.network.mel(wav, clip)
        with precision(self.device, self.dtype):
            hidden = self.network.encoder(mel, clip)
        out: Tensor = self.network.quantizer.input_proj(hidden.float())
        return out

    def start_codebooks(self) -> None:
        """k-means over the latents of many batches."""
        recipe = self.recipe
        wanted = KMEANS_VECTORS * self.network.config.quantizer.codebook_size
        batches = -(-wanted // (recipe.crops * recipe.crop_frames))
        requests = [Request(NEVER + i, recipe.crops, recipe.crop_frames) for i in range(batches)]
        with torch.no_grad():
            found = [self.latents(self.data.crops[r].wav.to(self.device)) for r in requests]
        self.codebooks.start(torch.cat(found).flatten(0, 1))

    def requests(self) -> Iterator[Request]:
        """The batches of the steps to come."""
        recipe, step = self.recipe, self.step_number
        while True:
            longer = 2 if self.progress >= recipe.longer_start else 1
            yield Request(step, max(1, recipe.crops // longer), recipe.crop_frames * longer)
            step += 1

    def load(self, data: Dataset[T], keys: Iterator[Any]) -> Iterator[T]:
        """The items of these keys; beside a GPU, workers prepare them."""
        workers = min(MAX_WORKERS, os.cpu_count() or 1) if self.device.type == "cuda" else 0
        sampler: Any = _Keys(keys)
        loader = DataLoader(
            data, batch_size=None, sampler=sampler, num_workers=workers, pin_memory=workers > 0
        )
        return iter(loader)

    def step(self) -> dict[str, float]:
        """One step; its losses."""
        started = time.perf_counter()
        progress = self.progress
        if not self.frozen and progress >= self.recipe.codes_final:
            self.freeze()
        if not self.codebooks.started and self.step_number >= self.recipe.quantizer_start:
            self.start_codebooks()
        if self._batches is None:
            self._batches = self.load(self.data.crops, self.requests())
        batch = next(self._batches)
        wav = batch.wav.to(self.device, non_blocking=True)
        with torch.set_grad_enabled(not self.frozen):
            latent = self.latents(wav)
        parts: dict[str, Tensor] = {}
        logged: dict[str, float] = {}
        coded, found = latent, None
        if self.codebooks.started:
            found = self.quantize(latent)
            coded = through(latent, self.partial(latent, found))
            if not self.frozen:
                parts["commitment"] = COMMITMENT * (latent - found.total).square().mean()
                parts |= self.meaning(batch, latent, found)
        hidden = self.network.quantizer.output_proj(coded)
        with precision(self.device, self.dtype):
            decoded = self.network.decoder(hidden, self.clip(wav)).float()
        parts["mel"] = self.loss(decoded, wav)
        logged |= {name: part.item() for name, part in parts.items()}
        if progress >= self.recipe.adversary_start:
            verdict = self.adversary.step(decoded, wav)
            parts["adversary"] = self.recipe.adversary * verdict.loss
            logged["adversary"] = verdict.codec
            logged["discriminators"] = verdict.discriminators
        torch.stack(list(parts.values())).sum().backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(self.trained.parameters(), MAX_GRADIENT)
        self.optimizer.step(self.stage_progress(progress))
        if found is not None and not self.frozen:
            self.codebooks.update(found)
        self.averaged.update_parameters(self.network)
        self.step_number += 1
        self.seconds += time.perf_counter() - started
        self.frames += wav.numel() // FRAME_SAMPLES
        return logged

    def stage_progress(self, progress: float) -> float:
        """Share of the stage that is done: each has a schedule of its own."""
        final = self.recipe.codes_final
        if self.frozen:
            return (progress - final) / max(1e-6, 1 - final)
        return progress / max(1e-6, final)

    def freeze(self) -> None:
        """From now on codes are made as `shipped` makes them, and only the decoder learns."""
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

    def quantize(self, latent: Tensor) -> Quantized:
        """As the quantizer does, without gradients."""
        with torch.no_grad():
            return self.network.quantizer.quantize(latent)

    def partial(self, latent: Tensor, found: Quantized) -> Tensor:
        """What the decoder is given: all codebooks, or for some crops the first few only.

        Those crops teach it to speak from fewer, and the first codebooks to say the most.
        """
        codebooks = len(found.codes)
        fewer = torch.rand(len(latent), generator=self.generator) < self.recipe.fewer_codebooks
        count = torch.randint(1, codebooks + 1, (len(latent),), generator=self.generator)
        count = torch.where(fewer, count, codebooks)
        # A codebook was given what those before it left over; the last leaves latent - total.
        left = torch.cat([found.residuals, (latent - found.total)[None]])
        rows = torch.arange(len(latent))
        return latent - left[count.to(latent.device), rows.to(latent.device)]

    def meaning(self, batch: Batch, latent: Tensor, found: Quantized) -> dict[str, Tensor]:
        """The losses of meaning: the teacher's, of the first codebook and of all, and of text."""
        parts = {}
        if batch.features is not None and batch.known is not None:
            features, known = batch.features.to(self.device), batch.known.to(self.device)
            first = found.residuals[0] - found.residuals[1]
            distances = [
                self._head("first", TeacherHead).loss(through(latent, first), features, known),
                self._head("total", TeacherHead).loss(
                    through(latent, found.total), features, known
                ),
            ]
            parts["teacher"] = self.recipe.teacher * (distances[0] + distances[1]) / 2
        if self.data.transcripts is not None:
            parts["text"] = self.recipe.text * self.text_loss(self.data.transcripts)
        return parts

    def _head(self, name: str, kind: Callable[..., T]) -> T:
        head: Any = self.heads[name]
        return head  # type: ignore[no-any-return]

    def text_loss(self, transcripts: Transcripts) -> Tensor:
        """How illegible the text of some clips is in their quantized latents."""
        if self._texts is None:
            self._texts = self.load(transcripts, _count(self.step_number))
        wav, clips = next(self._texts)
        latent = self.latents(wav.to(self.device))
        total = self.quantize(latent).total
        return self._head("ctc", CTCHead).loss(through(latent, total), clips)

    @torch.no_grad()
    def text_error(self) -> float:
        """Character error rate on the clips with text that are kept out, from their codes."""
        assert self.data.transcripts is not None
        errors = []
        for clip in self.data.transcripts.kept:
            wav, clips = collate([clip])
            total = self.quantize(self.latents(wav.to(self.device))).total
            errors.append(self._head("ctc", CTCHead).error_rate(total, clips))
        return sum(errors) / len(errors)

    @torch.no_grad()
    def shipped(self) -> Tokenizer:
        """The averaged weights with the codebooks of now.

        The decoder of the second stage is the mean of what it was and what it has become: the
        middle scores better than either end (as in Wortsman et al., 2022, arXiv 2203.05482).
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
        """Go on from a file that `save` wrote.

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
        self._batches = self._texts = None


def through(latent: Tensor, quantized: Tensor) -> Tensor:
    """`quantized`, whose gradient passes straight through to `latent`."""
    return latent + (quantized - latent).detach()


class _Keys:
    """A sampler of keys that are made as they are asked for."""

    def __init__(self, keys: Iterator[Any]) -> None:
        self.keys = keys

    def __iter__(self) -> Iterator[Any]:
        return self.keys


def _count(start: int) -> Iterator[int]:
    while True:
        yield start
        start += 1
