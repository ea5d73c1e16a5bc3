"""What several trajectories of a question are worth, by how many they are: from judged answers to figures.

Where siblings are alike but for chance, a draw of 16 holds 4 groups of 4, and the figure for 4 is the mean over them.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Any

from unspoken.evaluation.statistics import wilson
from unspoken.trajectories.diversity import agreement, distinct_share
from unspoken.trajectories.fusion import FUSIONS, Candidate


@dataclass(frozen=True, slots=True)
class Judged:
    """The trajectories of one question, drawn together.

    Attributes:
        candidates: What each brings.
        is_right: Whether its answer is right.
    """

    candidates: tuple[Candidate, ...]
    is_right: tuple[bool, ...]

    def __len__(self) -> int:
        """How many they are."""
        return len(self.candidates)

    def groups(self, size: int) -> list["Judged"]:
        """As many groups of neighbours as there are; what is left over is left out."""
        starts = range(0, len(self) - size + 1, size)
        return [Judged(self.candidates[i : i + size], self.is_right[i : i + size]) for i in starts]


@dataclass(frozen=True, slots=True)
class Compute:
    """What a model spends on trajectories.

    Attributes:
        thinks_once: Nothing in the thoughts is left to chance, so all trajectories of a question share them.
        extra_passes: Passes that so many thoughts cost.
    """

    thinks_once: bool
    extra_passes: Callable[[int], int]

    def thoughts(self, judged: Judged) -> int:
        """Thoughts of all trajectories."""
        counts = [candidate.num_thoughts for candidate in judged.candidates]
        return counts[0] if self.thinks_once else sum(counts)

    def passes(self, judged: Judged) -> int:
        """Passes for the thoughts and the words of all trajectories, as if each had them to itself."""
        counts = [candidate.num_thoughts for candidate in judged.candidates[: 1 if self.thinks_once else None]]
        return sum(map(self.extra_passes, counts)) + tokens(judged)


def tokens(judged: Judged) -> int:
    """Words of all trajectories, ends of sequence included."""
    return sum(candidate.num_tokens for candidate in judged.candidates)


def figures(size: int, questions: Sequence[Judged], compute: Compute) -> dict[str, Any]:
    """What `size` trajectories are worth.

    Args:
        size: N.
        questions: The trajectories of each, N or more.
        compute: What they cost.
    """
    grouped = [judged.groups(size) for judged in questions]

    def mean(of: Callable[[Judged], float]) -> list[float]:
        """Question by question, over its groups."""
        return [fmean(map(of, groups)) for groups in grouped]

    valued = all(candidate.value is not None for judged in questions for candidate in judged.candidates)
    ways: dict[str, Callable[[Judged], float]] = {"single": lambda judged: fmean(judged.is_right)}
    for name, fuse in FUSIONS.items():
        if valued or name != "value":
            ways[name] = lambda judged, fuse=fuse: judged.is_right[fuse(judged.candidates).trajectory]  # type: ignore[misc]
    ways["oracle"] = lambda judged: any(judged.is_right)
    found: dict[str, Any] = {"num_trajectories": size, "n": len(questions)}
    for name, of in ways.items():
        credits = mean(of)
        found[name] = {"accuracy": fmean(credits), "interval": wilson(sum(credits), len(credits))}
    said = [[[candidate.answer for candidate in group.candidates] for group in groups] for groups in grouped]
    return {
        **found,
        "thoughts_per_question": fmean(mean(compute.thoughts)),
        "tokens_per_question": fmean(mean(tokens)),
        "passes_per_question": fmean(mean(compute.passes)),
        "distinct_answers": fmean(fmean(map(distinct_share, groups)) for groups in said),
        "agreement": fmean(fmean(map(agreement, groups)) for groups in said) if size > 1 else None,
    }
