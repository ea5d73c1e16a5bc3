"""One plain sentence for each question, never stronger than its interval allows."""

from collections.abc import Mapping, Sequence

from unspoken.audit.necessity import points
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


def _moves(outcome: Outcome) -> str:
    """How accuracy moves, with the interval of the move."""
    cost, (low, high) = outcome.counts.cost, newcombe(outcome.counts)
    if cost >= 0:
        return f"falls by {points(cost)} points [{points(low)}, {points(high)}]"
    return f"rises by {points(-cost)} points [{points(-high)}, {points(-low)}]"


def which_thoughts(frozen: Sequence[Outcome], margin: float) -> str | None:
    """Which single thoughts matter; None without several."""
    if len(frozen) < 2:
        return None
    costly = [outcome.name.rpartition("_")[2] for outcome in frozen if outcome.verdict(margin) == "costs"]
    most = max(frozen, key=lambda outcome: outcome.counts.cost)
    if not costly:
        worst = points(most.counts.cost)
        return f"No single thought is shown to matter: holding one at its mean costs at most {worst} points."
    which = "Every single thought matters" if len(costly) == len(frozen) else f"Thought {', '.join(costly)} matters"
    return f"{which}: held at its mean, thought {most.name.rpartition('_')[2]} costs {points(most.counts.cost)} points."


def how_many(budget: Mapping[int, Outcome], trained: int | None, margin: float) -> str:
    """The fewest thoughts that do as well as those it was trained with.

    Args:
        budget: Every row with the same number of thoughts, by that number.
        trained: The number that every row has as trained; None where rows differ in it.
        margin: Largest cost in accuracy that counts as none.
    """
    enough = [count for count, outcome in sorted(budget.items()) if outcome.verdict(margin) == "costs little"]
    if trained is None:
        best = max(budget, key=lambda count: budget[count].accuracy)
        accuracy = f"the best one number for all, {best}, gives {budget[best].accuracy:.1%}"
        return f"The number of thoughts differs between questions; {accuracy}."
    if not enough or enough[0] >= trained:
        return (
            f"No smaller number of thoughts than the trained {trained} is shown to keep the accuracy within the margin."
        )
    outcome = budget[enough[0]]
    return f"{enough[0]} of {trained} thoughts are enough: with them accuracy {_moves(outcome)}."


def how_much_noise(noise: Sequence[tuple[float, Outcome]], margin: float) -> str | None:
    """The strongest noise that is shown to cost little."""
    if not noise:
        return None
    harmless = [strength for strength, outcome in noise if outcome.verdict(margin) == "costs little"]
    if not harmless:
        return f"Noise {noise[0][0]:g} times as long as the thoughts is already too much to be harmless."
    return f"Noise up to {max(harmless):g} times as long as the thoughts costs less than the margin."
