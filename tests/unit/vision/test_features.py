"""Encoders and their features: what is kept equals what is computed, each file is encoded once, and damage is named."""

import json
import os

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file
from transformers import (
    CLIPConfig,
    CLIPImageProcessorPil,
    CLIPModel,
    Dinov2Config,
    Dinov2Model,
    SiglipVisionConfig,
    SiglipVisionModel,
)

from unspoken.config import VisionSettings
from unspoken.errors import DataError, RecipeError
from unspoken.model.vision import encode
from unspoken.vision import features as module
from unspoken.vision.encoder import build_encoder
from unspoken.vision.features import features_of
from unspoken.vision.pixel_inputs import pixels_of
from unspoken.vision.preflight import preflight

SMALL = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
SEEN = {"image_size": 32, "patch_size": 16}


@pytest.fixture(scope="module", params=["clip", "siglip", "dinov2"])
def checkpoint(request, tmp_path_factory):
    """A tiny random encoder as it would be downloaded."""
    path = tmp_path_factory.mktemp(request.param)
    torch.manual_seed(0)
    if request.param == "clip":
        text = {**SMALL, "vocab_size": 50, "bos_token_id": 0, "eos_token_id": 1}
        model = CLIPModel(CLIPConfig(text_config=text, vision_config={**SMALL, **SEEN}, projection_dim=8))
    elif request.param == "siglip":
        model = SiglipVisionModel(SiglipVisionConfig(**SMALL, **SEEN))
    else:
        sizes = {key: value for key, value in SMALL.items() if key != "intermediate_size"}
        model = Dinov2Model(Dinov2Config(**sizes, **SEEN, mlp_ratio=1))
    model.save_pretrained(path)
    CLIPImageProcessorPil(size={"shortest_edge": 32}, crop_size={"height": 32, "width": 32}).save_pretrained(path)
    return path


@pytest.fixture
def facts(tmp_path):
    """Five different images and one that is a copy."""
    rng = np.random.default_rng(0)
    for number in range(5):
        values = rng.integers(0, 256, size=(40, 36, 3), dtype=np.uint8)
        Image.fromarray(values).save(tmp_path / f"{number}.png")
    (tmp_path / "copy.png").write_bytes((tmp_path / "0.png").read_bytes())
    names = [*(f"{number}.png" for number in range(5)), "copy.png"]
    return list(preflight([("row", name) for name in names], tmp_path).values())


@pytest.fixture
def calls(monkeypatch):
    """How many images each call of the encoder saw."""
    seen = []

    def counted(model, pixels, *, pooled):
        seen.append(len(pixels))
        return encode(model, pixels, pooled=pooled)

    monkeypatch.setattr(module, "encode", counted)
    return seen


@pytest.mark.parametrize("kind", ["patches", "pooled"])
def test_kept_features_equal_those_of_one_image_at_a_time(checkpoint, facts, tmp_path, kind):
    encoder = build_encoder(VisionSettings(path=str(checkpoint), features=kind), seed=0)
    assert (encoder.num_patches, encoder.feature_size) == (4 if kind == "patches" else 1, 16)
    found = features_of(encoder, facts, tmp_path / "cache", "cpu")
    again = features_of(encoder, facts, tmp_path / "cache", "cpu")
    for each in facts:
        pixels = torch.from_numpy(encoder.pixels(Image.open(each.path).convert("RGB")))[None]
        with torch.no_grad():
            output = encoder.model(pixel_values=pixels)
        expected = output.pooler_output if kind == "pooled" else output.last_hidden_state[0, -4:]
        np.testing.assert_allclose(found[each.sha256].array(), expected.numpy(), atol=1e-5)
        assert np.array_equal(found[each.sha256].array(), again[each.sha256].array())


def test_each_content_is_encoded_once_and_the_second_time_none(checkpoint, facts, tmp_path, calls):
    encoder = build_encoder(VisionSettings(path=str(checkpoint)), seed=0)
    features_of(encoder, facts, tmp_path / "cache", "cpu")
    assert sum(calls) == 5
    features_of(encoder, facts, tmp_path / "cache", "cpu")
    assert sum(calls) == 5


def test_an_interrupted_run_keeps_the_shards_it_finished(checkpoint, facts, tmp_path, calls, monkeypatch):
    encoder = build_encoder(VisionSettings(path=str(checkpoint)), seed=0)
    monkeypatch.setattr(module, "SHARD", 2)
    write = module.files.write_bytes
    written = []

    def stop(path, data):
        if len(written) == 2:
            raise KeyboardInterrupt
        written.append(path)
        write(path, data)

    with monkeypatch.context() as during:
        during.setattr(module.files, "write_bytes", stop)
        with pytest.raises(KeyboardInterrupt):
            features_of(encoder, facts, tmp_path / "cache", "cpu")
    assert len(features_of(encoder, facts, tmp_path / "cache", "cpu")) == 5
    assert calls == [2, 2, 1, 1]


