"""Are the thoughts needed? One answer from several ways to take away what they say.

Zeros, or no slots at all, are inputs that the model has never seen: they can break one that ignores what its thoughts
say. Another question's thoughts are inputs it knows, but they can mislead a model that would do without any. So
thoughts count as needed only if *every* replacement costs more than the margin, and as not needed if *some* replacement
costs at most the margin. The intervals hold together for all replacements (Bonferroni); in between is "undecided".
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from unspoken.audit.outcome import Outcome
from unspoken.evaluation.paired import newcombe


@dataclass(frozen=True, slots=True)
class Necessity:
    """The answer, and what it rests on.

    Attributes:
        verdict: Whether the accuracy needs what the thoughts say.
        sentence: The same for a reader, with its figures.
        least_harmful: Name of the replacement that costs least; None without thoughts.
        cost: What that one costs, as a difference of accuracies.
        interval: Of the cost, 95% for all replacements together.
        n: Rows.
        margin: The largest cost that counts as none.
    """

    verdict: Literal["needed", "not needed", "undecided"]
    sentence: str
    least_harmful: str | None
    cost: float
    interval: tuple[float, float]
    n: int
    margin: float


def necessity(replacements: Sequence[Outcome], margin: float) -> Necessity:
    """Judge from the outcomes of all replacements.

    Args:
        replacements: At least one.
        margin: The largest cost that counts as none, e.g. 0.02 for two points of accuracy.
    """
    confidence = 1 - 0.05 / len(replacements)
    intervals = [newcombe(outcome.counts, confidence=confidence) for outcome in replacements]
    (low, high), least = min(zip(intervals, replacements, strict=True), key=lambda pair: (pair[0][1], pair[1].name))
    fall = f"{points(least.counts.cost)} points [{points(low)}, {points(high)}]"
    figures = f"{least.accuracy_as_trained:.1%} to {least.accuracy:.1%}, n = {least.counts.n:,}"
    if all(interval[0] > margin for interval in intervals):
        verdict: Literal["needed", "not needed", "undecided"] = "needed"
        sentence = (
            f"The thoughts are needed: even the mildest way to take away what they say, {least.what}, costs {fall} of "
            f"accuracy ({figures})."
        )
    elif high < margin:
        verdict = "not needed"
        sentence = (
            f"The thoughts are not needed: with {least.what} the change in accuracy is {fall} ({figures}), below the "
            f"margin of {points(margin)} points."
        )
    else:
        verdict = "undecided"
        sentence = (
            f"Undecided: with {least.what} accuracy falls by {fall} ({figures}), an interval with the margin of "
            f"{points(margin)} points in it. More rows narrow it."
        )
    return Necessity(verdict, sentence, least.name, least.counts.cost, (low, high), least.counts.n, margin)


def without_thoughts(n: int, margin: float) -> Necessity:
    """The answer for a model that has none."""
    sentence = "The thoughts are not needed: this model answers without any."
    return Necessity("not needed", sentence, None, 0.0, (0.0, 0.0), n, margin)


def points(share: float) -> str:
    """A difference of accuracies in percentage points."""
    return f"{round(100 * share, 1) + 0.0:.1f}"
