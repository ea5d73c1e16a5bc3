"""States that were worth remembering, with what came of them: what the memories hold that outlive a question.

Everything in it is a buffer: no gradient changes it, a checkpoint keeps it, and only `write` adds to it, which training
calls between updates. So it stands still while trajectories are drawn and scored, in evaluation and when it is used.

Shapes: T trajectories, D width of the model, R rank, C capacity, J states nearest to one, N new states.
"""

from typing import Literal, TypeAlias

import torch
from torch import Tensor, nn

Eviction: TypeAlias = Literal["oldest", "worst"]


class Store(nn.Module):
    """Keys and returns of states.

    A key is the direction of a state in `rank` dimensions. Which dimensions those are is drawn once and stays: under a
    trained projection keys of different age would not be comparable.

    Args:
        width: D.
        rank: R.
        capacity: C.
        eviction: What goes when there is no room: the `oldest`, or the `worst`, that of the smallest return.

    Raises:
        ValueError: The capacity is not positive.
    """

    keys: Tensor
    values: Tensor
    num_filled: Tensor
    projection: Tensor

    def __init__(self, width: int, rank: int, capacity: int, eviction: Eviction) -> None:
        super().__init__()
        if capacity < 1:
            raise ValueError(f"capacity is {capacity}; give 1 or more")
        self.eviction = eviction
        self.register_buffer("projection", nn.init.orthogonal_(torch.empty(rank, width)))
        self.register_buffer("keys", torch.zeros(capacity, rank))  # in the order of their age, the oldest first
        self.register_buffer("values", torch.zeros(capacity))
        self.register_buffer("num_filled", torch.zeros((), dtype=torch.long))

    @property
    def is_filled(self) -> Tensor:
        """Where something is stored, (C,)."""
        return torch.arange(len(self.keys), device=self.keys.device) < self.num_filled

    def key(self, states: Tensor) -> Tensor:
        """What states are compared by, (..., R), of length 1."""
        return nn.functional.normalize(nn.functional.linear(states, self.projection.to(states.dtype)), dim=-1)

    def best(self, score_TC: Tensor, count: int) -> tuple[Tensor, Tensor, Tensor]:
        """The stored states of the highest scores, at most `count`: score, place and whether it is filled, (T, J)."""
        is_filled_TC = self.is_filled.expand_as(score_TC)
        open_TC = score_TC.masked_fill(~is_filled_TC, float("-inf"))
        place_TJ = open_TC.topk(min(count, len(self.keys)), dim=-1).indices
        return score_TC.gather(-1, place_TJ), place_TJ, is_filled_TC.gather(-1, place_TJ)

    @torch.no_grad()
    def write(self, states: Tensor, returns: Tensor) -> None:
        """Remember states, (..., D), and their returns, (...)."""
        old, capacity = int(self.num_filled), len(self.keys)
        new_NR = self.key(states).reshape(-1, self.keys.size(-1)).to(self.keys)
        keys = torch.cat([self.keys[:old], new_NR])
        values = torch.cat([self.values[:old], returns.reshape(-1).to(self.values)])
        kept = self._kept(values, capacity)
        self.num_filled.fill_(len(kept))
        self.keys[: len(kept)] = keys[kept]
        self.values[: len(kept)] = values[kept]

    def _kept(self, values: Tensor, capacity: int) -> Tensor:
        """Places of what stays, ascending."""
        places = torch.arange(len(values), device=values.device)
        if self.eviction == "oldest":
            return places[-capacity:]
        newest_first = values.flip(0).argsort(descending=True, stable=True)  # of equal ones the newest stays
        return (len(values) - 1 - newest_first[:capacity]).sort().values
