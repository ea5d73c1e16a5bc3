"""Thoughts behind a mask that a trajectory keeps (after Dropout-GRPO, arXiv:2606.10184).

The paper masks inside the decoder and keeps a mask through all latent steps of a rollout; here the mask lies on the
thought itself, where it can be recorded as an action and replayed whatever the decoder is.

Shapes: T trajectories, D width of the model.
"""

from typing import Any

import torch
from torch import Generator, Tensor

from unspoken.thoughts.policy import Decision, Policy


class Dropout(Policy):
    """The state right before the slot without some entries, the same ones in all thoughts of a trajectory.

    What is left is scaled up, so that a thought is the state on average. No parameter has a part in which entries these
    are: the probability of a mask is the same under any parameters and falls out of every ratio and gradient, so its
    log-probability and entropy count as 0. Parameters learn through the thought, which is differentiable, and what
    follows it; without chance nothing is left out.

    Args:
        width: D.
        rate: Share of entries that is left out. At a temperature t each is kept with probability `(1 - rate) ** t`.
        **heads: See `Policy`.

    Raises:
        ValueError: The rate is out of range.
    """

    def __init__(self, width: int, rate: float = 0.1, **heads: Any) -> None:
        super().__init__(width, **heads)
        if not 0 < rate < 1:
            raise ValueError(f"rate is {rate}; give a number between 0 and 1")
        self.rate = rate

    def likeliest(self, state_TD: Tensor) -> Tensor:
        """See `Policy.likeliest`."""
        return state_TD

    def draw(self, state_TD: Tensor, temperature_T: Tensor, chance: Generator, last: Tensor | None) -> Tensor:
        """See `Policy.draw`."""
        if last is not None:
            return last
        chance_TD = torch.rand(state_TD.shape, generator=chance, device=state_TD.device)
        return (chance_TD < self._kept(temperature_T)).to(state_TD.dtype)

    def decide(self, state_TD: Tensor, action_TA: Tensor, temperature_T: Tensor) -> Decision:
        """See `Policy.decide`."""
        nothing_T = torch.zeros_like(temperature_T)
        kept_T1 = self._kept(temperature_T).to(state_TD.dtype)
        return Decision(state_TD * action_TA.to(state_TD.dtype) / kept_T1, nothing_T, nothing_T)

    def _kept(self, temperature_T: Tensor) -> Tensor:
        """Probability of keeping an entry, (T, 1)."""
        return (1 - self.rate) ** temperature_T[:, None]
