"""Thoughts that are steered: a small network says where to go from the state, and how far.

The idea is that of the repositories arccoxx/coconut, whose navigator moves through a space of few dimensions. Here the
language model runs on every thought and the next move starts from its new state; the move is drawn and scored.

Shapes: T trajectories, D width of the model, R rank: dimensions of a move.
"""

import math
from typing import Any

import torch
from torch import Generator, Tensor, nn

from unspoken.thoughts.gaussian import normal
from unspoken.thoughts.policy import Decision, Policy


class Navigator(Policy):
    """The state moved some way in a direction that a small network chooses, at the state's own length.

    The move has `rank` dimensions, is drawn around step times direction, and is the action; its mean is less than 2
    long. At first it turns the thought only a little away from the state, which is the thought of Coconut; but it
    does turn it, so that from the first draw on moves differ in what they lead to.

    Args:
        width: D.
        rank: Dimensions of a move; default: a sixteenth of the width, at least 2.
        hidden: Width of the layer that reads the state; default: a quarter of the model's.
        scale: How far a move of length 1 goes at first, in lengths of the state.
        noise: Expected length of what chance adds to a move at first; one number for each dimension is learned.
        **heads: See `Policy`.

    Raises:
        ValueError: A setting is out of range.
    """

    def __init__(
        self,
        width: int,
        rank: int | None = None,
        hidden: int | None = None,
        scale: float = 0.1,
        noise: float = 1.0,
        **heads: Any,
    ) -> None:
        super().__init__(width, **heads)
        rank = max(width // 16, 2) if rank is None else rank
        hidden = max(width // 4, 1) if hidden is None else hidden
        if not 2 <= rank <= width:
            raise ValueError(f"rank is {rank}; give 2 (in one dimension there is no direction to learn) to {width}")
        if hidden < 1:
            raise ValueError(f"hidden is {hidden}; give 1 or more")
        if not (scale > 0 and noise > 0):
            raise ValueError(f"scale is {scale} and noise {noise}; give numbers above 0")
        self.reading = nn.Sequential(nn.Linear(width, hidden), nn.GELU(), nn.Linear(hidden, rank))
        self.direction = nn.Linear(rank, rank)
        self.step = nn.Linear(rank, 1)
        self.log_deviation = nn.Parameter(torch.full((rank,), math.log(noise / math.sqrt(rank))))
        self.displacement = nn.Linear(rank, width, bias=False)
        # not zero: moves without effect are rewarded by accident only, and the words after them tell none apart
        nn.init.orthogonal_(self.displacement.weight, gain=scale)

    def likeliest(self, state_TD: Tensor) -> Tensor:
        """See `Policy.likeliest`."""
        return self._moved(state_TD, self._move(state_TD))

    def draw(self, state_TD: Tensor, temperature_T: Tensor, chance: Generator, last: Tensor | None) -> Tensor:
        """See `Policy.draw`."""
        move_TR = self._move(state_TD)
        noise_TR = torch.randn(move_TR.shape, generator=chance, device=move_TR.device)
        return move_TR + self._deviation(temperature_T) * noise_TR

    def decide(self, state_TD: Tensor, action_TA: Tensor, temperature_T: Tensor) -> Decision:
        """See `Policy.decide`."""
        log_prob_T, entropy_T = normal(self._move(state_TD), self._deviation(temperature_T), action_TA)
        return Decision(self._moved(state_TD, action_TA), log_prob_T, entropy_T)

    def _move(self, state_TD: Tensor) -> Tensor:
        """The mean, (T, R) in fp32: densities of numbers rounded more coarsely say little."""
        read_TR = self.reading(state_TD)
        direction_TR = nn.functional.normalize(self.direction(read_TR).float(), dim=-1)
        return 2 * self.step(read_TR).float().sigmoid() * direction_TR

    def _deviation(self, temperature_T: Tensor) -> Tensor:
        return self.log_deviation.float().exp() * temperature_T[:, None]

    def _moved(self, state_TD: Tensor, move_TR: Tensor) -> Tensor:
        length_T1 = state_TD.norm(dim=-1, keepdim=True)
        moved_TD = state_TD + length_T1 * self.displacement(move_TR.to(state_TD.dtype))
        # where the move cancels the state there is no direction left, and nothing to lengthen
        tiny = torch.finfo(state_TD.dtype).tiny
        return moved_TD * (length_T1 / moved_TD.norm(dim=-1, keepdim=True).clamp(min=tiny))
