"""The space of a CLIP: vectors made once, kept by content, and no text longer than it reads goes unsaid."""

import logging

import numpy as np
import pytest
import torch
from PIL import Image

from unspoken.pairs import build_caption_tokenizer, build_clip, method_of
from unspoken.recipe import load_recipe
from unspoken.vision.images import inspect_image
from unspoken.vision.joint import JointSpace, Said

SMALL = (
    "task.train_rows=24", "task.validation_rows=4", "task.test_rows=4",
    "model.layers=1", "model.heads=2", "model.width=32", "model.max_positions=8",
    "model.vision.layers=1", "model.vision.heads=2", "model.vision.width=32", "method.embedding=16",
)  # fmt: skip


@pytest.fixture(scope="module")
def clip(tmp_path_factory):
    recipe = load_recipe("shapes/clip", [f"task.folder={tmp_path_factory.mktemp('images')}", *SMALL])
    pairs = method_of(recipe).pairs(recipe.task.examples("train")[0])
    return build_clip(recipe, build_caption_tokenizer(recipe, pairs))


@pytest.fixture
def space(clip, tmp_path):
    return JointSpace(clip, tmp_path / "cache", 16, "weights and words")


def count(monkeypatch, clip, name):
    """What the CLIP is asked for from now on."""
    asked, inner = [], getattr(type(clip), name)

    def counted(self, items, *args):
        asked.extend(items)
        return inner(self, items, *args)

    monkeypatch.setattr(type(clip), name, counted)
    return asked


def test_each_text_is_read_once_however_often_it_comes(space, clip, monkeypatch):
    asked = count(monkeypatch, clip, "texts")
    first = space.texts(["red circle", "blue star", "red circle"])
    again = space.texts(["blue star", "red circle"])
    assert sorted(asked) == ["blue star", "red circle"]
    assert np.array_equal(first["blue star"].array(), again["blue star"].array())
    torch.testing.assert_close(torch.from_numpy(first["red circle"].array()), clip.texts(["red circle"]))


def test_each_image_is_seen_once_and_by_its_content(space, clip, monkeypatch, tmp_path):
    for name, colour in (("one", "red"), ("same", "red"), ("other", "blue")):
        Image.new("RGB", (40, 30), colour).save(tmp_path / f"{name}.png")
    facts = [inspect_image(tmp_path / f"{name}.png") for name in ("one", "same", "other")]
    asked = count(monkeypatch, clip, "images")
    found = space.images(facts)
    assert len(asked) == len(found) == 2
    space.images(facts)
    assert len(asked) == 2
    expected = clip.images([clip.pixels(Image.new("RGB", (40, 30), "blue"))])
    torch.testing.assert_close(torch.from_numpy(found[facts[2].sha256].array()), expected)


def test_images_and_texts_are_not_mixed_up_in_the_cache(space, tmp_path):
    Image.new("RGB", (40, 30), "red").save(tmp_path / "one.png")
    space.images([inspect_image(tmp_path / "one.png")])
    space.texts(["red circle"])
    assert len(list((tmp_path / "cache").iterdir())) == 2


def test_another_clip_has_another_cache(space, clip, tmp_path):
    space.texts(["red circle"])
    JointSpace(clip, tmp_path / "cache", 16, "other weights").texts(["red circle"])
    assert len(list((tmp_path / "cache").iterdir())) == 2


def test_of_a_text_that_is_too_long_the_beginning_is_read_and_that_is_said(space, clip, caplog):
    long = "red circle " * 20
    with caplog.at_level(logging.WARNING):
        found = space.texts([long, "red circle"])
    assert "1 of 2 texts are longer than the CLIP reads" in caplog.text
    beginning, is_cut = clip.fit(long)
    assert is_cut
    torch.testing.assert_close(torch.from_numpy(found[long].array()), clip.texts([beginning]))


def test_an_image_stands_in_front_of_what_is_said_of_it(space):
    texts = space.texts(["red circle", "blue star"])
    both = Said(texts["red circle"], texts["blue star"]).array()
    assert both.shape == (2, 16)
    assert np.array_equal(both[1], texts["blue star"].array()[0])
