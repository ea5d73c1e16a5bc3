"""Retrieval counted by hand."""

from math import comb

import pytest
import torch

from unspoken.evaluation.retrieval import chance_at, places, retrieval, retrieval_table
from unspoken.evaluation.statistics import wilson


def vectors(*rows):
    return torch.nn.functional.normalize(torch.tensor(rows, dtype=torch.float), dim=-1)


def test_the_place_is_how_many_wrong_ones_are_as_alike():
    similarity = torch.tensor([[0.9, 0.1, 0.5], [0.9, 0.1, 0.5], [0.9, 0.1, 0.5]])
    assert places(similarity, torch.eye(3, dtype=torch.bool)) == [0, 2, 1]
    # of several right ones the best counts, and it is not beaten by the other
    both = torch.tensor([[True, False, True], [False, True, True], [True, False, True]])
    assert places(similarity, both) == [0, 1, 0]


def test_a_model_that_finds_all_alike_finds_nothing():
    assert places(torch.zeros(4, 4), torch.eye(4, dtype=torch.bool)) == [3, 3, 3, 3]
    found = retrieval(torch.ones(4, 2), torch.ones(4, 2), ["a", "b", "c", "d"], 10)
    assert found["image_to_text"]["recall_1"] == found["text_to_image"]["recall_1"] == 0


def test_shares_intervals_and_chance_of_four_pairs_by_hand():
    images = vectors([1, 0], [0, 1], [1, 1], [-1, 0])
    texts = vectors([1, 0], [1, 0.1], [1, 1.2], [-1, 0])
    # image 2 is nearest to text 3; text 2 is nearest to image 1
    found = retrieval(images, texts, ["a", "b", "c", "d"], 10)
    assert found["image_to_text"]["recall_1"] == found["text_to_image"]["recall_1"] == 3 / 4
    assert found["image_to_text"]["recall_5"] == 1
    assert found["image_to_text"]["interval_1"] == wilson(3, 4)
    assert found["recall_1"] == 3 / 4
    assert (found["chance_1"], found["chance_5"]) == (1 / 4, 1)
    assert (found["n"], found["candidates"]) == (4, 4)


def test_the_directions_are_not_the_same():
    images, texts = vectors([1, 0], [1, 0.5]), vectors([1, 0.4], [1, 2])
    # both texts are nearest to image 2, and both images to text 1
    found = retrieval(images, texts, ["a", "b"], 10)
    assert (found["image_to_text"]["recall_1"], found["text_to_image"]["recall_1"]) == (0.5, 0.5)
    texts = vectors([1, 0.4], [1, 0.6])
    found = retrieval(vectors([1, 0], [1, 0.1]), texts, ["a", "b"], 10)
    # both images are nearest to text 1, and both texts to image 2
    assert (found["image_to_text"]["recall_1"], found["text_to_image"]["recall_1"]) == (0.5, 0.5)
    found = retrieval(vectors([1, 0.5], [1, 0.55], [0, 1]), vectors([1, 0.5], [1, 9], [0, 1]), ["a", "b", "c"], 10)
    assert found["image_to_text"]["recall_1"] == 2 / 3
    assert found["text_to_image"]["recall_1"] == 2 / 3


def test_each_image_of_a_shared_caption_is_right_for_it():
    images, texts = vectors([1, 0], [1, 0.01], [0, 1]), vectors([1, 0], [1, 0], [0, 1])
    found = retrieval(images, texts, ["a", "a", "b"], 10)
    assert found["image_to_text"]["recall_1"] == found["text_to_image"]["recall_1"] == 1
    assert found["chance_1"] == pytest.approx((2 / 3 + 2 / 3 + 1 / 3) / 3)


def test_more_pairs_than_candidates_are_groups_of_about_one_size():
    # without groups the second half, a copy of the first, would tie with it
    one = vectors([1, 0], [0, 1], [-1, 0])
    twice, names = torch.cat([one, one]), ["a", "b", "c", "d", "e", "f"]
    assert retrieval(twice, twice, names, 6)["recall_1"] == 0
    found = retrieval(twice, twice, names, 5)
    assert (found["recall_1"], found["n"], found["candidates"], found["chance_1"]) == (1, 6, 3, pytest.approx(1 / 3))


@pytest.mark.parametrize(("at", "right", "candidates"), [(1, 1, 200), (5, 1, 200), (5, 2, 7), (5, 3, 4), (5, 7, 7)])
def test_chance_is_that_of_drawing_blindly(at, right, candidates):
    subsets = comb(candidates, min(at, candidates))
    missing = comb(candidates - right, min(at, candidates))
    assert chance_at(at, right, candidates) == pytest.approx(1 - missing / subsets)
    if right == 1:
        assert chance_at(at, right, candidates) == at / candidates


def test_the_table_shows_both_directions_and_chance():
    images = vectors([1, 0], [0, 1])
    assert retrieval_table(retrieval(images, images, ["a", "b"], 10)).splitlines() == [
        "direction           R@1  95% interval       R@5  95% interval         n",
        "image to text     1.000  [0.342, 1.000]   1.000  [0.342, 1.000]       2",
        "text to image     1.000  [0.342, 1.000]   1.000  [0.342, 1.000]       2",
        "chance            0.500                   1.000",
        "each sought among 2 pairs",
    ]
