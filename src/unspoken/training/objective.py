"""What an update of a policy goes down: PPO's clipped objective (arXiv:1707.06347), and a force between siblings.

Which advantages go in makes it PPO, GRPO or RLOO. All means are sums over the decisions here divided by a given number
of decisions, so that micro-batches and processes add up to what one large batch would give.

Shapes: T trajectories, N of them to each of B questions; C columns, M decisions in them, K thoughts, D width.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from unspoken.trajectories.records import Scores

MAX_LOG_RATIO = 20.0
"""Ratios are taken to lie in e^-20 .. e^20: beyond, they would only turn into infinities."""


@dataclass(frozen=True, slots=True, eq=False)
class Objective:
    """Scalars. Only `loss` has a gradient.

    Attributes:
        loss: policy_loss + value_weight * value_loss - entropy_weight * entropy.
        policy_loss: Mean of -min(ratio * advantage, clipped ratio * advantage).
        value_loss: Mean of half the squared error of the critic; the larger of that with and without clipping.
        entropy: Mean of what the decisions were drawn from.
        approx_kl: Mean of ratio - 1 - log(ratio): estimates the divergence of the policy that drew from that of now,
            never negative, 0 before the first update.
        clip_fraction: Share of decisions whose ratio lies outside the clip range.
    """

    loss: Tensor
    policy_loss: Tensor
    value_loss: Tensor
    entropy: Tensor
    approx_kl: Tensor
    clip_fraction: Tensor


def objective(
    drawn: Scores,
    now: Scores,
    advantages_TC: Tensor,
    returns_TC: Tensor,
    *,
    num_decisions: Tensor | int,
    clip: float,
    value_clip: float | None = None,
    entropy_weight: float = 0.0,
    value_weight: float = 0.0,
) -> Objective:
    """What the decisions of some trajectories add to the loss of an optimizer step.

    Args:
        drawn: Their scores under the parameters that drew them (`rollout`).
        now: Their scores under the parameters of now, with gradients (`replay`).
        advantages_TC: By how much each was better than expected.
        returns_TC: What the critic should have expected.
        num_decisions: Decisions in the whole optimizer step, over all micro-batches and processes; the parts then add
            up to the step's objective.
        clip: A decision is no longer made likelier than 1 + `clip` times its probability when it was drawn, nor less
            likely than 1 - `clip` times it.
        value_clip: How far the critic's loss lets it come nearer to the returns at once; default: as far as `clip`.
        entropy_weight: Weight of the entropy, which is held up.
        value_weight: Weight of the critic's loss; with 0 it is no part of the loss, and no gradient reaches the critic.
    """
    chosen = drawn.is_decision
    advantages_M = advantages_TC[chosen].float()
    change_M = now.log_probs[chosen].float() - drawn.log_probs[chosen].detach().float()
    change_M = change_M.clamp(-MAX_LOG_RATIO, MAX_LOG_RATIO)
    ratio_M = change_M.exp()
    near_M = ratio_M.clamp(1 - clip, 1 + clip)
    policy_loss = -torch.minimum(ratio_M * advantages_M, near_M * advantages_M).sum() / num_decisions
    entropy = now.entropies[chosen].float().sum() / num_decisions
    loss = policy_loss - entropy_weight * entropy
    value_loss = policy_loss.new_zeros(())
    if value_weight:
        before_M, reach = drawn.values[chosen].detach().float(), clip if value_clip is None else value_clip
        errors_M = _value_errors(now.values[chosen].float(), before_M, returns_TC[chosen].float(), reach)
        value_loss = errors_M.sum() / num_decisions
        loss = loss + value_weight * value_loss
    return Objective(
        loss=loss,
        policy_loss=policy_loss.detach(),
        value_loss=value_loss.detach(),
        entropy=entropy.detach(),
        # expm1 keeps what exp would round away next to 1
        approx_kl=(torch.expm1(change_M) - change_M).detach().sum() / num_decisions,
        clip_fraction=((ratio_M - 1).abs() > clip).float().sum() / num_decisions,
    )


def _value_errors(values_M: Tensor, before_M: Tensor, returns_M: Tensor, reach: float) -> Tensor:
    near_M = before_M + (values_M - before_M).clamp(-reach, reach)
    return torch.maximum((values_M - returns_M).square(), (near_M - returns_M).square()) / 2


def repulsion(thoughts_TKD: Tensor, is_thought_TK: Tensor, siblings: int, reach: float = 0.5) -> Tensor:
    """How alike the thoughts of siblings are, in the mean over pairs of siblings and ranks: a scalar from 0 to 1.

    Two thoughts a and b are exp(-d² / (2 reach² l²)) alike, d being their distance and l² the mean of |a|² and |b|². So
    only neighbours push each other away, unlike with the cosine, which would have thoughts point in opposite
    directions; and since distances are measured by length, longer thoughts gain nothing. Two thoughts that are exactly
    the same stay together, for no direction leads apart: chance or identities must part them first.

    Args:
        thoughts_TKD: Thoughts, with gradients where they are to be moved.
        is_thought_TK: Which of them were had; a pair counts where both were.
        siblings: N.
        reach: At how many lengths the likeness has fallen to exp(-1/2).

    Returns:
        0, with a graph, where there is no pair.
    """
    questions = len(thoughts_TKD) // siblings
    thoughts_BNKD = thoughts_TKD.float().reshape(questions, siblings, *thoughts_TKD.shape[1:])
    is_thought_BNK = is_thought_TK.reshape(questions, siblings, is_thought_TK.size(1))
    thoughts_BNKD = torch.where(is_thought_BNK[..., None], thoughts_BNKD, 0.0)
    with torch.autocast(thoughts_TKD.device.type, enabled=False):
        products_BKNN = torch.einsum("bikd,bjkd->bkij", thoughts_BNKD, thoughts_BNKD)
    squares_BKN = products_BKNN.diagonal(dim1=-2, dim2=-1)
    # d² / (2 l²) = 1 - 2ab / (|a|² + |b|²)
    lengths_BKNN = (squares_BKN[..., :, None] + squares_BKN[..., None, :]).clamp(min=1e-12)
    alike_BKNN = torch.exp((2 * products_BKNN / lengths_BKNN - 1) / reach**2)
    had_BKN = is_thought_BNK.transpose(1, 2)
    is_pair_BKNN = (had_BKN[..., :, None] & had_BKN[..., None, :]).triu(diagonal=1)
    total: Tensor = torch.where(is_pair_BKNN, alike_BKNN, 0.0).sum()
    return total / is_pair_BKNN.sum().clamp(min=1)
