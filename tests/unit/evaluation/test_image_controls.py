"""What a model sees is taken away, and nothing else."""

import numpy as np
import pytest
from tests.laws.test_images import IMAGE, Array, seeing_row

from unspoken.errors import DataError
from unspoken.evaluation.image_controls import image_controls, with_images_of_others, without_images

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
