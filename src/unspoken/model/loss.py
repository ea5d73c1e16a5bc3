"""Next-token cross entropy where something is trained, and nowhere else; and what a micro-batch counts in its step."""

import torch
from torch import Tensor, nn
from torch.nn import functional

from unspoken.records import IGNORED


def trained_states(states_BLD: Tensor, labels_BL: Tensor) -> tuple[Tensor, Tensor]:
    """The states that predict a label, (N, D), and those labels, (N,).

    The state at column t predicts the label at column t + 1.
    """
    targets_BL = labels_BL[:, 1:]
    is_trained_BL = targets_BL != IGNORED
    return states_BLD[:, :-1][is_trained_BL], targets_BL[is_trained_BL]


def first_trained_column(labels_BL: Tensor) -> int:
    """The first column whose state predicts a label in any row; 0 where none does."""
    is_trained_L = (labels_BL[:, 1:] != IGNORED).any(dim=0)
    return int(is_trained_L.int().argmax()) if is_trained_L.numel() else 0


def next_token_loss(logits_NV: Tensor, targets_N: Tensor, num_items: Tensor | int | None = None) -> Tensor:
    """Mean cross entropy in nats over the targets, a scalar in fp32.

    Args:
        logits_NV: Logits at trained positions.
        targets_N: The token ids to predict.
        num_items: What to divide the sum by; default: the number of targets. With accumulation it is the number of
            targets of the whole optimizer step, which makes the loss independent of how the step is cut.

    Returns:
        The loss; 0 with a graph when there is no target, so that every rank of a group can still run backward.
    """
    if targets_N.numel() == 0:
        return logits_NV.float().sum()
    total = functional.cross_entropy(logits_NV.float(), targets_N, reduction="sum")
    return total / (targets_N.numel() if num_items is None else num_items)


def head_logits(head: nn.Module, states: Tensor, softcap: float | None) -> Tensor:
    """Logits of the states, bounded to (-softcap, softcap) where the decoder does so (Gemma 2)."""
    logits: Tensor = head(states)
    return logits if softcap is None else softcap * torch.tanh(logits / softcap)


def rows_with_words(labels_BL: Tensor) -> Tensor:
    """How many rows have something to write, a number on their device."""
    return (labels_BL != IGNORED).any(dim=1).sum()


def share_of_step(
    labels_BL: Tensor, targets_N: Tensor, num_items: Tensor | int | None, num_rows: Tensor | int | None
) -> Tensor | float:
    """The share of a micro-batch in its optimizer step: of its rows, or of its words where only those are counted."""
    if num_rows is not None:
        return rows_with_words(labels_BL) / num_rows
    return 1.0 if num_items is None else targets_N.numel() / num_items
