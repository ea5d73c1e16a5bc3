"""Figures for N trajectories, worked by hand."""

from math import log

import pytest

from unspoken.evaluation.scaling import Compute, Judged, figures
from unspoken.evaluation.statistics import wilson
from unspoken.trajectories.fusion import Candidate

POLICY = Compute(thinks_once=False, extra_passes=lambda count: count)


def judged(answers, gold, *, likelihoods=None, values=None, thoughts=None):
    count = len(answers)
    likelihoods, values, thoughts = likelihoods or [0.5] * count, values or [None] * count, thoughts or [3] * count
    answers = [None if answer == "?" else answer for answer in answers]
    found = [
        Candidate(str(answer), answer, 2 * log(likelihood), 2, value, number, False)
        for answer, likelihood, value, number in zip(answers, likelihoods, values, thoughts, strict=True)
    ]
    return Judged(tuple(found), tuple(answer == gold for answer in answers))


QUESTIONS = [
    judged("aaba", "a", likelihoods=[0.2, 0.3, 0.8, 0.4], thoughts=[1, 2, 3, 4]),
    judged("bcac", "a", likelihoods=[0.1, 0.1, 0.8, 0.1]),
    judged("????", "a"),
]


def accuracies(size, questions=QUESTIONS):
    return {name: each["accuracy"] for name, each in figures(size, questions, POLICY).items() if isinstance(each, dict)}


def test_four_trajectories_are_one_group_of_four():
    # the first question: a by vote, b by likelihood (0.8), a by weight (0.9 against 0.8)
    # the second: c by vote, a by likelihood (0.8) and by weight (0.8 against 0.2)
    assert accuracies(4) == pytest.approx(
        {"single": (3 / 4 + 1 / 4) / 3, "vote": 1 / 3, "likelihood": 1 / 3, "weighted": 2 / 3, "oracle": 2 / 3}
    )


def test_two_are_the_mean_over_both_groups():
    # first question: aa, ba; by likelihood and vote (0.8 breaks the tie): right, wrong
    # second: bc, ac: wrong, right (0.8)
    found = accuracies(2)
    assert found == pytest.approx(
        {"single": 1 / 3, "vote": 1 / 3, "likelihood": 1 / 3, "weighted": 1 / 3, "oracle": (1 + 1 / 2) / 3}
    )


def test_one_is_itself_by_every_way_and_three_leave_one_out():
    assert set(accuracies(1).values()) == {1 / 3}
    assert accuracies(3)["oracle"] == pytest.approx(2 / 3)
    assert accuracies(3)["single"] == pytest.approx((2 / 3 + 1 / 3) / 3)


def test_values_are_used_where_all_trajectories_have_one():
    valued = [judged("ab", "a", values=[0.0, 1.0]), judged("ab", "a", values=[1.0, 0.0])]
    assert accuracies(2, valued)["value"] == 0.5
    assert "value" not in accuracies(2, [*valued, judged("ab", "a", values=[1.0, None])])


def test_compute_is_counted_over_all_trajectories():
    found = figures(4, QUESTIONS, POLICY)
    assert found["thoughts_per_question"] == pytest.approx((10 + 12 + 12) / 3)
    assert found["tokens_per_question"] == 8
    assert found["passes_per_question"] == pytest.approx((18 + 20 + 20) / 3)
    assert figures(2, QUESTIONS, POLICY)["passes_per_question"] == pytest.approx((18 + 20 + 20) / 6)
    once = figures(4, QUESTIONS[1:], Compute(thinks_once=True, extra_passes=lambda count: 2 if count else 0))
    assert (once["thoughts_per_question"], once["passes_per_question"]) == (3, 2 + 8)


def test_answers_are_compared_within_their_group():
    found = figures(4, QUESTIONS, POLICY)
    assert found["distinct_answers"] == pytest.approx((2 / 4 + 3 / 4 + 0) / 3)
    assert found["agreement"] == pytest.approx((3 / 6 + 1 / 6 + 0) / 3)
    assert figures(2, QUESTIONS, POLICY)["agreement"] == pytest.approx((0.5 + 0 + 0) / 3)
    assert figures(1, QUESTIONS, POLICY)["agreement"] is None


def test_credits_between_right_and_wrong_make_nobody_surer():
    """One question of 20 that is worth a little less than the others."""
    low, high = figures(1, [judged("aa", "a")] * 19 + [judged("ab", "a")], POLICY)["single"]["interval"]
    assert low == pytest.approx(wilson(19.5, 20)[0])
    assert wilson(19, 20)[0] < low < wilson(20, 20)[0] < high
    assert figures(1, [judged("ab", "a")] * 20, POLICY)["single"]["interval"] == wilson(10, 20)
