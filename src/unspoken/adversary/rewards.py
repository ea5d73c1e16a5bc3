"""How good captions are that were drawn: what `policy_gradient` makes likelier.

Shapes: T captions of some rows, N of each next to each other; E width of the joint space; K other images of a row.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import TypeAlias

import torch
from torch import Tensor, nn

from unspoken.adversary.discriminators import Judgement
from unspoken.adversary.negatives import margins
from unspoken.adversary.views import VectorView, WordView

Compare: TypeAlias = Callable[[Tensor, int], Tensor]
"""From what captions earned, (T,), and how many a row has, to how much better than expected each was, (T,)."""


class Judge(ABC):
    """Base of what pays captions."""

    @abstractmethod
    def __call__(self, rows: Sequence[int], images_TE: Tensor, real: Sequence[str], drawn: Sequence[str]) -> Tensor:
        """What captions are worth, (T,).

        Args:
            rows: The row of each.
            images_TE: The image that each is to describe.
            real: The true caption beside each.
            drawn: The captions.
        """


class DiscriminatorJudge(Judge):
    """The score of a discriminator, which sees as much of a caption as it was shown of captions when it learned.

    Args:
        discriminator: It.
        view: What it sees.
    """

    def __init__(self, discriminator: nn.Module, view: WordView) -> None:
        self.discriminator, self.view = discriminator, view

    @torch.no_grad()
    def __call__(self, rows: Sequence[int], images_TE: Tensor, real: Sequence[str], drawn: Sequence[str]) -> Tensor:
        """See `Judge.__call__`."""
        judged: Judgement = self.discriminator(images_TE, self.view(real, drawn)[1])
        return judged.scores


class MarginJudge(Judge):
    """How much nearer a caption is to its image than to the images that are most like it (`negatives.margins`).

    Other images, not other captions: what a caption is compared with must change with the caption, or all captions of
    a row would lose the same, and none would gain by it.

    Args:
        view: Captions as vectors.
        images_NE: Unit vectors of the images of all rows.
        others: For each row, rows whose images are like its own and whose answers are wrong for it.
    """

    def __init__(self, view: VectorView, images_NE: Tensor, others: Sequence[Sequence[int]]) -> None:
        self.view, self.images_NE, self.others = view, images_NE, others

    @torch.no_grad()
    def __call__(self, rows: Sequence[int], images_TE: Tensor, real: Sequence[str], drawn: Sequence[str]) -> Tensor:
        """See `Judge.__call__`."""
        most = max([1, *(len(self.others[row]) for row in rows)])
        index_TK = torch.zeros(len(rows), most, dtype=torch.long)
        is_other_TK = torch.zeros(len(rows), most)
        for place, row in enumerate(rows):
            near = self.others[row]
            index_TK[place, : len(near)], is_other_TK[place, : len(near)] = torch.tensor(near, dtype=torch.long), 1
        others_TKE = self.images_NE[index_TK.to(self.images_NE.device)]
        return margins(self.view.whole(drawn), images_TE, others_TKE, is_other_TK.to(images_TE))


def surrogate(log_probs_TM: Tensor, is_written_TM: Tensor, advantages_T: Tensor) -> Tensor:
    """The policy gradient as a loss: less where captions that did better than expected are likelier, mean over tokens.

    Args:
        log_probs_TM: With a gradient.
        is_written_TM: Where there is a token.
        advantages_T: Of each caption.
    """
    gained_TM = advantages_T[:, None].to(log_probs_TM) * torch.where(is_written_TM, log_probs_TM, 0.0)
    return -gained_TM.sum() / is_written_TM.sum()
