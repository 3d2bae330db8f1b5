from __future__ import annotations

import dataclasses
import shutil

import msgspec
import pytest
import torch

from xyt_stream.errors import ModelError
from xyt_stream.model.config import ModelConfig, QuantizerConfig, StackConfig, VocoderConfig, mini
from xyt_stream.train.data import Crops
from xyt_stream.train.text import Transcripts
from xyt_stream.train.trainer import Recipe, Trainer


def tiny() -> ModelConfig:
    stack = StackConfig(width=32, layers=1, heads=2, ffn=64)
    stacks = dict.fromkeys(mini().stacks(), stack)
    return msgspec.structs.replace(
        mini(),
        **stacks,
        quantizer=QuantizerConfig(dim=16, codebooks=2, codebook_size=32),
        vocoder=VocoderConfig(width=32, ffn=64, blocks=1, n_fft=480, hop=160),
    )


@pytest.fixture
def trainer(tmp_path, fixtures):
    (tmp_path / "speech" / "one").mkdir(parents=True)
    for name in ("a", "b"):
        shutil.copy(fixtures / "speech.flac", tmp_path / "speech" / "one" / f"{name}.flac")
    (tmp_path / "speech" / "one" / "metadata.csv").write_text("a|there is iron\nb|in fact\n")

    def make() -> Trainer:
        recipe = Recipe(
            steps=60,
            quantizer_start=20,
            adversary_start=22,
            judged=4000,
        )
        crops = Crops(tmp_path / "speech", frames=10, size=4, seed=0)
        transcripts = Transcripts(tmp_path / "speech", size=1, seed=0)
        return Trainer(tiny(), recipe, crops, transcripts, torch.device("cpu"))

    return make


def test_loss_falls_before_and_after_the_quantizer_joins(trainer):
    made = trainer()
    losses = [made.step() for _ in range(60)]
    mels = [loss["mel"] for loss in losses]
    assert sum(mels[15:20]) < 0.9 * sum(mels[:5])
    assert sum(mels[-5:]) < sum(mels[15:20]) * 1.2
    assert losses[19].keys() == {"mel"}
    assert losses[20].keys() == {"mel", "commitment", "text"}
    assert losses[22].keys() == {"mel", "commitment", "text", "adversary", "judges"}


def test_some_crops_are_decoded_from_fewer_books(trainer):
    made = trainer()
    for _ in range(21):
        made.step()
    latent = made.latents(made.crops[0]).detach()
    found = made.quantize(latent)
    books = made.network.quantizer.codebooks
    first = books[0][found.codes[0]]
    seen = set()
    for _ in range(30):
        for row, (got, one, both) in enumerate(
            zip(made.partial(latent, found), first, found.total, strict=True)
        ):
            matches = [torch.allclose(got, total, atol=1e-5) for total in (one, both)]
            assert any(matches), row
            seen.add(matches.index(True))
    assert seen == {0, 1}


def test_resuming_is_as_if_never_stopped(trainer, tmp_path):
    straight = trainer()
    expected = [straight.step() for _ in range(26)]
    stopped = trainer()
    for _ in range(23):
        stopped.step()
    stopped.save(tmp_path / "state.pt")
    resumed = trainer()
    resumed.resume(tmp_path / "state.pt")
    assert resumed.step_number == 23
    assert [resumed.step() for _ in range(3)] == expected[23:]


def test_what_ships_is_the_average_with_the_books_of_now(trainer):
    made = trainer()
    for _ in range(22):
        made.step()
    shipped = made.shipped()
    assert torch.equal(shipped.quantizer.codebooks, made.network.quantizer.codebooks)
    weight = shipped.encoder.downsample.down_proj.weight
    assert not torch.equal(weight, made.network.encoder.downsample.down_proj.weight)


def test_codes_stay_what_they_are_once_they_are_final(trainer, tmp_path):
    made = trainer()
    made.recipe = dataclasses.replace(made.recipe, codes_final=24)
    for _ in range(24):
        made.step()
    before = {name: x.clone() for name, x in made.shipped().state_dict().items()}
    made.save(tmp_path / "state.pt")
    assert made.step().keys() == {"mel", "adversary", "judges"}
    resumed = trainer()
    resumed.recipe = made.recipe
    resumed.resume(tmp_path / "state.pt")
    for trained in (made, resumed):
        for _ in range(3):
            trained.step()
        after = trained.shipped().state_dict()
        for name, x in before.items():
            assert torch.equal(after[name], x) != name.startswith("decoder"), name
        for name, x in trained.averaged.module.decoder.named_parameters():
            name = f"decoder.{name}"
            assert torch.allclose(after[name], (before[name] + x) / 2, atol=1e-7), name


def test_a_damaged_state_is_named(trainer, tmp_path):
    (tmp_path / "state.pt").write_bytes(b"not a checkpoint")
    with pytest.raises(ModelError, match=r"state\.pt"):
        trainer().resume(tmp_path / "state.pt")
