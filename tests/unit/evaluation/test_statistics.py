"""From predictions to numbers with their uncertainty."""

from math import sqrt

import pytest

from unspoken.evaluation.statistics import aggregate, wilson
from unspoken.records import Prediction

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
