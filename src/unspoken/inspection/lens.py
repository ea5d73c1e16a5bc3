"""The lens: a thought read by the language model's head, as if it were a state.

What it shows is a correlation. A thought can hold what the head cannot read, and the head can read what is not used.

Shapes: N rows, K thoughts, D width, V vocabulary.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from unspoken.evaluation.statistics import wilson
from unspoken.model import LatentForCausalLM

Oracle = Sequence[Sequence[frozenset[int]]]
"""For each row and each thought the token ids that a perfect reasoner may hold there; empty: nothing is known."""


@dataclass(frozen=True, slots=True)
class LensFigures:
    """How often a thought reads as what it should hold.

    Attributes:
        thought: Counted from 1.
        n: Rows for which the oracle knows what it should hold.
        top1: Share of rows whose likeliest word is one of these.
        interval: Of `top1`.
        top5: Share of rows with one of these among the five likeliest.
        probability: Mean probability of these words together.
        shuffled_top1: `top1` with what another row's thought should hold: the control.
        shuffled_interval: Of `shuffled_top1`.
    """

    thought: int
    n: int
    top1: float
    interval: tuple[float, float]
    top5: float
    probability: float
    shuffled_top1: float
    shuffled_interval: tuple[float, float]


@torch.no_grad()
def read(model: LatentForCausalLM, thoughts_ND: Tensor) -> Tensor:
    """Probabilities of the words that thoughts read as, (N, V)."""
    return model.read(thoughts_ND.to(model.device)).cpu()


def lens(model: LatentForCausalLM, thoughts: Sequence[Tensor], oracle: Oracle, seed: int = 0) -> list[LensFigures]:
    """The figures of each thought.

    Args:
        model: Its head reads.
        thoughts: The thoughts of each row, (K, D).
        oracle: What they should hold.
        seed: Of the pairing with other rows.
    """
    found = []
    for k in range(max(map(len, thoughts), default=0)):
        rows = [row for row, each in enumerate(thoughts) if len(each) > k and len(oracle[row]) > k and oracle[row][k]]
        if len(rows) < 2:
            continue
        probabilities = read(model, torch.stack([thoughts[row][k] for row in rows]))
        likeliest = probabilities.topk(5).indices.tolist()
        held = [oracle[row][k] for row in rows]
        other = _derangement(held, seed)
        right = sum(words[0] in wanted for words, wanted in zip(likeliest, held, strict=True))
        shuffled = sum(words[0] in wanted for words, wanted in zip(likeliest, other, strict=True))
        among = sum(not wanted.isdisjoint(words) for words, wanted in zip(likeliest, held, strict=True))
        mass = [float(each[sorted(wanted)].sum()) for each, wanted in zip(probabilities, held, strict=True)]
        n = len(rows)
        found.append(
            LensFigures(
                thought=k + 1,
                n=n,
                top1=right / n,
                interval=wilson(right, n),
                top5=among / n,
                probability=float(np.mean(mass)),
                shuffled_top1=shuffled / n,
                shuffled_interval=wilson(shuffled, n),
            )
        )
    return found


def _derangement(held: Sequence[frozenset[int]], seed: int) -> list[frozenset[int]]:
    """Every item goes to another place, in a random cycle through all of them."""
    order = np.random.default_rng(seed).permutation(len(held)).tolist()
    moved = list(held)
    for place, following in zip(order, [*order[1:], order[0]], strict=True):
        moved[place] = held[following]
    return moved
