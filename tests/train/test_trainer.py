from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from xyt_stream.errors import ModelError
from xyt_stream.model.tokenizer import Tokenizer
from xyt_stream.train.corpus import open_corpus
from xyt_stream.train.data import Crops, Request
from xyt_stream.train.recipe import Recipe
from xyt_stream.train.text import Transcripts
from xyt_stream.train.trainer import Data, Trainer

from .conftest import tiny

RECIPE = Recipe(
    steps=60,
    crops=4,
    crop_frames=10,
    texts=1,
    discriminated=0.5,
    quantizer_start=20,
    adversary_start=22 / 60,
    codes_final=2.0,
)

Make = Callable[..., Trainer]


@pytest.fixture
def make(speech: Path, tmp_path: Path) -> Make:
    (speech / "one" / "metadata.csv").write_text("a|there is iron\nb|in fact\n")
    corpus = open_corpus(speech, tmp_path)
    frames = len(corpus.samples) // 1280
    features = np.random.default_rng(0).standard_normal((frames, 6)).astype(np.float16)

    def made(**changes: object) -> Trainer:
        recipe = dataclasses.replace(RECIPE, **changes)
        torch.manual_seed(recipe.seed)
        data = Data(Crops(corpus, features, seed=0), Transcripts(speech, size=1, seed=0))
        return Trainer(Tokenizer(tiny()), recipe, data, torch.device("cpu"))

    return made


def test_loss_falls_before_and_after_the_quantizer_joins(make: Make) -> None:
    trainer = make(adversary_start=39 / 60)  # discriminators are slow
    losses = [trainer.step() for _ in range(40)]
    mels = [loss["mel"] for loss in losses]
    assert sum(mels[15:20]) < 0.9 * sum(mels[:5])
    assert sum(mels[-5:]) < sum(mels[15:20]) * 1.2
    assert losses[19].keys() == {"mel"}
    assert losses[20].keys() == {"mel", "commitment", "text", "teacher"}
    assert losses[38].keys() == losses[20].keys()
    assert losses[39].keys() == losses[20].keys() | {"adversary", "discriminators"}
    assert trainer.progress == 40 / 60


def test_crops_become_longer_and_fewer(make: Make) -> None:
    trainer = make(longer_start=0.5)
    requests = trainer.requests()
    assert next(requests) == Request(0, 4, 10)
    trainer.step_number = 30
    assert next(requests)[1:] == (2, 20)
    trainer.step_number = 0
    trainer.step()
    trainer.step_number = 40
    trainer.step()
    assert trainer.frames == 4 * 10 + 2 * 20


def test_the_teachers_gradient_reaches_the_encoder(make: Make) -> None:
    trainer = make()
    trainer.start_codebooks()
    batch = trainer.data.crops[Request(0, 4, 10)]
    latent = trainer.latents(batch.wav)
    found = trainer.quantize(latent)
    trainer.code_losses(batch, latent, found)["teacher"].backward()
    for tower in (trainer.network.encoder.semantic, trainer.network.encoder.acoustic):
        gradient = tower.conv1.weight.grad
        assert gradient is not None
        assert gradient.abs().sum() > 0


def test_some_crops_are_decoded_from_fewer_codebooks(make: Make) -> None:
    trainer = make()
    trainer.start_codebooks()
    latent = trainer.latents(trainer.data.crops[Request(0, 4, 10)].wav).detach()
    found = trainer.quantize(latent)
    first = trainer.network.quantizer.codebooks[0][found.codes[0]]
    seen = set()
    for _ in range(30):
        for row, (got, one, both) in enumerate(
            zip(trainer.partial(latent, found), first, found.total, strict=True)
        ):
            matches = [torch.allclose(got, total, atol=1e-5) for total in (one, both)]
            assert any(matches), row
            seen.add(matches.index(True))
    assert seen == {0, 1}


def test_resuming_is_as_if_never_stopped(make: Make, tmp_path: Path) -> None:
    early = {"quantizer_start": 2, "adversary_start": 3 / 60, "crop_frames": 5}
    straight = make(**early)
    expected = [straight.step() for _ in range(7)]
    assert "discriminators" in expected[4]
    stopped = make(**early)
    for _ in range(5):
        stopped.step()
    stopped.save(tmp_path / "state.pt")
    resumed = make(**early)
    resumed.resume(tmp_path / "state.pt")
    assert (resumed.step_number, resumed.frames) == (5, stopped.frames)
    assert resumed.seconds == stopped.seconds
    assert [resumed.step() for _ in range(2)] == expected[5:]


def test_a_training_of_minutes_ends_after_them(make: Make) -> None:
    trainer = make(steps=None, minutes=1e-9)
    assert trainer.progress == 0
    trainer.step()
    assert trainer.progress == 1


def test_the_released_network_is_the_average_with_the_present_codebooks(make: Make) -> None:
    trainer = make(quantizer_start=2)
    for _ in range(4):
        trainer.step()
    shipped = trainer.shipped()
    assert torch.equal(shipped.quantizer.codebooks, trainer.network.quantizer.codebooks)
    weight = shipped.encoder.downsample.down_proj.weight
    assert not torch.equal(weight, trainer.network.encoder.downsample.down_proj.weight)


def test_codes_do_not_change_once_they_are_final(make: Make, tmp_path: Path) -> None:
    recipe = {"quantizer_start": 2, "adversary_start": 3 / 60, "crop_frames": 5}
    recipe["codes_final"] = 5 / 60
    trainer = make(**recipe)
    for _ in range(5):
        trainer.step()
    before = {name: x.clone() for name, x in trainer.shipped().state_dict().items()}
    assert trainer.step().keys() == {"mel", "adversary", "discriminators"}
    trainer.save(tmp_path / "state.pt")
    resumed = make(**recipe)
    resumed.resume(tmp_path / "state.pt")
    assert resumed.frozen
    for trained in (trainer, resumed):
        losses = [trained.step() for _ in range(3)]
        after = trained.shipped().state_dict()
        for name, x in before.items():
            assert torch.equal(after[name], x) != name.startswith("decoder"), name
        for name, x in trained.averaged.module.decoder.named_parameters():
            name = f"decoder.{name}"
            assert torch.allclose(after[name], (before[name] + x) / 2, atol=1e-7), name
    assert [trainer.step() for _ in range(2)] == [resumed.step() for _ in range(2)]
    assert losses[0].keys() == {"mel", "adversary", "discriminators"}


def test_kept_codes_never_change(make: Make, tmp_path: Path) -> None:
    trained = make()
    trained.start_codebooks()
    network = trained.network
    wav = trained.data.crops[Request(0, 2, 10)].wav
    with torch.no_grad():
        codes = network.encode(wav, trained.clip(wav))
    data = Data(trained.data.crops, None)
    recipe = dataclasses.replace(RECIPE, codes_final=0.0, adversary_start=0.0)
    trainer = Trainer(network, recipe, data, torch.device("cpu"), trained_before=True)
    losses = [trainer.step() for _ in range(3)]
    assert losses[0].keys() == {"mel", "adversary", "discriminators"}
    with torch.no_grad():
        assert torch.equal(trainer.shipped().encode(wav, trainer.clip(wav)), codes)


def test_a_damaged_state_is_named(make: Make, tmp_path: Path) -> None:
    (tmp_path / "state.pt").write_bytes(b"not a checkpoint")
    with pytest.raises(ModelError, match=r"state\.pt"):
        make().resume(tmp_path / "state.pt")
