"""Thoughts that are drawn: one interface for reinforcement and for sampling when a model is used.

A policy reads the state before a slot and draws an *action*; the action makes the thought. What is drawn once can be
scored again under other parameters, so training replays what was done and never draws anew. Without chance a policy is
a thought source like any other: it takes its likeliest action, and evaluation, audit and inspection work on it as is.

Shapes: T trajectories, S slots filled at once, D width of the model, A numbers of an action.
"""

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Generator, Tensor, nn

from unspoken.thoughts.base import History, ThoughtSource
from unspoken.thoughts.memory import Memory, build_memory

CONTINUE = 3.0
"""Log-odds against stopping that a new halting head starts from: about one decision in twenty stops."""


@dataclass(frozen=True, slots=True, eq=False)
class Decision:
    """What actions mean under the parameters of now.

    Attributes:
        thought: The embedding of the slot, (T, D).
        log_prob: Log-probability (a density where actions are continuous) of the action, (T,).
        entropy: Of the distribution that it was drawn from, (T,).
    """

    thought: Tensor
    log_prob: Tensor
    entropy: Tensor


@dataclass(slots=True, eq=False)
class Episode:
    """What was before a decision, for trajectories that think side by side.

    Attributes:
        siblings: Trajectories of one question; they are neighbours among the rows.
        states: The decoder's states at the earlier decisions, (T, D) each.
        is_thinking: Whether a trajectory was still thinking then, (T,) each.
    """

    siblings: int = 1
    states: list[Tensor] = field(default_factory=list)
    is_thinking: list[Tensor] = field(default_factory=list)

    def remember(self, state_TD: Tensor, is_thinking_T: Tensor) -> None:
        """Add the decision that was just taken."""
        self.states.append(state_TD)
        self.is_thinking.append(is_thinking_T)


class Policy(ThoughtSource):
    """A thought source with chance.

    Args:
        width: D.
        halt_after: Learn when to stop, from this many thoughts on; default: have all the slots there are.
        critic: Learn what return to expect; PPO needs it.
        identities: How many trajectories of a question have an embedding of their own, which sets them apart; 0: none.
        memory: What trajectories read besides their own state, see `unspoken.thoughts.memory`; default: nothing.

    Raises:
        ValueError: A number is negative, or the memory is unknown.
    """

    reads_window = False

    def __init__(
        self,
        width: int,
        halt_after: int | None = None,
        critic: bool = False,
        identities: int = 0,
        memory: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__()
        for name, number in (("halt_after", halt_after or 0), ("identities", identities)):
            if number < 0:
                raise ValueError(f"{name} is {number}; give 0 or more")
        self.halt_after = halt_after
        self.halting = nn.Linear(width, 1) if halt_after is not None else None
        self.critic = nn.Linear(width, 1) if critic else None
        self.identity = nn.Parameter(torch.zeros(identities, width)) if identities else None
        self.memory: Memory | None = build_memory(memory, width) if memory else None
        if self.halting is not None:
            nn.init.zeros_(self.halting.weight)
            nn.init.constant_(self.halting.bias, -CONTINUE)
        if self.critic is not None:
            nn.init.zeros_(self.critic.weight)
            nn.init.zeros_(self.critic.bias)

    @abstractmethod
    def likeliest(self, state_TD: Tensor) -> Tensor:
        """The thought of the likeliest action, (T, D)."""

    @abstractmethod
    def draw(self, state_TD: Tensor, temperature_T: Tensor, chance: Generator, last: Tensor | None) -> Tensor:
        """An action for each trajectory, (T, A).

        Args:
            state_TD: What the decision is made from.
            temperature_T: How far from the likeliest; 1 is what was learned.
            chance: On the device of the states.
            last: The action before, (T, A); None at the first thought.
        """

    @abstractmethod
    def decide(self, state_TD: Tensor, action_TA: Tensor, temperature_T: Tensor) -> Decision:
        """What given actions mean, with gradients."""

    def prepare(self, state_TD: Tensor, episode: Episode) -> Tensor:
        """The state with who the trajectory is and what memory holds, (T, D): what decisions are made from."""
        prepared_TD = state_TD
        if self.identity is not None:
            order_T = torch.arange(len(state_TD), device=state_TD.device) % episode.siblings
            prepared_TD = prepared_TD + self.identity[order_T % len(self.identity)]
        if self.memory is not None:
            prepared_TD = prepared_TD + self.memory(
                state_TD, episode.states, episode.is_thinking, siblings=episode.siblings
            )
        return prepared_TD

    def may_stop(self, num_thoughts: int) -> bool:
        """Whether it decides on stopping after this many thoughts."""
        return self.halt_after is not None and num_thoughts >= self.halt_after

    def stop_logit(self, state_TD: Tensor) -> Tensor:
        """Log-odds of stopping before the next thought, (T,)."""
        assert self.halting is not None, "asked of policies that halt only"
        logit: Tensor = self.halting(state_TD)
        return logit.squeeze(-1)

    def value(self, state_TD: Tensor) -> Tensor:
        """The return that is expected from here, (T,); any leading shape."""
        assert self.critic is not None, "asked of policies with a critic only"
        value: Tensor = self.critic(state_TD)
        return value.squeeze(-1)

    def forward(self, history: History) -> Tensor:
        """See `ThoughtSource.forward`: the likeliest thoughts of one trajectory a row."""
        earlier = [column for column in _slot_columns(history) if column < history.columns[0]]
        episode = Episode(
            states=[history.states(column - 1, column)[:, 0] for column in earlier],
            is_thinking=[history.is_thought[:, column] for column in earlier],
        )
        (column,) = history.columns  # `sequential` is the only schedule that policies have
        return self.likeliest(self.prepare(history.states(column - 1, column)[:, 0], episode))[:, None]


def _slot_columns(history: History) -> Sequence[int]:
    columns: list[int] = history.is_thought.any(dim=0).nonzero().flatten().tolist()
    return columns
