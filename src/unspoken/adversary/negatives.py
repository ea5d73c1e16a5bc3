"""Hard negatives: true captions, of another moment.

A caption that says the same as the right one is no negative, in whatever words: the task decides.

Shapes: N rows, E width of the joint space.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from random import Random

import torch
from torch import Tensor

from unspoken.records import Example
from unspoken.tasks.base import Task

NEAREST = 4
"""Rows that count as nearest to a row."""
SOUGHT = 64
"""How many are looked at for them, for the nearest may say the same."""


@dataclass(frozen=True, slots=True)
class HardNegatives:
    """Of one row.

    Attributes:
        of_story: Other captions of the same story.
        nearest: Those of other rows that are most like the right one.
    """

    of_story: tuple[str, ...]
    nearest: tuple[str, ...]

    def choose(self, rng: Random) -> str | None:
        """One of them, of either kind as often where there are both; None where there are none."""
        kinds = [kind for kind in (self.of_story, self.nearest) if kind]
        return rng.choice(rng.choice(kinds)) if kinds else None


def hard_negatives(task: Task, examples: Sequence[Example], texts_NE: Tensor) -> list[HardNegatives]:
    """Those of every row.

    Args:
        task: Judges what says the same.
        examples: The rows.
        texts_NE: Unit vectors of their answers.
    """
    return [
        HardNegatives(
            of_story=tuple(each for each in dict.fromkeys(example.captions) if each and not says(task, example, each)),
            nearest=tuple(dict.fromkeys(examples[index].answer for index in near)),
        )
        for example, near in zip(examples, nearest_others(task, examples, texts_NE), strict=True)
    ]


def nearest_others(task: Task, examples: Sequence[Example], vectors_NE: Tensor) -> list[list[int]]:
    """For each row the nearest rows, by cosine, whose answers are wrong for it; fewer where there are not so many.

    Args:
        task: Judges which are.
        examples: The rows.
        vectors_NE: Unit vectors of them.
    """
    found = []
    for start in range(0, len(examples), 1024):
        closest = (vectors_NE[start : start + 1024] @ vectors_NE.T).topk(min(SOUGHT, len(examples)), dim=1).indices
        for row, near in enumerate(closest.tolist(), start):
            wrong = (index for index in near if not says(task, examples[row], examples[index].answer))
            found.append([index for index, _ in zip(wrong, range(NEAREST), strict=False)])
    return found


def says(task: Task, example: Example, caption: str) -> bool:
    """Whether a caption is right for a row."""
    return caption == example.answer or task.score(example, task.text.answer_start + caption).verdict == "right"


def margins(captions_NE: Tensor, images_NE: Tensor, others_NKE: Tensor, is_other_NK: Tensor) -> Tensor:
    """How much nearer captions are to their images than to other ones on average, as cosines, (N,).

    Args:
        captions_NE: Unit vectors.
        images_NE: Unit vectors of the right images.
        others_NKE: Those of other images.
        is_other_NK: Which of these there are; a row without any is judged by its image alone.
    """
    right_N = (captions_NE * images_NE).sum(dim=-1)
    wrong_NK = torch.einsum("ne,nke->nk", captions_NE, others_NKE) * is_other_NK
    return right_N - wrong_NK.sum(dim=1) / is_other_NK.sum(dim=1).clamp(min=1)
