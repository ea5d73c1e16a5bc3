"""What a model sees is taken away, and nothing else."""

from dataclasses import replace

import numpy as np
import pytest
from tests.laws.test_images import IMAGE, Array, seeing_row

from unspoken.errors import DataError
from unspoken.evaluation.image_controls import (
    image_controls,
    with_images_in_another_order,
    with_images_of_others,
    without_images,
)

PROMPTS = [seeing_row(np.random.default_rng(seed), images, thoughts) for seed, (images, thoughts) in enumerate(
    [(1, 2), (2, 0), (0, 3), (1, 1), (2, 4), (1, 0)]
)]  # fmt: skip


def test_without_images_the_words_and_the_thoughts_stay():
    for before, after in zip(PROMPTS, without_images(PROMPTS, IMAGE), strict=True):
        assert after.images == ()
        assert after.input_ids.tolist() == [token for token in before.input_ids.tolist() if token != IMAGE]
        assert len(after.labels) == len(after.input_ids)
        assert after.num_thoughts == before.num_thoughts
        if before.first_thought is not None:
            assert after.input_ids[after.first_thought] == before.input_ids[before.first_thought]


def test_a_blank_image_stands_in_the_place_of_each():
    blank = Array(np.zeros((4, 6), dtype=np.float32))
    shown = image_controls(IMAGE, blank)["blank_image"](PROMPTS)
    for before, after in zip(PROMPTS, shown, strict=True):
        assert after.images == (blank,) * len(before.images)
        assert np.array_equal(after.input_ids, before.input_ids)


def test_everyone_gets_the_images_of_another_and_each_set_is_used_once():
    for seed in range(5):
        shown = with_images_of_others(PROMPTS, seed)
        for before, after in zip(PROMPTS, shown, strict=True):
            assert len(after.images) == len(before.images)
            assert not before.images or after.images != before.images
        assert sorted(map(id, (image for each in shown for image in each.images))) == sorted(
            map(id, (image for each in PROMPTS for image in each.images))
        )


def test_a_row_without_a_partner_is_named():
    with pytest.raises(DataError, match="is the only one with 2 images"):
        with_images_of_others([PROMPTS[0], PROMPTS[1], PROMPTS[3]])


def test_the_order_of_images_is_another_one_by_the_id_of_the_row():
    rng = np.random.default_rng(7)
    prompts = [seeing_row(rng, images, 1) for images in [4] * 40 + [3, 2, 1, 0]]
    shown = image_controls(IMAGE, prompts[0].images[0])["shuffled_images"](prompts)
    for before, after in zip(prompts, shown, strict=True):
        assert sorted(map(id, after.images)) == sorted(map(id, before.images))
        assert (after.images != before.images) == (len(before.images) > 1)
        assert np.array_equal(after.input_ids, before.input_ids)
        assert (after.first_thought, after.num_thoughts) == (before.first_thought, before.num_thoughts)
    orders = {tuple(map(before.images.index, after.images)) for before, after in zip(prompts[:40], shown, strict=False)}
    assert len(orders) > 15
    # whatever other rows there are, and in whatever order
    backwards = with_images_in_another_order(prompts[::-1])[::-1]
    assert [each.images for each in backwards] == [each.images for each in shown]
    assert [each.images for each in with_images_in_another_order(prompts, seed=1)] != [each.images for each in shown]


def test_equal_images_have_no_other_order_and_are_not_the_same_object():
    one, other = Array(np.ones((4, 6), dtype=np.float32)), Array(np.zeros((4, 6), dtype=np.float32))
    again = Array(one.values.copy())
    row = seeing_row(np.random.default_rng(0), 3, 1)
    alike, apart = replace(row, images=(one, again, one)), replace(row, images=(one, again, other))
    kept, moved = with_images_in_another_order([alike, apart])
    assert kept.images == alike.images
    # where the one that differs stands is what counts
    for seed in range(20):
        (moved,) = with_images_in_another_order([apart], seed)
        assert moved.images.index(other) != 2
    with pytest.raises(DataError, match="no row has two different images to exchange; leave this control out"):
        with_images_in_another_order([alike, PROMPTS[0]])
