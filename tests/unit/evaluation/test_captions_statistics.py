"""Intervals over rows: against exact ones, against the plain way, and how often they hold the truth."""

from collections import Counter

import numpy as np
import pytest

from unspoken.evaluation.captions.statistics import Distinct, Share, Summed, mean, ratio
from unspoken.evaluation.paired import newcombe, paired
from unspoken.evaluation.statistics import wilson


def things(*rows):
    return Distinct([Counter((name,) for name in row) for row in rows])


def test_the_interval_of_a_mean_is_that_of_its_normal_limit():
    values = np.random.default_rng(0).normal(3, 2, size=900)
    found = mean(values.tolist()).figure()
    half = 1.96 * values.std() / 30
    assert found.value == pytest.approx(values.mean())
    assert found.interval == (
        pytest.approx(values.mean() - half, abs=0.02),
        pytest.approx(values.mean() + half, abs=0.02),
    )


def test_a_paired_difference_is_surer_than_the_figures():
    rng = np.random.default_rng(1)
    hard = rng.normal(0, 1, size=200)
    one, other = mean((hard + 0.1 + rng.normal(0, 0.1, size=200)).tolist()), mean(hard.tolist())
    low, high = one.less(other).interval
    assert 0.05 < low < one.less(other).value < high < 0.15
    assert one.figure().interval[0] < other.figure().interval[1]
    # the same rows are drawn for both: from itself a system differs by nothing
    assert one.less(one).interval == (0, 0)


def test_a_ratio_is_of_sums():
    found = ratio([1, 8], [2, 2]).figure()
    assert found.value == 9 / 4
    assert found.interval == (1 / 2, 4)


def test_many_rows_are_drawn_in_blocks_of_the_same_resamples():
    values = list(range(3_000))
    low, high = mean(values).figure().interval
    half = 1.96 * 3_000 / 12**0.5 / 3_000**0.5
    assert low == pytest.approx(1499.5 - half, abs=4)
    assert high == pytest.approx(1499.5 + half, abs=4)


def test_shares_have_the_intervals_of_accuracies():
    one, other = Share([True] * 8 + [False] * 2), Share([True] * 5 + [False] * 5)
    assert (one.figure().value, one.figure().interval) == (0.8, wilson(8, 10))
    found = one.less(other)
    assert found.value == pytest.approx(0.3)
    assert found.interval == newcombe(paired(one.holds, other.holds))
    # unlike a resampled one it stays open
    assert Share([True] * 5).figure().interval[0] < 0.6


def test_distinct_things_by_hand():
    # without row 1: c b of 3; without row 2: a b of 3; without row 3: a b c of 4
    found = things("ab", "cb", "b").figure()
    assert found.value == 3 / 5
    without = np.array([2 / 3, 2 / 3, 3 / 4])
    half = 1.959964 * np.sqrt(2 / 3 * ((without - without.mean()) ** 2).sum())
    assert found.interval == (pytest.approx(3 / 5 - half, abs=1e-6), pytest.approx(3 / 5 + half, abs=1e-6))
    lost = things("ab", "cb", "b").less(things("xy", "xy", "z"))
    assert lost.value == 0
    apart = without - np.array([1, 1, 2 / 4])
    half = 1.959964 * np.sqrt(2 / 3 * ((apart - apart.mean()) ** 2).sum())
    assert lost.interval == (pytest.approx(-half, abs=1e-6), pytest.approx(half, abs=1e-6))
    assert things("", "").figure().value == 0


def test_intervals_of_distinct_things_hold_the_truth_where_resampling_would_not():
    rng = np.random.default_rng(0)
    shares = 1 / np.arange(1, 101)
    drawn = [things(*rng.choice(100, size=(30, 5), p=shares / shares.sum()).tolist()) for _ in range(150)]
    figures = [each.figure() for each in drawn]
    truth = np.mean([each.value for each in figures])
    assert np.mean([low <= truth <= high for low, high in (each.interval for each in figures)]) > 0.93
    again = [things(*drawn[0].held and [[*drawn[0].held[row].elements()] for row in rng.choice(30, size=30)])]
    assert again[0].figure().value < figures[0].value - 0.03, "a resampled row adds nothing new"


def test_rows_must_be_the_same():
    for one, other in [(mean([1, 2]), mean([1, 2, 3])), (things("a", "b"), things("a"))]:
        with pytest.raises(ValueError, match="a difference needs the same rows twice, found 2 and"):
            one.less(other)
    with pytest.raises(ValueError, match="pairs need the same rows twice"):
        Share([True, False]).less(Share([True]))


def test_any_function_of_sums_is_resampled():
    rows = np.array([[1.0, 1.0], [3.0, 1.0], [5.0, 1.0]])
    squared = Summed(rows, lambda sums: (sums[:, 0] / sums[:, 1]) ** 2).figure()
    plainly = mean([1, 3, 5]).figure()
    assert squared.value == 9
    assert squared.interval == (pytest.approx(plainly.interval[0] ** 2), pytest.approx(plainly.interval[1] ** 2))
