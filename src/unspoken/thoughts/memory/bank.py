"""What came of states like this one in earlier questions.

Shapes: T trajectories, D width of the model, R rank, C capacity, J states that are read.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from unspoken.thoughts.memory.base import Memory, rank_of, softmax_among
from unspoken.thoughts.memory.store import Eviction, Store


class Bank(Memory):
    """The mean of stored states that are like the state and had a high return.

    Each has the score similarity * cosine + worth * return; the highest few are weighted by a softmax of it. A new
    bank adds nothing; what it adds is learned.

    Args:
        width: D.
        rank: Dimensions of what is stored; default: a quarter of the width.
        capacity: How many states it holds.
        eviction: What goes when there is no room: the `oldest`, or the `worst`, that of the smallest return.
        nearest: How many are read at once.
        similarity: How much the cosine counts.
        worth: How much the return counts.

    Raises:
        ValueError: A setting is out of range.
    """

    def __init__(
        self,
        width: int,
        rank: int | None = None,
        capacity: int = 512,
        eviction: Eviction = "oldest",
        nearest: int = 3,
        similarity: float = 10.0,
        worth: float = 1.0,
    ) -> None:
        super().__init__()
        if nearest < 1:
            raise ValueError(f"nearest is {nearest}; give 1 or more")
        if similarity < 0 or worth < 0:
            raise ValueError(f"similarity is {similarity} and worth {worth}; give numbers from 0 on")
        rank = rank_of(width, rank)
        self.nearest, self.similarity, self.worth = nearest, similarity, worth
        self.store = Store(width, rank, capacity, eviction)
        self.output = nn.Linear(rank, width, bias=False)
        nn.init.zeros_(self.output.weight)

    def forward(
        self, state_TD: Tensor, states: Sequence[Tensor], is_thinking: Sequence[Tensor], *, siblings: int
    ) -> Tensor:
        """See `Memory.forward`."""
        cosine_TC = self.store.key(state_TD) @ self.store.keys.to(state_TD.dtype).T
        score_TC = self.similarity * cosine_TC + self.worth * self.store.values.to(state_TD.dtype)
        score_TJ, place_TJ, is_filled_TJ = self.store.best(score_TC, self.nearest)
        weight_TJ = softmax_among(score_TJ, is_filled_TJ)
        read_TR = torch.einsum("tj,tjr->tr", weight_TJ, self.store.keys[place_TJ].to(state_TD.dtype))
        read_TD: Tensor = self.output(read_TR)
        return read_TD * state_TD.norm(dim=-1, keepdim=True)

    def learn(self, states: Tensor, returns: Tensor) -> None:
        """See `Memory.learn`."""
        self.store.write(states, returns)
