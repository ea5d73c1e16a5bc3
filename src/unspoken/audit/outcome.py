"""What a change did to the answers of the same rows: the counts, the cost in accuracy and how sure we are of it."""

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Any, Literal, TypeAlias

from unspoken.evaluation.paired import Paired, bootstrap, holm, mcnemar, newcombe, paired
from unspoken.evaluation.statistics import wilson
from unspoken.records import Prediction

CostVerdict: TypeAlias = Literal["costs", "costs little", "undecided"]


@dataclass(frozen=True, slots=True, eq=False)
class Outcome:
    """A change and what became of the rows.

    Attributes:
        name: Of the change.
        what: The change, as the end of a sentence that begins with "with".
        counts: Rows right in both, in one, in neither; first as trained, second under the change.
        num_left_out: Rows that the change does not apply to.
        changed: Share of the rows whose answer is another one, right or wrong.
        tokens_per_answer: Mean tokens written under the change.
    """

    name: str
    what: str
    counts: Paired
    num_left_out: int
    changed: float
    tokens_per_answer: float

    @property
    def accuracy(self) -> float:
        """Accuracy under the change."""
        return (self.counts.both + self.counts.only_second) / self.counts.n

    @property
    def accuracy_as_trained(self) -> float:
        """Accuracy of the same rows without the change."""
        return (self.counts.both + self.counts.only_first) / self.counts.n

    def verdict(self, margin: float, confidence: float = 0.95) -> CostVerdict:
        """Whether the change costs more than the margin, at most the margin, or the rows cannot tell."""
        low, high = newcombe(self.counts, confidence=confidence)
        return "costs" if low > margin else "costs little" if high < margin else "undecided"


def compare(
    name: str,
    what: str,
    first: Sequence[Prediction],
    second: Sequence[Prediction],
    num_left_out: int = 0,
) -> Outcome:
    """Pair the answers of the same rows, first as trained, second under a change.

    Raises:
        ValueError: They are not the same rows.
    """
    if [each.id for each in first] != [each.id for each in second]:
        raise ValueError(f"{name}: the two conditions do not hold the same rows")
    counts = paired([each.verdict == "right" for each in first], [each.verdict == "right" for each in second])
    changed = sum(one.predicted != two.predicted for one, two in zip(first, second, strict=True))
    tokens = fmean(each.num_tokens for each in second)
    return Outcome(name, what, counts, num_left_out, changed / len(first), tokens)


def as_json(outcome: Outcome, margin: float, p_holm: float, seed: int) -> dict[str, Any]:
    """An outcome as plain values."""
    counts = outcome.counts
    return {
        "n": counts.n,
        "num_left_out": outcome.num_left_out,
        "accuracy": outcome.accuracy,
        "interval": wilson(counts.both + counts.only_second, counts.n),
        "accuracy_as_trained": outcome.accuracy_as_trained,
        "cost": counts.cost,
        "cost_interval": newcombe(counts),
        "bootstrap_interval": bootstrap(counts, seed=seed),
        "p": mcnemar(counts),
        "p_holm": p_holm,
        "changed": outcome.changed,
        "tokens_per_answer": outcome.tokens_per_answer,
        "verdict": outcome.verdict(margin),
    }


def corrected(outcomes: Sequence[Outcome]) -> list[float]:
    """McNemar's p values of a family of changes, corrected for their number (Holm)."""
    return holm([mcnemar(outcome.counts) for outcome in outcomes])
