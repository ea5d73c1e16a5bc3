"""What the trajectories of a question have in common while they think.

Shapes: see `unspoken.thoughts.memory.base`; R rank.
"""

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from unspoken.thoughts.memory.base import Memory, earlier, rank_of, softmax_among


class Episodic(Memory):
    """Attention from a state to those at the earlier decisions of all trajectories of its question, its own included.

    It forgets everything with the question, other questions do not reach it, and it is a matter of states alone: what
    comes after the question is not in it. A new one adds nothing; what it adds is learned.

    Args:
        width: D.
        rank: Dimensions of queries, keys and values; default: a quarter of the width.

    Raises:
        ValueError: The rank is out of range.
    """

    def __init__(self, width: int, rank: int | None = None) -> None:
        super().__init__()
        rank = rank_of(width, rank)
        self.query = nn.Linear(width, rank, bias=False)
        self.key = nn.Linear(width, rank, bias=False)
        self.content = nn.Linear(width, rank, bias=False)
        self.output = nn.Linear(rank, width, bias=False)
        nn.init.zeros_(self.output.weight)

    def forward(
        self, state_TD: Tensor, states: Sequence[Tensor], is_thinking: Sequence[Tensor], *, siblings: int
    ) -> Tensor:
        """See `Memory.forward`."""
        if not states:
            return torch.zeros_like(state_TD)
        states_BED, counts_BE = earlier(states, is_thinking, siblings)
        query_BNR = self.query(state_TD).unflatten(0, (-1, siblings))
        score_BNE = query_BNR @ self.key(states_BED).transpose(1, 2) / math.sqrt(query_BNR.size(-1))
        weight_BNE = softmax_among(score_BNE, counts_BE[:, None])
        read_BND: Tensor = self.output(weight_BNE @ self.content(states_BED))
        return read_BND.flatten(0, 1)
