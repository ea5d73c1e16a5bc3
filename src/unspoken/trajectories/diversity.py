"""How different the trajectories of a question are: in what they think, in what they answer, in what they can do.

Shapes: see `unspoken.trajectories.records`.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations, zip_longest
from statistics import fmean

import torch

from unspoken.trajectories.records import Trajectories


@dataclass(frozen=True, slots=True)
class ThoughtPairs:
    """Sums over all pairs of siblings that both have a thought of some rank, one entry for each rank.

    Attributes:
        counts: Such pairs.
        distances: Summed Euclidean distance between their thoughts.
        cosines: Summed cosine between them.
    """

    counts: tuple[int, ...] = ()
    distances: tuple[float, ...] = ()
    cosines: tuple[float, ...] = ()

    def __add__(self, other: "ThoughtPairs") -> "ThoughtPairs":
        """Those of both."""
        return ThoughtPairs(
            counts=tuple(map(sum, zip_longest(self.counts, other.counts, fillvalue=0))),
            distances=tuple(map(sum, zip_longest(self.distances, other.distances, fillvalue=0.0))),
            cosines=tuple(map(sum, zip_longest(self.cosines, other.cosines, fillvalue=0.0))),
        )

    def mean_distances(self) -> list[float | None]:
        """Of a pair, rank by rank; None where there is none."""
        return [each / count if count else None for each, count in zip(self.distances, self.counts, strict=True)]

    def mean_cosines(self) -> list[float | None]:
        """Of a pair, rank by rank; None where there is none."""
        return [each / count if count else None for each, count in zip(self.cosines, self.counts, strict=True)]


def thought_pairs(drawn: Trajectories) -> ThoughtPairs:
    """How far apart siblings think."""
    thoughts_BNKD = drawn.thoughts.double().reshape(len(drawn.prompts), drawn.siblings, *drawn.thoughts.shape[1:])
    is_thought_BNK = drawn.is_thought.reshape(*thoughts_BNKD.shape[:3])
    counts_K, distances_K, cosines_K = thoughts_BNKD.new_zeros(3, thoughts_BNKD.size(2)).unbind()
    for one, other in combinations(range(drawn.siblings), 2):
        one_BKD, other_BKD = thoughts_BNKD[:, one], thoughts_BNKD[:, other]
        both_BK = is_thought_BNK[:, one] & is_thought_BNK[:, other]
        counts_K += both_BK.sum(dim=0)
        distances_K += ((one_BKD - other_BKD).norm(dim=-1) * both_BK).sum(dim=0)
        cosines_K += (torch.cosine_similarity(one_BKD, other_BKD, dim=-1) * both_BK).sum(dim=0)
    return ThoughtPairs(tuple(map(int, counts_K.tolist())), tuple(distances_K.tolist()), tuple(cosines_K.tolist()))


def distinct_share(answers: Sequence[str | None]) -> float:
    """How many different answers a question's trajectories gave, as a share of the trajectories; None is no answer."""
    return len({answer for answer in answers if answer is not None}) / len(answers)


def agreement(answers: Sequence[str | None]) -> float:
    """Share of the pairs of a question's trajectories that gave the same answer.

    Raises:
        ValueError: There is no pair.
    """
    pairs = list(combinations(answers, 2))
    if not pairs:
        raise ValueError(f"agreement is between trajectories, found {len(answers)}; draw at least 2")
    return sum(one is not None and one == other for one, other in pairs) / len(pairs)


@dataclass(frozen=True, slots=True)
class Specialisation:
    """Whether siblings are good at different questions, one entry for each sibling.

    Attributes:
        accuracy: Share of the questions that it gets right.
        alone: Share of the questions that it gets right and no other sibling does.
    """

    accuracy: tuple[float, ...]
    alone: tuple[float, ...]


def specialisation(is_right: Sequence[Sequence[bool]]) -> Specialisation:
    """What siblings get right.

    Args:
        is_right: Question by question, whether each sibling is right.
    """
    siblings = range(len(is_right[0]))
    return Specialisation(
        accuracy=tuple(fmean(bool(question[sibling]) for question in is_right) for sibling in siblings),
        alone=tuple(
            fmean(bool(question[sibling]) and sum(question) == 1 for question in is_right) for sibling in siblings
        ),
    )
