"""Two conditions on the same rows: what the change costs, and how sure the rows are of it.

Rows that are right in both conditions, or in neither, say nothing about the difference; those that changed sides do.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from math import exp, lgamma, log, pi, sqrt, tan
from statistics import fmean, stdev

import numpy as np

from unspoken.evaluation.statistics import wilson


@dataclass(frozen=True, slots=True)
class Paired:
    """Rows by what they are under the first condition and under the second.

    Attributes:
        both: Right in both.
        only_first: Right in the first only.
        only_second: Right in the second only.
        neither: Right in neither.
    """

    both: int
    only_first: int
    only_second: int
    neither: int

    @property
    def n(self) -> int:
        """All rows."""
        return self.both + self.only_first + self.only_second + self.neither

    @property
    def cost(self) -> float:
        """Accuracy of the first condition less that of the second."""
        return (self.only_first - self.only_second) / self.n


def paired(first: Sequence[bool], second: Sequence[bool]) -> Paired:
    """Count the rows.

    Args:
        first: Whether each row is right under the first condition.
        second: The same rows under the second.

    Raises:
        ValueError: They are not equally many, or none.
    """
    if len(first) != len(second) or not first:
        raise ValueError(f"pairs need the same rows twice, at least one; found {len(first)} and {len(second)}")
    pairs = list(zip(map(bool, first), map(bool, second), strict=True))
    return Paired(*(pairs.count(pair) for pair in ((True, True), (True, False), (False, True), (False, False))))


def newcombe(counts: Paired, *, confidence: float = 0.95) -> tuple[float, float]:
    """Interval of the cost: the hybrid score interval of Newcombe 1998 (Statistics in Medicine 17:2635), method 10.

    It is made of the Wilson intervals of the two accuracies and of their correlation. Unlike the bootstrap it stays
    open where no row changed sides: few rows never prove that a change costs nothing.
    """
    n, a, b, c, d = counts.n, counts.both, counts.only_first, counts.only_second, counts.neither
    first, second = (a + b) / n, (a + c) / n
    low1, high1 = wilson(a + b, n, confidence=confidence)
    low2, high2 = wilson(a + c, n, confidence=confidence)
    margins = (a + b) * (c + d) * (a + c) * (b + d)
    product = a * d - b * c
    # with a continuity correction towards no correlation
    shrunk = max(product - n / 2, 0.0) if product > 0 else product
    phi = shrunk / sqrt(margins) if margins else 0.0
    down1, up1, down2, up2 = first - low1, high1 - first, second - low2, high2 - second
    below = sqrt(max(down1**2 - 2 * phi * down1 * up2 + up2**2, 0.0))
    above = sqrt(max(up1**2 - 2 * phi * up1 * down2 + down2**2, 0.0))
    return max(counts.cost - below, -1.0), min(counts.cost + above, 1.0)


def bootstrap(
    counts: Paired, *, confidence: float = 0.95, seed: int = 0, resamples: int = 10_000
) -> tuple[float, float]:
    """Percentile interval of the cost over resampled rows: one multinomial draw of the four counts a resample."""
    shares = np.array([counts.both, counts.only_first, counts.only_second, counts.neither]) / counts.n
    drawn = np.random.default_rng(seed).multinomial(counts.n, shares, size=resamples)
    tail = (1 - confidence) / 2
    low, high = np.quantile((drawn[:, 1] - drawn[:, 2]) / counts.n, [tail, 1 - tail])
    return float(low), float(high)


def mcnemar(counts: Paired) -> float:
    """Exact two-sided p value of no difference (McNemar 1947): of the rows that changed sides, half go either way."""
    n = counts.only_first + counts.only_second
    fewer = min(counts.only_first, counts.only_second)
    # from the likeliest term of the tail down, each in proportion to the one before
    log_term = lgamma(n + 1) - lgamma(fewer + 1) - lgamma(n - fewer + 1) - n * log(2)
    term = total = 1.0
    for k in range(fewer, 0, -1):
        term *= k / (n - k + 1)
        total += term
    return min(2 * exp(log_term) * total, 1.0)


def holm(ps: Sequence[float]) -> list[float]:
    """P values of a family of tests, corrected for their number (Holm 1979): all stay valid together."""
    corrected, largest = [0.0] * len(ps), 0.0
    for place, index in enumerate(sorted(range(len(ps)), key=lambda index: ps[index])):
        largest = max(largest, min((len(ps) - place) * ps[index], 1.0))
        corrected[index] = largest
    return corrected


def across_seeds(costs: Sequence[float], *, confidence: float = 0.95) -> tuple[float, tuple[float, float]]:
    """Mean over runs that differ in their seed, and its t interval: what another seed would be like, not another row.

    Raises:
        ValueError: There are fewer than two runs.
    """
    if len(costs) < 2:
        raise ValueError(f"an interval over seeds needs at least 2 runs, found {len(costs)}; train with other seeds")
    half = t_quantile(1 - (1 - confidence) / 2, len(costs) - 1) * stdev(costs) / sqrt(len(costs))
    return fmean(costs), (fmean(costs) - half, fmean(costs) + half)


def t_quantile(probability: float, degrees: int) -> float:
    """Quantile of Student's t distribution, to about nine digits.

    Args:
        probability: Between 0.5 and 1, without 1.
        degrees: Degrees of freedom, at least 1.
    """
    # with t = sqrt(degrees) tan(angle) the density becomes a power of the cosine, on a bounded interval
    scale = exp(lgamma((degrees + 1) / 2) - lgamma(degrees / 2)) / sqrt(pi)
    angles = np.linspace(0.0, 1.0, 2001)
    weights = np.ones_like(angles)
    weights[1:-1:2], weights[2:-1:2] = 4.0, 2.0  # Simpson's rule

    def below(angle: float) -> float:
        return 0.5 + scale * angle / 6000 * float(weights @ np.cos(angles * angle) ** (degrees - 1))

    low, high = 0.0, pi / 2
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if below(middle) < probability else (low, middle)
    return float(sqrt(degrees) * tan(low))
