"""Contextual thoughts: a weighted mean of the last states instead of the last one alone.

The idea is that of the repository coconut-contextual. Its code slices only the states of the current pass, so that
from the second thought on its window holds one state, and it gives the newest state the smallest weight;
`faithful=True` does the same. Without it the window reaches back over all passes and the weights are newest first.

Shapes: B rows, S slots, W window, D width.
"""

import math
from collections.abc import Sequence
from typing import Literal, TypeAlias

import torch
from torch import Tensor, nn

from unspoken.thoughts.base import History, ThoughtSource

Scope: TypeAlias = Literal["thoughts", "thoughts+marker", "all"]


class Window(ThoughtSource):
    """thought_t = sum_j w_j h_(t-1-j) over distances j < size, w renormalised over the states that exist.

    The state right before the slot always takes part; `scope` says which older ones may. Padding never does.
    With `size=1` this is Coconut, bit for bit.

    Args:
        width: Width of the model.
        size: Number of states in the window; default: the length of a weight list, else 3.
        weights: One weight per distance, newest first; or `uniform`; or `exponential` (`decay` to the power of the
            distance); or `learned` (softmax of `size` parameters, uniform at first).
        decay: Base of the exponential weights, above 0 and up to 1; default: 0.5.
        scope: Older states that may take part: those of thoughts, of thoughts and `<|start-latent|>`, or all.
        match_norm: Rescale the mean to the norm of the newest state.
        faithful: The released behaviour: only states from the row's last slot on, weights oldest first.

    Raises:
        ValueError: The settings contradict each other.
    """

    def __init__(
        self,
        width: int,
        size: int | None = None,
        weights: Sequence[float] | Literal["uniform", "exponential", "learned"] = (0.6, 0.3, 0.1),
        decay: float | None = None,
        scope: Scope = "all",
        match_norm: bool = False,
        faithful: bool = False,
    ) -> None:
        super().__init__()
        fixed = None if isinstance(weights, str) else [float(weight) for weight in weights]
        self.size = size if size is not None else (len(fixed) if fixed else 3)
        if self.size < 1:
            raise ValueError(f"window size must be at least 1, found {self.size}")
        if fixed is not None and not (
            len(fixed) >= self.size and fixed[0] > 0 and all(0 <= w < math.inf for w in fixed)
        ):
            raise ValueError(f"window of {self.size} needs as many weights >= 0, the newest > 0; found {fixed}")
        if faithful and (fixed is None or scope != "all"):
            raise ValueError("faithful=True reproduces the released code: fixed weights and scope `all` only")
        if decay is not None and weights != "exponential":
            raise ValueError(
                f"window decay is of exponential weights; found weights {weights!r}: remove one of the two"
            )
        decay = 0.5 if decay is None else decay
        if not 0 < decay <= 1:
            raise ValueError(f"window decay must be above 0 and up to 1; found {decay}")
        self.scope, self.match_norm, self.faithful = scope, match_norm, faithful
        self.logits: nn.Parameter | None = nn.Parameter(torch.zeros(self.size)) if weights == "learned" else None
        if fixed is None:
            fixed = [decay**distance if weights == "exponential" else 1.0 for distance in range(self.size)]
        self.fixed_weights = tuple(fixed[: self.size])

    def forward(self, history: History) -> Tensor:
        """See `ThoughtSource.forward`."""
        if self.size == 1:
            return history.states_before()
        newest_BSD = history.states_before()
        first, last = history.columns[0], history.columns[-1]
        start = max(first - self.size, 0)
        states_BTD, takes_part_BT = history.states(start, last), self._takes_part(history, start, last)
        # index_SW: where, counted from `start`, the state at distance j of each slot stands; below 0 there is none
        columns_S1 = torch.tensor(history.columns, device=states_BTD.device).unsqueeze(1)
        index_SW = columns_S1 - 1 - start - torch.arange(self.size, device=states_BTD.device)
        exists_SW, index_SW = index_SW >= 0, index_SW.clamp(min=0)
        states_BSWD = states_BTD[:, index_SW]
        allowed_BSW = takes_part_BT[:, index_SW] & exists_SW
        allowed_BSW[..., 0] = True
        weights_BSW = self._weights(allowed_BSW, states_BTD)
        mean_BSD = torch.einsum("bsw,bswd->bsd", weights_BSW, states_BSWD)
        if self.match_norm:
            mean_BSD = mean_BSD * (newest_BSD.norm(dim=-1, keepdim=True) / mean_BSD.norm(dim=-1, keepdim=True))
        return mean_BSD

    def _takes_part(self, history: History, start: int, stop: int) -> Tensor:
        """Which of the columns start..stop-1 may take part in a mean, (B, stop - start)."""
        allowed_BT = history.is_real[:, start:stop]
        if self.faithful:
            columns = torch.arange(stop, device=allowed_BT.device)
            # the newest pass of a row alone begins at its last slot: where passes of a batch are cut is not its matter
            newest_B1 = (history.is_thought[:, :stop] * columns).amax(dim=1, keepdim=True)
            return allowed_BT & (columns[start:] >= newest_B1)
        if self.scope == "all":
            return allowed_BT
        in_scope_BT = history.is_thought[:, start:stop]
        if self.scope == "thoughts+marker":
            in_scope_BT = in_scope_BT | history.is_marker[:, start:stop]
        return allowed_BT & in_scope_BT

    def _weights(self, allowed_BSW: Tensor, like: Tensor) -> Tensor:
        if self.faithful:
            # the released list runs oldest to newest and keeps its tail when the window is short
            weights_W = like.new_tensor(self.fixed_weights[::-1])
        elif self.logits is not None:
            weights_W = self.logits.softmax(dim=0)
        else:
            weights_W = like.new_tensor(self.fixed_weights)
        weights_BSW = weights_W * allowed_BSW
        return weights_BSW / weights_BSW.sum(dim=-1, keepdim=True)
