"""From predictions to numbers with their uncertainty."""

from collections import Counter
from collections.abc import Iterable, Sequence
from math import sqrt
from statistics import NormalDist, fmean

from unspoken.records import Evaluation, Example, Prediction


def wilson(num_right: float, n: int, *, confidence: float = 0.95) -> tuple[float, float]:
    """Wilson interval of a share (Wilson 1927); good for small n and for shares near 0 or 1.

    Of credits between 0 and 1 `num_right` is the sum: they vary at most as much as zeros and ones with the same mean
    do, so the interval of their mean is at least as wide as it need be.

    Raises:
        ValueError: `n` is not positive.
    """
    if n < 1:
        raise ValueError(f"an accuracy needs at least one row, found {n}")
    z = NormalDist().inv_cdf(1 - (1 - confidence) / 2)
    share, z2 = num_right / n, z * z
    centre = (share + z2 / (2 * n)) / (1 + z2 / n)
    half = z * sqrt(share * (1 - share) / n + z2 / (4 * n * n)) / (1 + z2 / n)
    # at the ends the exact bound is the end itself; rounding must not push it past the share
    low = 0.0 if num_right == 0 else max(centre - half, 0.0)
    high = 1.0 if num_right == n else min(centre + half, 1.0)
    return low, high


def aggregate(predictions: Sequence[Prediction]) -> Evaluation:
    """The figures of one condition.

    Raises:
        ValueError: There is no prediction.
    """
    n = len(predictions)
    num_right = sum(prediction.verdict == "right" for prediction in predictions)
    interval = wilson(num_right, n)
    weighed = _mean(each.likeliest == each.expected for each in predictions if each.likeliest is not None)
    credited = _mean(each.credit for each in predictions if each.credit is not None)
    return Evaluation(
        accuracy=num_right / n,
        interval=interval,
        n=n,
        num_right=num_right,
        num_unanswered=sum(prediction.verdict == "no answer" for prediction in predictions),
        tokens_per_answer=sum(prediction.num_tokens for prediction in predictions) / n,
        thoughts_per_answer=sum(prediction.num_thoughts for prediction in predictions) / n,
        passes_per_answer=sum(prediction.num_passes for prediction in predictions) / n,
        choice_accuracy=weighed[0],
        choice_interval=weighed[1],
        choice_n=weighed[2],
        soft_accuracy=credited[0],
        soft_interval=credited[1],
        soft_n=credited[2],
    )


def _mean(credits: Iterable[float]) -> tuple[float, tuple[float, float], int] | tuple[None, None, None]:
    values = list(credits)
    if not values:
        return None, None, None
    return fmean(values), wilson(sum(values), len(values)), len(values)


def chance(examples: Sequence[Example]) -> float | None:
    """Expected accuracy of a guess among the choices of each row; None where no row offers any."""
    shares = [each.choices.count(each.answer) / len(each.choices) for each in examples if each.choices]
    return fmean(shares) if shares else None


def majority(examples: Sequence[Example]) -> float | None:
    """Accuracy of the best answer that ignores the question: one place among the choices, or one text, for all rows.

    It is the best on these very rows, which flatters it a little. None where no row offers choices.
    """
    offered = [each for each in examples if each.choices]
    if not offered:
        return None
    places = Counter(place for each in offered for place, text in enumerate(each.choices) if text == each.answer)
    texts = Counter(each.answer for each in offered)
    return max(*places.values(), *texts.values()) / len(offered)
