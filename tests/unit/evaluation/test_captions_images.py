"""Captions beside images: vectors set by hand, and a small CLIP that is really run."""

from math import sqrt

import pytest
import torch
from PIL import Image

from unspoken.errors import DataError
from unspoken.evaluation.captions.images import PREFIX, Read, another, beside, found, read, score, see
from unspoken.pairs import build_caption_tokenizer, build_clip, method_of
from unspoken.recipe import load_recipe

SMALL = (
    "task.train_rows=24", "task.validation_rows=4", "task.test_rows=4",
    "model.layers=1", "model.heads=2", "model.width=32",
    "model.vision.layers=1", "model.vision.heads=2", "model.vision.width=32", "method.embedding=16",
)  # fmt: skip


def vectors(*rows):
    return torch.nn.functional.normalize(torch.tensor(rows, dtype=torch.float), dim=-1)


@pytest.fixture(scope="module")
def clip(tmp_path_factory):
    folder = tmp_path_factory.mktemp("images")
    recipe = load_recipe("shapes/clip", [f"task.folder={folder}", *SMALL])
    pairs = method_of(recipe).pairs(recipe.task.examples("train")[0])
    return build_clip(recipe, build_caption_tokenizer(recipe, pairs))


@pytest.fixture
def pictures(tmp_path):
    paths = [tmp_path / f"{name}.png" for name in ("red", "green", "blue")]
    for path in paths:
        Image.new("RGB", (40, 30), path.stem).save(path)
    return paths


def test_clip_score_is_two_and_a_half_times_the_cosine_and_never_below_zero():
    images = vectors([1, 0], [1, 0], [1, 0])
    found = score(images, Read(vectors([1, 0], [1, 1], [-1, 0]), [False, True, False])).figures()
    assert found["cosine"].value == pytest.approx((1 + sqrt(1 / 2) - 1) / 3, abs=1e-6)
    assert found["clip_score"].value == pytest.approx(2.5 * (1 + sqrt(1 / 2) + 0) / 3, abs=1e-6)
    assert found["cut"].value == pytest.approx(1 / 3)
    assert PREFIX == "A photo depicts "


def test_images_and_captions_must_be_as_many():
    with pytest.raises(DataError, match="as many images, at least 2; found 1 and 2"):
        score(vectors([1, 0], [0, 1]), Read(vectors([1, 0]), [False]))
    with pytest.raises(DataError, match="at least 2; found 1 and 1"):
        score(vectors([1, 0]), Read(vectors([1, 0]), [False]))


def test_the_reference_of_another_row_is_never_ones_own():
    for count in (2, 3, 50):
        rows = [str(row) for row in range(count)]
        assert sorted(another(rows)) == sorted(rows)
        assert all(one != other for one, other in zip(rows, another(rows), strict=True))
    assert another(rows) == another(rows) != [*rows[1:], rows[0]]
    with pytest.raises(DataError, match="needs at least 2 rows, found 1"):
        another(["a"])


def test_captions_are_read_behind_the_prefix_and_equal_ones_alike(clip):
    captions = ["red circle", "blue square", "red circle"]
    plainly = read(clip, captions, "")
    assert torch.allclose(plainly.texts, clip.texts(captions), atol=1e-6)
    assert torch.allclose(
        read(clip, captions, "green ").texts, clip.texts([f"green {each}" for each in captions]), atol=1e-6
    )
    assert not torch.allclose(plainly.texts, read(clip, captions, "green ").texts, atol=1e-3)
    assert plainly.cut == [False] * 3
    assert read(clip, captions).texts.shape == plainly.texts.shape


def test_a_caption_that_is_too_long_is_cut_and_counted(clip):
    most = clip.model.config.text_config.max_position_embeddings
    fits = " ".join(["red", "circle"] * most).split()[: most - 1]  # and the end of sequence
    longer = " ".join([*fits, "blue", "square"])
    both = read(clip, [" ".join(fits), longer, "red " * 50_000], "")
    assert both.cut == [False, True, True]
    assert torch.allclose(both.texts[0], both.texts[1], atol=1e-6)
    with pytest.raises(DataError, match="shorten the caption"):
        clip.texts([longer])


def test_hostile_captions_are_read(clip):
    hostile = ["", "\ud800", "猫が座る。" * 1000, "\x00\n\u200b🎉", "x" * 1_000_000, "<|endoftext|>"]
    texts = read(clip, hostile).texts
    assert torch.isfinite(texts).all()
    assert torch.allclose(texts.norm(dim=1), torch.ones(len(hostile)), atol=1e-5)


def test_images_are_seen_whatever_the_batches(clip, pictures, monkeypatch):
    seen = see(clip, pictures)
    expected = clip.images([clip.pixels(Image.open(path).convert("RGB")) for path in pictures])
    assert torch.allclose(seen, expected, atol=1e-6)
    monkeypatch.setattr("unspoken.evaluation.captions.images._AT_ONCE", 2)
    assert torch.allclose(see(clip, pictures), expected, atol=1e-5)
    pictures[1].write_bytes(b"no image")
    with pytest.raises(DataError, match=r"green\.png"):
        see(clip, pictures)


def test_ceiling_and_floor_stand_beside_every_system(clip, pictures):
    images, references = see(clip, pictures), ["red circle", "green circle", "blue circle"]
    measured = beside(clip, images, {"model": references, "copied": ["red square"] * 3}, references, prefix="")
    assert list(measured) == ["model", "copied", "reference", "another_reference"]
    assert measured["model"].figures() == measured["reference"].figures()
    texts = clip.texts(another(references))
    expected = (images.double() * texts.double()).sum(dim=1).mean().item()
    assert measured["another_reference"].figures()["cosine"].value == pytest.approx(expected, abs=1e-6)
    lost = measured["reference"].less(measured["another_reference"])
    own = (images.double() * clip.texts(references).double()).sum(dim=1).mean().item()
    assert lost["cosine"].value == pytest.approx(own - expected, abs=1e-6)


def test_one_caption_for_every_image_finds_none():
    images = vectors([1, 0], [0, 1], [-1, 0])
    names = ["a", "b", "c"]
    same = Read(vectors([1, 1], [1, 1], [1, 1]), [False] * 3)
    # the first two images are as near to it
    assert found(images, same, names, 10)["image_to_text"]["recall_1"] == 0
    assert found(images, same, names, 10)["text_to_image"]["recall_1"] == 0
    right = Read(images, [False] * 3)
    assert found(images, right, names, 10)["recall_1"] == 1
