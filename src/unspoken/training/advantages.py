"""How much better a decision turned out than expected: what a policy is reinforced by.

`gae` asks a critic what was to be expected; `group_relative` and `leave_one_out` ask the other trajectories of the same
question. Nothing here has a gradient.

Shapes: T trajectories, those of a question next to each other; C columns of decisions (see
`unspoken.trajectories.records`).
"""

import torch
from torch import Tensor

ROUNDING = 1e-6
"""Returns of siblings that differ by a smaller share of the largest are the same return, rounded."""


def at_last_decision(returns_T: Tensor, is_decision_TC: Tensor) -> Tensor:
    """Rewards, (T, C), of trajectories that are judged as a whole: the return at the last decision, else 0.

    A trajectory without any decision gets none, for there is nothing to reinforce.
    """
    later_TC = is_decision_TC.long().flip(1).cumsum(1).flip(1)
    return torch.where(is_decision_TC & (later_TC == 1), returns_T[:, None], 0.0)


@torch.no_grad()
def gae(
    rewards_TC: Tensor, values_TC: Tensor, is_decision_TC: Tensor, gamma: float, lam: float
) -> tuple[Tensor, Tensor]:
    """Generalised advantage estimation (arXiv:1506.02438), each trajectory an episode of its own.

    Columns without a decision are no steps: after a decision comes the trajectory's next one, however many columns lie
    between, and after the last the episode has ended, so that nothing more is to be expected.

    Args:
        rewards_TC: What followed each decision, before the next.
        values_TC: The return that the critic expected at each decision.
        is_decision_TC: Where a decision was taken; what the other arguments hold elsewhere is not read.
        gamma: What a reward one decision later is worth.
        lam: 0 trusts the critic after one step, 1 nothing but the rewards.

    Returns:
        The advantages, and the returns that the critic should have expected (advantage + value); 0 where no
        decision is.

    Raises:
        ValueError: A reward stands where no decision is.
    """
    lost_T = ((rewards_TC != 0) & ~is_decision_TC).any(dim=1)
    if lost_T.any():
        raise ValueError(
            f"trajectory {int(lost_T.nonzero()[0])} has a reward in a column without a decision, where nothing earned "
            "it; put rewards where is_decision is True, as at_last_decision does"
        )
    advantages_TC, returns_TC = torch.zeros_like(values_TC), torch.zeros_like(values_TC)
    next_value_T = next_advantage_T = values_TC.new_zeros(len(values_TC))
    for column in reversed(range(values_TC.size(1))):
        here_T, value_T = is_decision_TC[:, column], values_TC[:, column]
        surprise_T = rewards_TC[:, column] + gamma * next_value_T - value_T
        advantage_T = surprise_T + gamma * lam * next_advantage_T
        next_advantage_T = torch.where(here_T, advantage_T, next_advantage_T)
        next_value_T = torch.where(here_T, value_T, next_value_T)
        advantages_TC[:, column] = torch.where(here_T, advantage_T, 0.0)
        returns_TC[:, column] = torch.where(here_T, advantage_T + value_T, 0.0)
    return advantages_TC, returns_TC


@torch.no_grad()
def group_relative(returns_T: Tensor, siblings: int) -> Tensor:
    """By how many standard deviations a return lies above the mean of its question, (T,) (GRPO, arXiv:2402.03300).

    The standard deviation is that of the N siblings themselves, divided by N, so that the advantages of a question have
    variance 1. (Other implementations divide by N - 1 and add a small number.) All 0 where the siblings did equally
    well.

    Raises:
        ValueError: There are fewer than two siblings, or they do not divide the returns.
    """
    returns_BN = _groups(returns_T, siblings, "group_relative")
    centred_BN = returns_BN - returns_BN.mean(dim=1, keepdim=True)
    deviation_B1 = centred_BN.square().mean(dim=1, keepdim=True).sqrt()
    # equal returns may differ from their mean in the last bit, and that over its own size would be 1
    differ_B1 = deviation_B1 > ROUNDING * returns_BN.abs().amax(dim=1, keepdim=True)
    return torch.where(differ_B1, centred_BN / deviation_B1, 0.0).flatten().to(returns_T.dtype)


@torch.no_grad()
def leave_one_out(returns_T: Tensor, siblings: int) -> Tensor:
    """How far a return lies above the mean of the question's other trajectories, (T,) (RLOO, arXiv:2402.14740).

    Raises:
        ValueError: There are fewer than two siblings, or they do not divide the returns.
    """
    returns_BN = _groups(returns_T, siblings, "leave_one_out")
    others_BN = (returns_BN.sum(dim=1, keepdim=True) - returns_BN) / (siblings - 1)
    return (returns_BN - others_BN).flatten().to(returns_T.dtype)


@torch.no_grad()
def normalised(advantages: Tensor, is_decision: Tensor, of_all: Tensor | None = None) -> Tensor:
    """The advantages of a batch with mean 0 and variance 1 over its decisions; 0 elsewhere, and where all are equal.

    Over the batch, never over one episode: that would take away what an episode as a whole did well.

    Args:
        advantages: Of this process.
        is_decision: Which of them count.
        of_all: The advantages of the batch's decisions, (N,), where it is shared by several processes.
    """
    chosen_N = (advantages[is_decision] if of_all is None else of_all).double()
    if chosen_N.numel() == 0:
        return torch.zeros_like(advantages)
    mean, deviation = chosen_N.mean(), chosen_N.std(correction=0)
    if deviation <= ROUNDING * chosen_N.abs().max():
        return torch.zeros_like(advantages)
    return torch.where(is_decision, (advantages - mean) / deviation, 0.0).to(advantages.dtype)


def _groups(returns_T: Tensor, siblings: int, name: str) -> Tensor:
    if siblings < 2:
        raise ValueError(f"{name} compares the trajectories of a question, found {siblings}; draw at least 2 of each")
    if len(returns_T) % siblings:
        raise ValueError(f"{len(returns_T)} returns are no whole number of questions with {siblings} trajectories each")
    return returns_T.double().view(-1, siblings)