def test_shards_of_two_runs_that_begin_with_the_same_image_are_both_kept(checkpoint, facts, tmp_path, calls):
    encoder = build_encoder(VisionSettings(path=str(checkpoint)), seed=0)
    (tmp_path / "one").mkdir()
    features_of(encoder, facts[:2], tmp_path / "one", "cpu")
    features_of(encoder, [facts[0], facts[2]], tmp_path / "two", "cpu")
    for shard in (tmp_path / "two").rglob("*.safetensors"):
        shard.rename(tmp_path / "one" / shard.relative_to(tmp_path / "two"))
    calls.clear()
    found = features_of(encoder, facts[:3], tmp_path / "one", "cpu")
    assert list(found) == [each.sha256 for each in facts[:3]]
    assert calls == []


def test_shards_without_a_wanted_image_are_not_loaded(checkpoint, facts, tmp_path, monkeypatch):
    encoder = build_encoder(VisionSettings(path=str(checkpoint)), seed=0)
    features_of(encoder, facts[:2], tmp_path / "cache", "cpu")
    features_of(encoder, facts[2:], tmp_path / "cache", "cpu")
    monkeypatch.setattr(module.Features, "__init__", lambda self, shard, row: loaded.append(len(shard)))
    loaded = []
    features_of(encoder, facts[:2], tmp_path / "cache", "cpu")
    assert loaded == [2, 2]


def test_another_encoder_another_preprocessing_and_another_kind_have_their_own_features(
    checkpoint, facts, tmp_path, calls
):
    one = build_encoder(VisionSettings(path=str(checkpoint)), seed=0)
    pooled = build_encoder(VisionSettings(path=str(checkpoint), features="pooled"), seed=0)
    config = json.loads((checkpoint / "preprocessor_config.json").read_text())
    other = tmp_path / "other"
    other.mkdir()
    for file in os.listdir(checkpoint):
        (other / file).write_bytes((checkpoint / file).read_bytes())
    (other / "preprocessor_config.json").write_text(json.dumps({**config, "image_mean": [0.1, 0.1, 0.1]}))
    shifted = build_encoder(VisionSettings(path=str(other)), seed=0)
    for encoder in (one, pooled, shifted):
        features_of(encoder, facts, tmp_path / "cache", "cpu")
    assert sum(calls) == 15
    assert one.fingerprint != shifted.fingerprint


def test_a_damaged_shard_is_named(checkpoint, facts, tmp_path):
    encoder = build_encoder(VisionSettings(path=str(checkpoint)), seed=0)
    features_of(encoder, facts, tmp_path / "cache", "cpu")
    (shard,) = (tmp_path / "cache").rglob("*.safetensors")
    content = shard.read_bytes()
    shard.write_bytes(content[:50])
    with pytest.raises(DataError, match=f"{shard.name} is damaged .*delete it, and its images are encoded again"):
        features_of(encoder, facts, tmp_path / "cache", "cpu")
    names = json.dumps([facts[0].sha256, "b"])
    save_file({"features": torch.zeros(2, 3, 4)}, shard, metadata={"sha256": names})
    with pytest.raises(DataError, match="holds features of shape"):
        features_of(encoder, facts, tmp_path / "cache", "cpu")


def test_an_image_that_changed_after_it_was_checked_is_refused(checkpoint, facts, tmp_path):
    encoder = build_encoder(VisionSettings(path=str(checkpoint)), seed=0)
    Image.new("RGB", (40, 36)).save(facts[1].path)
    with pytest.raises(DataError, match="not the one that was checked"):
        features_of(encoder, facts, tmp_path / "cache", "cpu")
    with pytest.raises(DataError, match="not the one that was checked"):
        pixels_of(encoder, facts)


def test_pixels_are_those_of_the_processor(checkpoint, facts):
    encoder = build_encoder(VisionSettings(path=str(checkpoint), train_encoder=True), seed=0)
    found = pixels_of(encoder, facts)
    for each in facts:
        expected = encoder.pixels(Image.open(each.path).convert("RGB"))
        # half precision is finer than a step of 8 bits, which is about 0.015 here
        np.testing.assert_allclose(found[each.sha256].array(), expected, atol=0.002)


def test_a_new_encoder_is_that_of_its_seed():
    settings = VisionSettings(width=16, heads=2, layers=1, image_size=32, patch_size=8, train_encoder=True)
    one, again, other = (build_encoder(settings, seed) for seed in (0, 0, 1))
    assert one.fingerprint == again.fingerprint != other.fingerprint
    assert (one.num_patches, one.feature_size) == (16, 16)
    assert one.pixels(Image.new("RGB", (50, 70), (255, 0, 0))).shape == (3, 32, 32)


def test_what_is_no_encoder_is_named(tmp_path):
    with pytest.raises(RecipeError, match="no vision encoder can be loaded from"):
        build_encoder(VisionSettings(path=str(tmp_path / "none")), seed=0)
