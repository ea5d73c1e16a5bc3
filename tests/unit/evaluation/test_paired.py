"""Paired statistics: checked against scipy and statsmodels on random tables, and by simulation."""

import math

import numpy as np
import pytest
from scipy import stats
from statsmodels.stats.contingency_tables import mcnemar as reference_mcnemar
from statsmodels.stats.multitest import multipletests
from statsmodels.stats.proportion import proportion_confint

from unspoken.evaluation.paired import Paired, across_seeds, bootstrap, holm, mcnemar, newcombe, paired, t_quantile
from unspoken.evaluation.statistics import wilson

RNG = np.random.default_rng(0)
TABLES = [
    Paired(*(int(n) for n in RNG.multinomial(RNG.integers(1, 400), RNG.dirichlet((2, 1, 1, 1))))) for _ in range(60)
]


def rows_of(counts):
    """The rows behind the counts: right under the first condition, right under the second."""
    pairs = [(1, 1)] * counts.both + [(1, 0)] * counts.only_first + [(0, 1)] * counts.only_second
    return np.array([*pairs, *[(0, 0)] * counts.neither]).T


def test_rows_are_counted_by_what_they_are_in_both_conditions():
    first = [True, True, False, False, True]
    second = [True, False, True, False, False]
    assert paired(first, second) == Paired(both=1, only_first=2, only_second=1, neither=1)
    assert paired(first, second).cost == pytest.approx((3 - 2) / 5)


@pytest.mark.parametrize(("first", "second"), [([], []), ([True], [True, False])])
def test_other_rows_are_refused(first, second):
    with pytest.raises(ValueError, match="same rows twice"):
        paired(first, second)


@pytest.mark.parametrize("confidence", [0.8, 0.95, 0.99])
@pytest.mark.parametrize("counts", TABLES[:20])
def test_wilson_is_that_of_statsmodels(counts, confidence):
    expected = proportion_confint(counts.both, counts.n, alpha=1 - confidence, method="wilson")
    assert wilson(counts.both, counts.n, confidence=confidence) == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("counts", TABLES)
def test_mcnemar_is_that_of_statsmodels(counts):
    table = [[counts.both, counts.only_first], [counts.only_second, counts.neither]]
    assert mcnemar(counts) == pytest.approx(reference_mcnemar(table, exact=True).pvalue, rel=1e-9)


def test_mcnemar_of_many_rows_does_not_overflow():
    assert mcnemar(Paired(0, 30_000, 10_000, 0)) == 0.0
    assert mcnemar(Paired(0, 20_000, 20_000, 0)) == 1.0


@pytest.mark.parametrize("seed", range(20))
def test_holm_is_that_of_statsmodels(seed):
    rng = np.random.default_rng(seed)
    ps = (rng.random(rng.integers(1, 15)) ** 3).tolist()
    assert holm(ps) == pytest.approx(multipletests(ps, method="holm")[1].tolist(), abs=1e-12)


def test_holm_of_nothing_is_nothing():
    assert holm([]) == []


@pytest.mark.parametrize("counts", [table for table in TABLES if table.n > 50][:8])
def test_the_bootstrap_is_that_of_scipy(counts):
    first, second = rows_of(counts)
    expected = stats.bootstrap(
        ((first - second).astype(float),), np.mean, n_resamples=10_000, method="percentile", random_state=1
    ).confidence_interval
    assert bootstrap(counts) == pytest.approx((expected.low, expected.high), abs=0.006)
    assert bootstrap(counts) == bootstrap(counts)


@pytest.mark.parametrize("counts", TABLES)
def test_the_interval_holds_the_cost_and_lies_among_the_possible_ones(counts):
    low, high = newcombe(counts)
    assert -1 <= low <= counts.cost <= high <= 1
    wide_low, wide_high = newcombe(counts, confidence=0.99)
    assert wide_low <= low
    assert high <= wide_high


def test_swapping_the_conditions_turns_the_interval_round():
    low, high = newcombe(Paired(40, 20, 7, 33))
    assert newcombe(Paired(40, 7, 20, 33)) == pytest.approx((-high, -low))


def test_the_interval_is_made_of_those_of_the_accuracies_when_they_are_independent():
    """Without correlation it is the square-root rule for two independent shares, Newcombe's method 10 of 1998."""
    counts = Paired(25, 25, 25, 25)
    low, high = wilson(50, 100)
    half = math.hypot(0.5 - low, high - 0.5)
    assert newcombe(counts) == pytest.approx((-half, half))


@pytest.mark.parametrize("n", [10, 100, 1000])
def test_rows_that_all_stay_as_they_are_never_prove_that_there_is_no_cost(n):
    """The bootstrap collapses to a point; the score interval stays open and closes with the number of rows."""
    counts = Paired(n, 0, 0, 0)
    assert bootstrap(counts) == (0.0, 0.0)
    low, high = newcombe(counts)
    assert low < 0 < high
    assert high == pytest.approx(1.96**2 / (n + 1.96**2), rel=0.01)


def test_the_interval_covers_the_true_cost():
    rng, misses = np.random.default_rng(0), 0
    for _ in range(2000):
        shares = rng.dirichlet((6, 1, 1, 2))
        counts = Paired(*(int(count) for count in rng.multinomial(150, shares)))
        low, high = newcombe(counts)
        misses += not low <= shares[1] - shares[2] <= high
    assert 0.02 < misses / 2000 < 0.065


@pytest.mark.parametrize("degrees", [1, 2, 3, 4, 9, 30, 200])
@pytest.mark.parametrize("probability", [0.6, 0.9, 0.975, 0.995])
def test_t_quantiles_are_those_of_scipy(probability, degrees):
    assert t_quantile(probability, degrees) == pytest.approx(stats.t.ppf(probability, degrees), rel=1e-8)


def test_seeds_are_summed_up_by_a_t_interval():
    costs = [0.61, 0.58, 0.66, 0.70]
    mean, (low, high) = across_seeds(costs)
    expected = stats.t.interval(0.95, 3, loc=np.mean(costs), scale=stats.sem(costs))
    assert (mean, low, high) == pytest.approx((np.mean(costs), *expected))
    with pytest.raises(ValueError, match="at least 2 runs"):
        across_seeds([0.5])


def test_of_1000_experiments_without_any_effect_at_most_6_in_100_raise_an_alarm():
    """12 interventions that only shuffle which rows are right, on 300 rows: an alarm is any p below 5% after Holm."""
    rng = np.random.default_rng(0)
    corrected = uncorrected = 0
    for _ in range(1000):
        ps = []
        for _ in range(12):
            changed = rng.binomial(300, 0.15)
            worse = rng.binomial(changed, 0.5)
            ps.append(mcnemar(Paired(200, int(worse), int(changed - worse), 300 - 200 - int(changed))))
        corrected += min(holm(ps)) < 0.05
        uncorrected += min(ps) < 0.05
    assert corrected / 1000 <= 0.06
    assert uncorrected / 1000 > 0.2, "without the correction the alarms are many: the experiment can fail"


def test_a_true_cost_of_10_points_is_found_among_12():
    rng, found = np.random.default_rng(1), 0
    for _ in range(300):
        ps = [1.0] * 11
        worse, better = rng.multinomial(300, [0.15, 0.05, 0.8])[:2]
        ps.append(mcnemar(Paired(150, int(worse), int(better), 150 - int(worse + better))))
        found += holm(ps)[-1] < 0.05
    assert found / 300 > 0.75
