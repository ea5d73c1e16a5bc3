"""A figure over rows with its 95% interval, and the difference between two systems that answered the same rows.

The rows are resampled, not the seeds of training: the intervals say what other rows would give.

Shapes: N rows, S sums, R resamples.
"""

from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from math import sqrt
from statistics import NormalDist
from typing import Self

import numpy as np
import numpy.typing as npt

from unspoken.evaluation.paired import newcombe, paired
from unspoken.evaluation.statistics import wilson

Array = npt.NDArray[np.float64]

RESAMPLES = 2_000
SEED = 0
"""Of the resampling: all statistics of as many rows draw the same rows, which makes differences paired."""
_TAIL = 0.025
_AT_ONCE = 2**22  # numbers of one block of resamples


@dataclass(frozen=True, slots=True)
class Figure:
    """A number and its 95% interval.

    Attributes:
        value: Over all rows.
        interval: Its ends.
    """

    value: float
    interval: tuple[float, float]


class Statistic(ABC):
    """What is known about every row, and the figure that comes of it."""

    @abstractmethod
    def figure(self) -> Figure:
        """Over all rows."""

    @abstractmethod
    def less(self, other: Self) -> Figure:
        """This less another one of the same rows."""


@dataclass(frozen=True, slots=True, eq=False)
class Summed(Statistic):
    """A function of sums over the rows; its interval holds the middle 95% of its values on resampled rows.

    Where no row differs from another, the interval is the value: resampling cannot know what other rows there are.

    Attributes:
        rows: What each row adds, (N, S).
        of: Sums (R, S) to figures (R,).
    """

    rows: Array
    of: Callable[[Array], Array]

    def figure(self) -> Figure:
        """Over all rows."""
        return Figure(self._value(), _middle(self._resampled()))

    def less(self, other: Self) -> Figure:
        """This less another one, both on the same resampled rows.

        Raises:
            ValueError: They are not of equally many rows.
        """
        _refuse_other_rows(len(self.rows), len(other.rows))
        return Figure(self._value() - other._value(), _middle(self._resampled() - other._resampled()))

    def _value(self) -> float:
        return float(self.of(self.rows.sum(axis=0, keepdims=True))[0])

    def _resampled(self) -> Array:
        return np.concatenate([self.of(counts_RN @ self.rows) for counts_RN in _draws(len(self.rows))])


def mean(values: Sequence[float]) -> Summed:
    """The mean over rows."""
    return ratio(values, [1.0] * len(values))


def ratio(above: Sequence[float], below: Sequence[float]) -> Summed:
    """The sum of one number of each row over the sum of another."""
    return Summed(np.array([above, below], dtype=np.float64).T, lambda sums_RS: sums_RS[:, 0] / sums_RS[:, 1])


@dataclass(frozen=True, slots=True, eq=False)
class Share(Statistic):
    """The share of rows of which something holds: intervals of Wilson, and of Newcombe for a difference.

    Attributes:
        holds: Of which rows.
    """

    holds: Sequence[bool]

    def figure(self) -> Figure:
        """Over all rows."""
        return Figure(sum(self.holds) / len(self.holds), wilson(sum(self.holds), len(self.holds)))

    def less(self, other: Self) -> Figure:
        """This less another one.

        Raises:
            ValueError: They are not of equally many rows.
        """
        counts = paired(self.holds, other.holds)
        return Figure(counts.cost, newcombe(counts))


@dataclass(frozen=True, slots=True, eq=False)
class Distinct(Statistic):
    """Different things over all things that the rows hold.

    A resampled row comes twice and adds nothing new, so resampling would find too few different ones. The interval is
    that of the jackknife instead: the variance over leaving out each row, which on average is not too small (Efron and
    Stein 1981).

    Attributes:
        held: The things of each row, each with how often it holds them.
    """

    held: Sequence[Counter[tuple[str, ...]]]

    def figure(self) -> Figure:
        """Over all rows."""
        value, without_N = self._jackknife()
        half = _half_width(without_N)
        return Figure(value, (max(value - half, 0.0), min(value + half, 1.0)))

    def less(self, other: Self) -> Figure:
        """This less another one, with the same row left out of both.

        Raises:
            ValueError: They are not of equally many rows.
        """
        _refuse_other_rows(len(self.held), len(other.held))
        (one, one_N), (two, two_N) = self._jackknife(), other._jackknife()
        half = _half_width(one_N - two_N)
        return Figure(one - two, (max(one - two - half, -1.0), min(one - two + half, 1.0)))

    def _jackknife(self) -> tuple[float, Array]:
        """The value, and that without each row, (N,)."""
        num_rows = Counter(thing for things in self.held for thing in things)
        only_N = np.array([sum(num_rows[thing] == 1 for thing in things) for things in self.held])
        all_N = np.array([things.total() for things in self.held])
        total = int(all_N.sum())
        # rows without a single one are as uniform as can be
        return len(num_rows) / max(total, 1), (len(num_rows) - only_N) / np.maximum(total - all_N, 1)


def _half_width(without_N: Array) -> float:
    n = len(without_N)
    variance = (n - 1) / n * float(((without_N - without_N.mean()) ** 2).sum())
    return NormalDist().inv_cdf(1 - _TAIL) * sqrt(variance)


def _draws(n: int) -> Iterator[Array]:
    """How often each row comes in each resample, (R, N), block by block."""
    rng = np.random.default_rng(SEED)
    block = max(1, _AT_ONCE // n)
    for start in range(0, RESAMPLES, block):
        rows_RN = rng.integers(n, size=(min(block, RESAMPLES - start), n))
        places = rows_RN + n * np.arange(len(rows_RN))[:, None]
        yield np.bincount(places.ravel(), minlength=rows_RN.size).reshape(rows_RN.shape).astype(np.float64)


def _middle(values_R: Array) -> tuple[float, float]:
    low, high = np.quantile(values_R, [_TAIL, 1 - _TAIL])
    return float(low), float(high)


def _refuse_other_rows(one: int, other: int) -> None:
    if one != other:
        raise ValueError(f"a difference needs the same rows twice, found {one} and {other}")
