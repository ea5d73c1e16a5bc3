"""The answers of one question's trajectories, brought together to one.

Answers are compared as the task reads and normalises them. A trajectory from whose text no answer can be read never
wins, but its weight counts: what two of five trajectories say has a confidence of 0.4, whatever the other three wrote.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import exp


@dataclass(frozen=True, slots=True)
class Candidate:
    """What one trajectory brings.

    Attributes:
        text: All it wrote.
        answer: The part that the task reads as the answer, normalised; None when there is none.
        log_likelihood: Log-probability of the text in nats after what it thought, without a temperature.
        num_tokens: Tokens it wrote, end of sequence included.
        value: The return that the critic expected at the last decision taken by chance; None without a critic or such a
            decision.
        num_thoughts: How many it had.
        stopped: Whether it stopped of its own will, before its slots ran out.
    """

    text: str
    answer: str | None
    log_likelihood: float
    num_tokens: int
    value: float | None
    num_thoughts: int
    stopped: bool

    @property
    def log_likelihood_of_a_token(self) -> float:
        """Mean over its tokens: a sum would prefer whoever writes least."""
        return self.log_likelihood / self.num_tokens


@dataclass(frozen=True, slots=True)
class Fused:
    """The answer of several trajectories.

    Attributes:
        answer: The one that won; None when no trajectory has any.
        confidence: Share of the weight of all trajectories that lies with it; 0 without an answer.
        trajectory: Index of the trajectory it is taken from: of those that won, the likeliest.
    """

    answer: str | None
    confidence: float
    trajectory: int


def vote(candidates: Sequence[Candidate]) -> Fused:
    """What most trajectories say; among equally many, what those say whose summed likelihood is higher."""
    return _elect(candidates, [1.0] * len(candidates))


def weighted(candidates: Sequence[Candidate]) -> Fused:
    """A vote in which each counts by exp(value) where a critic has valued all, else by its likelihood for a token."""
    valued = all(candidate.value is not None for candidate in candidates)
    return _elect(candidates, _by_value(candidates) if valued else _by_likelihood(candidates))


def likelihood(candidates: Sequence[Candidate]) -> Fused:
    """Best of N: what the trajectory says whose text is the likeliest, by its mean log-likelihood for a token."""
    return _best(candidates, _by_likelihood(candidates))


def value(candidates: Sequence[Candidate]) -> Fused:
    """Best of N: what the trajectory says from which the critic expected most.

    Raises:
        ValueError: The critic has not valued all of them.
    """
    return _best(candidates, _by_value(candidates))


FUSIONS: dict[str, Callable[[Sequence[Candidate]], Fused]] = {
    "vote": vote,
    "likelihood": likelihood,
    "value": value,
    "weighted": weighted,
}


def _by_likelihood(candidates: Sequence[Candidate]) -> list[float]:
    return _weights([candidate.log_likelihood_of_a_token for candidate in candidates])


def _by_value(candidates: Sequence[Candidate]) -> list[float]:
    values = [candidate.value for candidate in candidates if candidate.value is not None]
    if len(values) < len(candidates):
        missing = len(candidates) - len(values)
        raise ValueError(f"{missing} of {len(candidates)} trajectories have no value; fuse by vote or likelihood")
    return _weights(values)


def _weights(exponents: Sequence[float]) -> list[float]:
    """Proportional to exp of each; the largest is 1, so none overflows and not all vanish."""
    largest = max(exponents)
    return [exp(exponent - largest) for exponent in exponents]


def _elect(candidates: Sequence[Candidate], weights: Sequence[float]) -> Fused:
    """The answer with the largest summed weight."""
    likelihoods = _by_likelihood(candidates)

    def support(answer: str) -> tuple[float, float]:
        behind = [index for index, candidate in enumerate(candidates) if candidate.answer == answer]
        return sum(weights[index] for index in behind), sum(likelihoods[index] for index in behind)

    # in the order in which they were drawn, so that what is still equal goes to the first
    answers = dict.fromkeys(candidate.answer for candidate in candidates if candidate.answer is not None)
    return _fused(candidates, weights, max(answers, key=support, default=None))


def _best(candidates: Sequence[Candidate], weights: Sequence[float]) -> Fused:
    """The answer of the one with the largest weight."""
    readable = [index for index, candidate in enumerate(candidates) if candidate.answer is not None]
    if not readable:
        return _fused(candidates, weights, None)
    best = max(readable, key=lambda index: weights[index])
    return _fused(candidates, weights, candidates[best].answer)


def _fused(candidates: Sequence[Candidate], weights: Sequence[float], answer: str | None) -> Fused:
    likelihoods = _by_likelihood(candidates)
    behind = [index for index, candidate in enumerate(candidates) if candidate.answer == answer]
    share = sum(weights[index] for index in behind) / sum(weights)
    return Fused(
        answer=answer,
        confidence=0.0 if answer is None else min(share, 1.0),
        trajectory=max(behind, key=lambda index: likelihoods[index]),
    )
