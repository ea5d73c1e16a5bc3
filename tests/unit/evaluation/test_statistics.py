"""From predictions to numbers with their uncertainty."""

from dataclasses import replace
from math import sqrt

import numpy as np
import pytest

from unspoken.evaluation.statistics import aggregate, chance, majority, wilson
from unspoken.records import Example, Prediction

Z95 = 1.959963984540054

# Newcombe (1998), Statistics in Medicine 17:857-872, table I, method 3: the score method without correction
PUBLISHED = [(81, 263, 0.2553, 0.3662), (15, 148, 0.0624, 0.1605), (0, 20, 0.0, 0.1611), (1, 29, 0.0061, 0.1718)]


@pytest.mark.parametrize(("right", "n", "low", "high"), PUBLISHED)
def test_the_interval_is_the_published_one(right, n, low, high):
    assert wilson(right, n) == pytest.approx((low, high), abs=5e-5)


@pytest.mark.parametrize(("right", "n"), [(8, 10), (1, 2), (299, 300), (1, 1319), (500, 1000)])
def test_at_each_end_the_observed_share_is_just_1_96_standard_errors_away(right, n):
    """What the interval means: the shares p with |p - right / n| <= z sqrt(p (1 - p) / n)."""
    for end in wilson(right, n):
        assert abs(end - right / n) == pytest.approx(Z95 * sqrt(end * (1 - end) / n), rel=1e-9)


@pytest.mark.parametrize("n", [1, 2, 10, 300, 10**6])
def test_none_right_begins_at_0_and_all_right_ends_at_1_exactly(n):
    z2 = Z95**2
    low, high = wilson(0, n)
    assert low == 0.0
    assert high == pytest.approx(z2 / (n + z2))
    low, high = wilson(n, n)
    assert low == pytest.approx(n / (n + z2))
    assert high == 1.0


def test_one_row_says_little():
    assert wilson(0, 1) == pytest.approx((0.0, 0.7935), abs=5e-5)
    assert wilson(1, 1) == pytest.approx((0.2065, 1.0), abs=5e-5)


def test_the_interval_holds_the_share_and_stays_within_0_and_1():
    for n in (1, 2, 3, 7, 50, 1319):
        for right in range(n + 1):
            low, high = wilson(right, n)
            assert 0.0 <= low <= right / n <= high <= 1.0
            mirrored = wilson(n - right, n)
            assert (low, high) == pytest.approx((1 - mirrored[1], 1 - mirrored[0]), abs=1e-12)


@pytest.mark.parametrize("n", [0, -1])
def test_no_rows_have_no_accuracy(n):
    with pytest.raises(ValueError, match="at least one row"):
        wilson(0, n)


def prediction(verdict, *, tokens=1, thoughts=0, passes=1):
    return Prediction("x", "q", "a", "t", None, verdict, thoughts, tokens, passes)


def test_the_figures_of_a_condition_are_counts_shares_and_means():
    figures = aggregate(
        [
            prediction("right", tokens=4, thoughts=2, passes=6),
            prediction("wrong", tokens=2, thoughts=1, passes=3),
            prediction("no answer", tokens=10, thoughts=0, passes=10),
            prediction("right", tokens=4, thoughts=3, passes=8),
            prediction("no answer", tokens=5, thoughts=0, passes=5),
        ]
    )
    assert (figures.n, figures.num_right, figures.num_unanswered) == (5, 2, 2)
    assert figures.accuracy == pytest.approx(2 / 5)  # rows without an answer are in the denominator
    assert figures.interval == wilson(2, 5)
    assert figures.tokens_per_answer == pytest.approx(25 / 5)
    assert figures.thoughts_per_answer == pytest.approx(6 / 5)
    assert figures.passes_per_answer == pytest.approx(32 / 5)


def test_an_accuracy_of_nothing_is_an_error():
    with pytest.raises(ValueError, match="at least one row"):
        aggregate([])


# ---- choices


def test_the_likeliest_choice_is_right_when_it_is_the_answer_and_credits_are_averaged():
    rows = [prediction("wrong"), prediction("right"), prediction("no answer"), prediction("wrong")]
    found = [("a", 1.0), ("b", 1 / 3), ("a", 0.0), ("a", None)]
    rows = [replace(row, likeliest=choice, credit=credit) for row, (choice, credit) in zip(rows, found, strict=True)]
    figures = aggregate(rows)
    assert figures.accuracy == 0.25, "what is written is counted as before"
    assert (figures.choice_accuracy, figures.choice_interval, figures.choice_n) == (0.75, wilson(3, 4), 4)
    assert figures.soft_accuracy == pytest.approx(4 / 9)
    assert figures.soft_n == 3
    assert figures.soft_interval == pytest.approx(wilson(4 / 3, 3))


def test_without_choices_and_annotators_there_are_no_such_figures():
    figures = aggregate([prediction("right")])
    assert figures.choice_accuracy is figures.choice_interval is figures.choice_n is None
    assert figures.soft_accuracy is figures.soft_interval is figures.soft_n is None


@pytest.mark.parametrize("shares", [(0.7, 0.1, 0.1, 0.1), (0.3, 0.1, 0.2, 0.4), (0.02, 0.03, 0.15, 0.8)])
def test_the_interval_of_a_mean_credit_covers_it_at_least_95_times_in_100(shares):
    values = np.array([0.0, 0.3, 0.6, 1.0])
    means = np.random.default_rng(0).choice(values, p=shares, size=(2000, 100)).mean(axis=1)
    ends = [wilson(100 * mean, 100) for mean in means]
    covered = np.mean([low <= values @ shares <= high for low, high in ends])
    assert covered >= 0.94  # 95% less two standard errors of 2,000 draws


def choosing(choices, answer):
    return Example("row", "?", (), answer, choices=tuple(choices))


def test_a_guess_is_right_as_often_as_choices_are_the_answer():
    rows = [choosing("abc", "a"), choosing("ab", "b"), choosing("abbc", "b")]
    assert chance(rows) == pytest.approx((1 / 3 + 1 / 2 + 2 / 4) / 3)
    assert chance([Example("row", "?", (), "a")]) is None
    assert chance([*rows, Example("row", "?", (), "a")]) == chance(rows)


def test_the_majority_is_the_best_place_or_the_best_text():
    by_place = [choosing("abcd", "b"), choosing("wxyz", "x"), choosing("abcd", "c"), choosing("ij", "j")]
    assert majority(by_place) == 3 / 4
    by_text = [choosing("ab", "a"), choosing("ba", "a"), choosing("ca", "a"), choosing("cd", "d")]
    assert majority(by_text) == 3 / 4
    # of equal choices both places are right
    assert majority([choosing("abb", "b"), choosing("xyz", "z")]) == 1.0
    assert majority([Example("row", "?", (), "a")]) is None
