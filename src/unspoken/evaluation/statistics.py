"""From predictions to numbers with their uncertainty."""

from collections.abc import Sequence
from math import sqrt
from statistics import NormalDist

from unspoken.records import Evaluation, Prediction


def wilson(num_right: int, n: int, *, confidence: float = 0.95) -> tuple[float, float]:
    """Wilson interval of a share (Wilson 1927); good for small n and for shares near 0 or 1.

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
    return Evaluation(
        accuracy=num_right / n,
        interval=interval,
        n=n,
        num_right=num_right,
        num_unanswered=sum(prediction.verdict == "no answer" for prediction in predictions),
        tokens_per_answer=sum(prediction.num_tokens for prediction in predictions) / n,
        thoughts_per_answer=sum(prediction.num_thoughts for prediction in predictions) / n,
        passes_per_answer=sum(prediction.num_passes for prediction in predictions) / n,
    )
