"""Thoughts drawn around the state: Coconut with noise whose size is given or learned (CoLaR, arXiv:2505.16552)."""

import math
from typing import Any, Literal, TypeAlias

import torch
from torch import Generator, Tensor, nn

from unspoken.thoughts.policy import Decision, Policy

MAX_SCALE = 10.0
ACTIONS: TypeAlias = Literal["thought", "noise"]


class Gaussian(Policy):
    """The state right before the slot plus independent noise.

    The noise is measured by the length of the state: `scale` is its standard deviation over the root mean square of
    the state's entries.

    What counts as the action decides how a reward reaches the thought. `thought`: the thought itself, whose density
    under the state is made larger or smaller; that needs no gradient through the decoder, and its variance grows with
    the width. `noise`: the noise, which is as likely whatever the parameters are; the thought moves with the state, and
    is learned through the words of the answer, as in supervised training.

    Args:
        width: D.
        scale: See above.
        learn_scale: Train it, one number for each entry.
        action: `thought` or `noise`.
        **heads: See `Policy`.

    Raises:
        ValueError: The scale is out of range.
    """

    def __init__(
        self,
        width: int,
        scale: float = 0.1,
        learn_scale: bool = False,
        action: ACTIONS = "thought",
        **heads: Any,
    ) -> None:
        super().__init__(width, **heads)
        if not 0 < scale <= MAX_SCALE:
            raise ValueError(f"scale is {scale}; give a number above 0 and up to {MAX_SCALE:g}")
        self.action = action
        log_scale = torch.full((width,), math.log(scale))
        if learn_scale:
            self.log_scale: Tensor = nn.Parameter(log_scale)
        else:
            self.register_buffer("log_scale", log_scale)

    def likeliest(self, state_TD: Tensor) -> Tensor:
        """See `Policy.likeliest`."""
        return state_TD

    def draw(self, state_TD: Tensor, temperature_T: Tensor, chance: Generator, last: Tensor | None) -> Tensor:
        """See `Policy.draw`."""
        noise_TD = torch.randn(state_TD.shape, generator=chance, device=state_TD.device, dtype=state_TD.dtype)
        return noise_TD if self.action == "noise" else state_TD + self._deviation(state_TD, temperature_T) * noise_TD

    def decide(self, state_TD: Tensor, action_TA: Tensor, temperature_T: Tensor) -> Decision:
        """See `Policy.decide`."""
        if self.action == "noise":
            thought_TD = state_TD + self._deviation(state_TD, temperature_T) * action_TA
            nothing_T = torch.zeros_like(temperature_T)
            return Decision(thought_TD, nothing_T, nothing_T)
        log_prob_T, entropy_T = normal(state_TD, self._deviation(state_TD, temperature_T), action_TA)
        return Decision(action_TA, log_prob_T, entropy_T)

    def _deviation(self, state_TD: Tensor, temperature_T: Tensor) -> Tensor:
        size_T1 = state_TD.square().mean(dim=-1, keepdim=True).sqrt()
        return self.log_scale.exp() * size_T1 * temperature_T[:, None]


def normal(mean_TA: Tensor, deviation_TA: Tensor, action_TA: Tensor) -> tuple[Tensor, Tensor]:
    """Log-density of actions under independent normal distributions, and the entropy of these, (T,) each."""
    standard_TA = (action_TA - mean_TA) / deviation_TA
    log_deviation_TA = deviation_TA.log().expand_as(standard_TA)
    log_prob_TA = -0.5 * standard_TA.square() - log_deviation_TA - 0.5 * math.log(2 * math.pi)
    entropy_TA = log_deviation_TA + 0.5 * math.log(2 * math.pi * math.e)
    return log_prob_TA.sum(dim=-1), entropy_TA.sum(dim=-1)
