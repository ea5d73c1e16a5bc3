"""Graph attention from stored and earlier states to the state of now.

Every state has edges from its nearest stored states, from the earlier states of its question, and from itself. They are
laid out by the state they lead to, (T, J), so that a message cannot land on another one.

Shapes: see `unspoken.thoughts.memory.base`; R rank, C capacity, J edges to a state, H heads, P = R / H.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from unspoken.thoughts.memory.base import Memory, earlier, rank_of, softmax_among
from unspoken.thoughts.memory.store import Eviction, Store

SLOPE = 0.2
"""Of the leaky ReLU for negative numbers, as in graph attention networks."""


class Graph(Memory):
    """One layer of graph attention (arXiv:2105.14491) over stored states and the earlier ones of the question.

    A node is the direction of a state; a stored one also says what its return was. A state without any edge but that
    from itself reads nothing. A new memory adds nothing; what it adds is learned.

    Args:
        width: D.
        rank: Dimensions of nodes and messages, a multiple of `heads`; default: a quarter of the width.
        heads: Attention heads.
        capacity: How many states are stored.
        eviction: What goes when there is no room: the `oldest`, or the `worst`, that of the smallest return.
        nearest: How many stored states have an edge to a state: those of the highest cosine.

    Raises:
        ValueError: A setting is out of range.
    """

    def __init__(
        self,
        width: int,
        rank: int | None = None,
        heads: int = 1,
        capacity: int = 512,
        eviction: Eviction = "oldest",
        nearest: int = 10,
    ) -> None:
        super().__init__()
        rank = rank_of(width, rank)
        if heads < 1 or rank % heads:
            raise ValueError(f"rank of the memory is {rank} and heads {heads}; give heads that divide the rank")
        if nearest < 1:
            raise ValueError(f"nearest is {nearest}; give 1 or more")
        self.heads, self.nearest = heads, nearest
        self.store = Store(width, rank, capacity, eviction)
        self.source = nn.Linear(rank + 1, rank, bias=False)
        self.target = nn.Linear(rank, rank, bias=False)
        self.attention = nn.Parameter(torch.empty(heads, rank // heads))
        self.output = nn.Linear(rank, width, bias=False)
        nn.init.normal_(self.attention, std=(rank // heads) ** -0.5)
        nn.init.zeros_(self.output.weight)

    def forward(
        self, state_TD: Tensor, states: Sequence[Tensor], is_thinking: Sequence[Tensor], *, siblings: int
    ) -> Tensor:
        """See `Memory.forward`."""
        key_TR = self.store.key(state_TD)
        nodes = [self._stored(key_TR), self._of_question(key_TR, states, is_thinking, siblings)]
        neighbours_TJS, is_edge_TJ = (torch.cat(each, dim=1) for each in zip(*nodes, strict=True))
        nodes_TJS = torch.cat([neighbours_TJS, _node(key_TR, None)[:, None]], dim=1)  # the last edge is its own
        reads_T1 = is_edge_TJ.any(dim=1, keepdim=True)
        is_edge_TJ = torch.cat([is_edge_TJ, torch.ones_like(reads_T1)], dim=1)
        message_TJHP = self.source(nodes_TJS).unflatten(-1, (self.heads, -1))
        target_T1HP = self.target(key_TR).unflatten(-1, (self.heads, -1))[:, None]
        activity_TJHP = nn.functional.leaky_relu(message_TJHP + target_T1HP, SLOPE)
        score_THJ = torch.einsum("tjhp,hp->thj", activity_TJHP, self.attention)
        weight_THJ = softmax_among(score_THJ, is_edge_TJ[:, None])
        read_TR = torch.einsum("thj,tjhp->thp", weight_THJ, message_TJHP).flatten(1) * reads_T1
        read_TD: Tensor = self.output(read_TR)
        return read_TD * state_TD.norm(dim=-1, keepdim=True)

    def learn(self, states: Tensor, returns: Tensor) -> None:
        """See `Memory.learn`."""
        self.store.write(states, returns)

    def _stored(self, key_TR: Tensor) -> tuple[Tensor, Tensor]:
        """The nearest stored states as nodes, (T, nearest, R + 1), and whether there are so many."""
        keys_CR, values_C = self.store.keys.to(key_TR.dtype), self.store.values.to(key_TR.dtype)
        _, place_TJ, is_filled_TJ = self.store.best(key_TR.detach() @ keys_CR.T, self.nearest)
        return _node(keys_CR[place_TJ], values_C[place_TJ]), is_filled_TJ

    def _of_question(
        self, key_TR: Tensor, states: Sequence[Tensor], is_thinking: Sequence[Tensor], siblings: int
    ) -> tuple[Tensor, Tensor]:
        """The earlier states of its question's trajectories as nodes, (T, E, R + 1), and whether they count."""
        if not states:
            return key_TR.new_zeros(len(key_TR), 0, key_TR.size(-1) + 1), key_TR.new_zeros(len(key_TR), 0).bool()
        states_BED, counts_BE = earlier(states, is_thinking, siblings)
        nodes_BES = _node(self.store.key(states_BED), None)
        return nodes_BES.repeat_interleave(siblings, dim=0), counts_BE.repeat_interleave(siblings, dim=0)


def _node(keys: Tensor, values: Tensor | None) -> Tensor:
    """Keys, (..., R), with returns, (...), behind them; 0 where none is known."""
    known = torch.zeros_like(keys[..., 0]) if values is None else values
    return torch.cat([keys, known[..., None]], dim=-1)
