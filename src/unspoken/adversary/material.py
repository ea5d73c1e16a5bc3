"""What an adversary knows of the rows of a split.

Shapes: N rows, E width of the joint space.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from unspoken.adversary.negatives import HardNegatives, hard_negatives, nearest_others
from unspoken.errors import DataError
from unspoken.model.embedding_heads import KINDS
from unspoken.prepare import Rows
from unspoken.records import TokenizedExample
from unspoken.tasks.base import Task


@dataclass(frozen=True, slots=True, eq=False)
class Material:
    """The rows.

    Attributes:
        captions: The right caption of each.
        tokenized: The same rows as tokens.
        images: Unit vectors of the images that the captions describe, (N, E).
        hard: Hard negatives of each; empty where nobody asks for them.
        alike: For each, rows whose images are like its own and whose captions are wrong for it; likewise.
    """

    captions: Sequence[str]
    tokenized: Sequence[TokenizedExample]
    images: Tensor
    hard: Sequence[HardNegatives] = ()
    alike: Sequence[Sequence[int]] = ()

    def images_of(self, rows: Sequence[int], device: torch.device) -> Tensor:
        """Vectors of the images of some rows, on a device."""
        return self.images[torch.tensor(rows, dtype=torch.long)].to(device)


def material_of(task: Task, rows: Rows, split: str, *, hard: bool, alike: bool) -> Material:
    """What there is to know of rows.

    Args:
        task: Of them.
        rows: Each with what is right for the heads: training has refused others.
        split: What to call them.
        hard: Whether hard negatives are asked for.
        alike: Whether images that are alike are.

    Raises:
        DataError: No row has a hard negative.
    """
    foreseen_N2E = torch.from_numpy(np.stack([row.foreseen for row in rows.tokenized if row.foreseen is not None]))
    images_NE, texts_NE = (foreseen_N2E[:, KINDS.index(kind)] for kind in KINDS)
    negatives = hard_negatives(task, rows.examples, texts_NE) if hard else []
    if hard and not any(each.of_story or each.nearest for each in negatives):
        text = f"no {split} row has a hard negative: all captions say the same"
        raise DataError(f"{text}; give it more rows, or set adversary.negatives: generated")
    return Material(
        captions=[example.answer for example in rows.examples],
        tokenized=rows.tokenized,
        images=images_NE,
        hard=negatives,
        alike=nearest_others(task, rows.examples, images_NE) if alike else [],
    )
