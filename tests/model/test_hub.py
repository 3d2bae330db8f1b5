from __future__ import annotations

import pytest

from xyt_stream.errors import ModelError
from xyt_stream.model.hub import find


def test_the_default_ships_in_the_package():
    source = find(None)
    assert source == find("mini")
    assert source.weights.is_file()


def test_a_file_finds_the_config_beside_it(tmp_path):
    weights = tmp_path / "voice.ckpt"
    weights.touch()
    assert find(weights).config is None
    (tmp_path / "some.yaml").touch()
    assert find(weights).config == tmp_path / "some.yaml"
    (tmp_path / "config.json").touch()
    assert find(weights).config == tmp_path / "config.json"
    (tmp_path / "voice.yaml").touch()
    assert find(weights) == ("voice", weights, tmp_path / "voice.yaml")


def test_a_config_elsewhere_can_be_named(tmp_path):
    (tmp_path / "a.ckpt").touch()
    (tmp_path / "far").mkdir()
    (tmp_path / "far" / "b.yaml").touch()
    found = find(tmp_path / "a.ckpt", config=tmp_path / "far" / "b.yaml")
    assert found.config == tmp_path / "far" / "b.yaml"
    with pytest.raises(ModelError, match=r"nowhere\.yaml"):
        find(tmp_path / "a.ckpt", config="nowhere.yaml")


@pytest.mark.parametrize("named", ["", "./away.safetensors", "voices/away.ckpt", "away"])
def test_a_missing_path_is_no_hub_name(named):
    with pytest.raises(ModelError, match=f"no model '{named}': give"):
        find(named)


def test_a_bad_hub_name_is_refused_in_one_sentence():
    with pytest.raises(ModelError, match="some--one/other cannot be had"):
        find("some--one/other")


def test_sound_is_no_model(fixtures):
    with pytest.raises(ModelError, match=r"speech\.flac is no model: it holds neither safetensors"):
        find(fixtures / "speech.flac")


def test_options_that_do_not_apply_are_refused(tmp_path):
    (tmp_path / "a.ckpt").touch()
    for options in ({"config": tmp_path / "a.ckpt"}, {"revision": "main"}):
        with pytest.raises(ModelError, match="'mini' is in the package"):
            find("mini", **options)
    with pytest.raises(ModelError, match="a revision is of a hub name"):
        find(tmp_path / "a.ckpt", revision="main")


def test_a_cached_hub_name_needs_no_network(tmp_path, monkeypatch):
    """The hub's own cache layout, as huggingface_hub writes it."""
    commit = "0123456789abcdef0123456789abcdef01234567"
    repo = tmp_path / "models--someone--voice"
    (repo / "refs").mkdir(parents=True)
    (repo / "refs" / "main").write_text(commit)
    snapshot = repo / "snapshots" / commit
    snapshot.mkdir(parents=True)
    (snapshot / "model.safetensors").touch()
    (snapshot / "config.json").touch()
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    for revision in (None, commit):
        found = find("someone/voice", revision=revision)
        assert found.name == "someone/voice"
        assert found.weights == snapshot / "model.safetensors"
        assert found.config == snapshot / "config.json"
    with pytest.raises(ModelError, match="someone/other"):
        find("someone/other")
