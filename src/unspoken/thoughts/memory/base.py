"""The contract of every memory, and what several have in common.

Shapes: T trajectories, siblings next to each other, B questions with N trajectories each; D width of the model; E
earlier states of a question's trajectories.
"""

from abc import ABC, abstractmethod
from collections.abc import Sequence

import torch
from torch import Tensor, nn


class Memory(nn.Module, ABC):
    """Adds something to the state that a decision is made from."""

    @abstractmethod
    def forward(
        self, state_TD: Tensor, states: Sequence[Tensor], is_thinking: Sequence[Tensor], *, siblings: int
    ) -> Tensor:
        """What is read, (T, D), in the scale of the state; zeros where there is nothing to read.

        Args:
            state_TD: The decoder's state now.
            states: Those at the earlier decisions, (T, D) each.
            is_thinking: Whether a trajectory was still thinking then, (T,) each.
            siblings: Trajectories of one question.
        """

    def learn(self, states: Tensor, returns: Tensor) -> None:
        """Between updates of training: states at which decisions were taken, (..., D), and what came of them, (...)."""


def rank_of(width: int, rank: int | None) -> int:
    """In how many dimensions a memory compares states: a quarter of the width unless it is told.

    Raises:
        ValueError: There are none, or more than the state has.
    """
    rank = max(width // 4, 1) if rank is None else rank
    if not 1 <= rank <= width:
        raise ValueError(f"rank of the memory is {rank}; give 1 to {width}, the width of the model")
    return rank


def earlier(states: Sequence[Tensor], is_thinking: Sequence[Tensor], siblings: int) -> tuple[Tensor, Tensor]:
    """The earlier states of a question's trajectories side by side, (B, E, D), and which of them count, (B, E)."""
    states_TKD, counts_TK = torch.stack(list(states), dim=1), torch.stack(list(is_thinking), dim=1)
    questions = len(states_TKD) // siblings
    return states_TKD.reshape(questions, -1, states_TKD.size(-1)), counts_TK.reshape(questions, -1)


def softmax_among(score: Tensor, is_there: Tensor) -> Tensor:
    """Softmax over the last dimension among what is there; zeros where nothing is."""
    return score.masked_fill(~is_there, torch.finfo(score.dtype).min).softmax(dim=-1) * is_there
