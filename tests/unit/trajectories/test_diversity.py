"""Diversity of trajectories, worked by hand and against loops."""

from itertools import combinations

import pytest
import torch
from tests.conftest import tiny_model
from tests.laws.test_generate import prompts

from unspoken.trajectories import Chance, rollout
from unspoken.trajectories.diversity import (
    ThoughtPairs,
    agreement,
    distinct_share,
    specialisation,
    thought_pairs,
)


def drawn_by(counts, siblings=3, temperature=1.0):
    model = tiny_model("gpt2", source={"name": "gaussian", "scale": 0.5, "halt_after": 0})
    with torch.no_grad():
        model.model.thought_source.halting.bias.fill_(-0.7)
    return rollout(
        model,
        prompts(3, counts),
        siblings=siblings,
        chance=Chance(temperature=temperature),
        generator=torch.Generator().manual_seed(0),
        max_new_tokens=2,
    )


def test_pairs_are_those_of_siblings_that_both_think():
    drawn = drawn_by((4, 1, 3))
    found = thought_pairs(drawn)
    counts = drawn.num_thoughts.view(3, 3).tolist()
    assert len({tuple(each) for each in counts}) > 1
    assert found.counts[0] > found.counts[-1]
    for rank in range(drawn.thoughts.size(1)):
        pairs = [
            (drawn.thoughts[3 * question + one, rank], drawn.thoughts[3 * question + other, rank])
            for question in range(3)
            for one, other in combinations(range(3), 2)
            if counts[question][one] > rank and counts[question][other] > rank
        ]
        assert found.counts[rank] == len(pairs)
        distances = sum(float((one - other).norm()) for one, other in pairs)
        cosines = sum(float(one @ other / (one.norm() * other.norm())) for one, other in pairs)
        assert found.distances[rank] == pytest.approx(distances, rel=1e-5)
        assert found.cosines[rank] == pytest.approx(cosines, rel=1e-5)


def test_siblings_without_chance_think_the_same():
    found = thought_pairs(drawn_by((2, 2), temperature=0.0))
    assert found.counts == (6, 6)
    assert found.mean_distances() == pytest.approx([0.0, 0.0], abs=1e-5)
    assert found.mean_cosines() == pytest.approx([1.0, 1.0], abs=1e-6)


def test_sums_add_up_whatever_the_number_of_thoughts():
    found = ThoughtPairs((3, 1), (6.0, 1.0), (1.5, 0.5)) + ThoughtPairs((1, 0, 2), (2.0, 0.0, 5.0), (0.5, 0.0, 1.0))
    assert found == ThoughtPairs((4, 1, 2), (8.0, 1.0, 5.0), (2.0, 0.5, 1.0))
    assert found.mean_distances() == [2.0, 1.0, 2.5]
    assert found.mean_cosines() == [0.5, 0.5, 0.5]
    assert ThoughtPairs((0,), (0.0,), (0.0,)).mean_distances() == [None]
    assert ThoughtPairs() + found == found


def test_trajectories_without_thoughts_have_no_pairs_of_them():
    found = thought_pairs(drawn_by((0, 0)))
    assert (found.counts, found.mean_distances(), found.mean_cosines()) == ((), [], [])


def test_different_answers_are_counted_and_what_cannot_be_read_is_none():
    assert distinct_share(["a", "b", "a", None]) == 0.5
    assert distinct_share([None, None]) == 0.0


def test_agreement_is_between_pairs_that_said_something():
    assert agreement(["a", "a", "a", "b"]) == 0.5  # 3 of 6 pairs
    assert agreement(["a", None, None]) == 0.0
    with pytest.raises(ValueError, match="found 1; draw at least 2"):
        agreement(["a"])


def test_who_is_right_alone_is_a_specialist():
    found = specialisation([(True, False, False), (True, True, False), (False, True, False), (True, False, False)])
    assert found.accuracy == (0.75, 0.5, 0.0)
    assert found.alone == (0.5, 0.25, 0.0)
