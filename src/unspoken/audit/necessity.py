"""Are the thoughts needed? One answer from several ways to take away what they say.

Zeros, or no slots at all, are inputs that the model has never seen: they can break one that ignores what its thoughts
say. Another question's thoughts are inputs it knows, but they can mislead a model that would do without any. So
thoughts count as needed only if *every* replacement costs more than the margin, and as not needed if *some* replacement
costs at most the margin. The intervals hold together for all replacements (Bonferroni); in between is "undecided", and
so is a model that is hardly ever right: nothing could cost it anything.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias

from unspoken.audit.outcome import Outcome
from unspoken.evaluation.paired import newcombe
from unspoken.evaluation.statistics import wilson

Verdict: TypeAlias = Literal["needed", "not needed", "undecided"]


@dataclass(frozen=True, slots=True)
class Necessity:
    """The answer, and what it rests on.

    Attributes:
        verdict: Whether the accuracy needs what the thoughts say.
        sentence: The same for a reader, with its figures.
        least_harmful: Name of the replacement that the verdict rests on: the one that is shown to cost least, where all
            cost something; the one that is shown to cost nothing; or one that may do either. None without thoughts.
        cost: What that one costs, as a difference of accuracies.
        interval: Of the cost, 95% for all replacements together.
        n: Rows.
        margin: The largest cost that counts as none.
    """

    verdict: Verdict
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
    bounds = {outcome.name: newcombe(outcome.counts, confidence=confidence) for outcome in replacements}
    mildest = min(replacements, key=lambda outcome: (bounds[outcome.name][0], outcome.name))
    harmless = min(replacements, key=lambda outcome: (bounds[outcome.name][1], outcome.name))

    def judged(verdict: Verdict, outcome: Outcome, sentence: str) -> Necessity:
        counts = outcome.counts
        return Necessity(verdict, sentence, outcome.name, counts.cost, bounds[outcome.name], counts.n, margin)

    def fall(outcome: Outcome) -> str:
        low, high = bounds[outcome.name]
        return f"{points(outcome.counts.cost)} points [{points(low)}, {points(high)}]"

    def figures(outcome: Outcome) -> str:
        return f"{outcome.accuracy_as_trained:.1%} to {outcome.accuracy:.1%}, n = {outcome.counts.n:,}"

    if bounds[mildest.name][0] > margin:
        sentence = (
            f"The thoughts are needed: even the mildest way to take away what they say, {mildest.what}, costs "
            f"{fall(mildest)} of accuracy ({figures(mildest)})."
        )
        return judged("needed", mildest, sentence)
    if _right_for_sure(harmless) <= margin:
        sentence = (
            f"Undecided: the model is right too seldom for its thoughts to matter more than the margin of "
            f"{points(margin)} points ({figures(harmless)})."
        )
        return judged("undecided", harmless, sentence)
    if bounds[harmless.name][1] < margin:
        sentence = (
            f"The thoughts are not needed: with {harmless.what} the change in accuracy is {fall(harmless)} "
            f"({figures(harmless)}), below the margin of {points(margin)} points."
        )
        return judged("not needed", harmless, sentence)
    sentence = (
        f"Undecided: with {mildest.what} accuracy {moves(mildest.counts.cost, bounds[mildest.name])} "
        f"({figures(mildest)}), an interval with the margin of {points(margin)} points in it. More rows narrow it."
    )
    return judged("undecided", mildest, sentence)


def _right_for_sure(outcome: Outcome) -> float:
    """Lower end of the accuracy as trained: no change costs more."""
    counts = outcome.counts
    return wilson(counts.both + counts.only_first, counts.n)[0]


def without_thoughts(n: int, margin: float) -> Necessity:
    """The answer for a model that has none."""
    sentence = "The thoughts are not needed: this model answers without any."
    return Necessity("not needed", sentence, None, 0.0, (0.0, 0.0), n, margin)


def moves(cost: float, interval: tuple[float, float]) -> str:
    """How accuracy moves by a cost, with the interval of the move; a cost below zero is a gain."""
    low, high = interval
    if cost >= 0:
        return f"falls by {points(cost)} points [{points(low)}, {points(high)}]"
    return f"rises by {points(-cost)} points [{points(-high)}, {points(-low)}]"


def points(share: float) -> str:
    """A difference of accuracies in percentage points."""
    return f"{round(100 * share, 1) + 0.0:.1f}"
