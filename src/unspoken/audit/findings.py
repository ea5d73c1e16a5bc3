"""One plain sentence for each question, never stronger than its interval allows."""

from collections.abc import Mapping, Sequence
from itertools import takewhile

from unspoken.audit.necessity import moves, points
from unspoken.audit.outcome import Outcome
from unspoken.evaluation.paired import newcombe


def sentence(outcome: Outcome, margin: float) -> str:
    """What one change did."""
    text = f"With {outcome.what} accuracy {_moves(outcome)}"
    match outcome.verdict(margin):
        case "costs":
            return f"{text}."
        case "costs little" if outcome.counts.cost > -margin:
            return f"{text}: less than the margin of {points(margin)}."
        case "costs little":
            return f"{text}: it costs nothing."
        case _:
            return f"{text}: whether that is more than the margin of {points(margin)}, these rows do not tell."


def _moves(outcome: Outcome, confidence: float = 0.95) -> str:
    """How accuracy moves, with the interval of the move."""
    return moves(outcome.counts.cost, newcombe(outcome.counts, confidence=confidence))


def which_thoughts(frozen: Sequence[Outcome], margin: float) -> str | None:
    """Which single thoughts cost something when they are held at their mean; None without several.

    The intervals hold together for all thoughts (Bonferroni). That one is dear does not make it needed: a model may do
    without a thought that misleads it when it holds something else.
    """
    if len(frozen) < 2:
        return None
    confidence = 1 - 0.05 / len(frozen)
    costly = [_number(outcome) for outcome in frozen if outcome.verdict(margin, confidence) == "costs"]
    most = max(frozen, key=lambda outcome: outcome.counts.cost)
    if not costly:
        which = "no single thought is shown to cost more than the margin"
    elif len(costly) == len(frozen):
        which = "every single thought costs more than the margin"
    elif len(costly) == 1:
        which = f"thought {costly[0]} costs more than the margin"
    else:
        which = f"thoughts {', '.join(costly[:-1])} and {costly[-1]} cost more than the margin"
    rows = f" on the {most.counts.n:,} rows that have it" if most.num_left_out else ""
    dearest = f"with thought {_number(most)}, the dearest, accuracy {_moves(most, confidence)}{rows}"
    return f"Held at its mean, {which}; {dearest}."


def _number(frozen: Outcome) -> str:
    return frozen.name.rpartition("_")[2]


def how_many(budget: Mapping[int, Outcome], trained: int | None, margin: float) -> str:
    """The fewest thoughts that do as well as those it was trained with.

    Asked downwards, one number after the other, and no further than the first that is not shown to be enough: so the
    intervals need no correction for their number.

    Args:
        budget: Every row with the same number of thoughts, by that number.
        trained: The number that every row has as trained; None where rows differ in it.
        margin: Largest cost in accuracy that counts as none.
    """
    if trained is None:
        best = max(budget, key=lambda count: budget[count].accuracy)
        accuracy = f"one number for all gives at best {budget[best].accuracy:.1%}, with {best}"
        return f"The number of thoughts differs between questions; {accuracy}."
    fewer = sorted((count for count in budget if count < trained), reverse=True)
    enough = list(takewhile(lambda count: budget[count].verdict(margin) == "costs little", fewer))
    if not enough:
        return (
            f"No smaller number of thoughts than the trained {trained} is shown to keep the accuracy within the margin."
        )
    return f"{enough[-1]} of {trained} thoughts are enough: with them accuracy {_moves(budget[enough[-1]])}."


def how_much_noise(noise: Sequence[tuple[float, Outcome]], margin: float) -> str | None:
    """How strong the noise may be: up to there every strength is shown to cost little.

    Args:
        noise: Strengths, ascending, and what each did.
        margin: Largest cost in accuracy that counts as none.
    """
    harmless = None
    for strength, outcome in noise:
        verdict = outcome.verdict(margin)
        if verdict != "costs little":
            break
        harmless = strength
    if harmless is not None:
        return f"Noise up to {harmless:g} times as long as the thoughts costs less than the margin."
    if not noise:
        return None
    strength, outcome = noise[0]
    if outcome.verdict(margin) == "costs":
        return f"With noise {strength:g} times as long as each thought accuracy already {_moves(outcome)}."
    return (
        f"Whether noise {strength:g} times as long as the thoughts costs more than the margin, these rows do not tell."
    )
