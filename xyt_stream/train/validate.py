"""Scores the network in training on clips that it is not trained on."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from xyt_stream.audio import FRAME_SAMPLES, find_clips, to_float32, write_audio
from xyt_stream.errors import MissingExtraError
from xyt_stream.model.timeline import ClipTimeline
from xyt_stream.model.tokenizer import Tokenizer
from xyt_stream.train.corpus import OnSkipped, load_clips


class Validation:
    """Computes the mean STOI (Taal et al., 2011) of decoded clips.

    Args:
        folder: clips of speakers that are not trained on.
        on_skipped: as for `load_clips`.
    """

    def __init__(self, folder: Path, on_skipped: OnSkipped | None = None) -> None:
        try:
            from pystoi import stoi
        except ImportError as error:
            raise MissingExtraError("Validation scores", "train") from error
        self._stoi = stoi
        self.clips = [
            to_float32(clip) for _, clip in load_clips(find_clips(folder), Path, on_skipped)
        ]

    @torch.no_grad()
    def score(self, network: Tokenizer, device: torch.device, out: Path) -> dict[str, float]:
        """Returns the STOI and the smallest share of a codebook that the clips use.

        The first clip is written to `out` as it is decoded, to be listened to.
        """
        scores: list[float] = []
        used = []
        config = network.config
        for samples in self.clips:
            frames = len(samples) // FRAME_SAMPLES
            wav = torch.from_numpy(samples[: frames * FRAME_SAMPLES]).to(device)
            clip = ClipTimeline(frames, causal=config.causal, context=config.context, device=device)
            codes = network.encode(wav[None], clip)
            decoded = network.decode(codes, clip)[0].cpu().numpy()
            if not scores:
                write_audio(out / "sample.flac", decoded, config.output_rate)
            scores.append(self._stoi(wav.cpu().numpy(), decoded, config.output_rate))
            used.append(codes[0].cpu())
        every = torch.cat(used, dim=1)
        share = min(len(codes.unique()) for codes in every) / config.quantizer.codebook_size
        return {"stoi": float(np.mean(scores)), "codes_used": share}
