"""The thoughts of every row as the trained model has them: what interventions rearrange.

Shapes: K thoughts of a row, D width.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from unspoken.data.collate import collate, inputs_of
from unspoken.model import LatentForCausalLM
from unspoken.records import StagedExample


@dataclass(frozen=True, slots=True, eq=False)
class Recorded:
    """What a model thinks about the rows of a data set.

    Attributes:
        prompts: What it reads, row by row.
        thoughts: The thoughts of each row, (K, D), in main memory.
        answers: The gold answer of each row, as the task compares it.
    """

    prompts: Sequence[StagedExample]
    thoughts: Sequence[Tensor]
    answers: Sequence[str]

    def mean(self) -> Tensor:
        """Mean thought of each slot over the rows that have it, (K, D) with the most thoughts of any row."""
        most = max(len(thoughts) for thoughts in self.thoughts)
        return torch.stack(
            [torch.stack([each[k] for each in self.thoughts if len(each) > k]).mean(dim=0) for k in range(most)]
        )

    def stacked(self) -> Tensor:
        """All thoughts of all rows, one below the other, (N, D)."""
        return torch.cat(list(self.thoughts))


def means_of_others(thoughts: Sequence[Tensor]) -> dict[int, Tensor]:
    """For each row with thoughts the mean thought of each of its slots over all other rows, (K, D).

    A slot that no other row has takes the last that others have. A row that thinks alone is not among them.

    Args:
        thoughts: Those of each row, (K, D).
    """
    most = max(map(len, thoughts), default=0)
    sums_KD = torch.zeros(most, thoughts[0].size(1) if thoughts else 0, dtype=torch.float64)
    counts_K = torch.zeros(most, dtype=torch.float64)
    for each_KD in thoughts:
        sums_KD[: len(each_KD)] += each_KD
        counts_K[: len(each_KD)] += 1
    found = {}
    for row, each_KD in enumerate(thoughts):
        shared = int((counts_K[: len(each_KD)] > 1).sum())
        if shared:
            mean_KD = (sums_KD[:shared] - each_KD[:shared]) / (counts_K[:shared] - 1).unsqueeze(1)
            places = torch.arange(len(each_KD)).clamp(max=shared - 1)
            found[row] = mean_KD[places].to(each_KD)
    return found


def same_shape(prompts: Sequence[StagedExample]) -> Iterator[list[int]]:
    """Indices of prompts with equally many thoughts: in a batch of them slot k is the k-th of every row."""
    groups: dict[int, list[int]] = {}
    for index, prompt in enumerate(prompts):
        groups.setdefault(prompt.num_thoughts, []).append(index)
    yield from groups.values()


@torch.no_grad()
def thoughts_of(model: LatentForCausalLM, prompts: Sequence[StagedExample], batch_size: int) -> list[Tensor]:
    """Run every prompt once and keep its thoughts, (K, D) each, in main memory.

    Args:
        model: In evaluation mode.
        prompts: What it reads.
        batch_size: Rows run together.
    """
    thoughts: list[Tensor] = [torch.zeros(0, model.config.hidden_size)] * len(prompts)
    for group in same_shape(prompts):
        group.sort(key=lambda index: len(prompts[index].input_ids))
        for start in range(0, len(group) if prompts[group[0]].num_thoughts else 0, batch_size):
            rows = group[start : start + batch_size]
            batch = collate([prompts[row] for row in rows], pad_id=model.config.pad_token_id or 0)
            filled = model.model(**inputs_of(batch, model.device)).thoughts.cpu()
            for row, each in zip(rows, filled, strict=True):
                thoughts[row] = each.clone()
    return thoughts


def record(
    model: LatentForCausalLM, prompts: Sequence[StagedExample], answers: Sequence[str], batch_size: int
) -> Recorded:
    """What a model thinks about some rows.

    Args:
        model: In evaluation mode.
        prompts: What it reads.
        answers: The gold answer of each row.
        batch_size: Rows run together.
    """
    return Recorded(prompts, thoughts_of(model, prompts, batch_size), answers)
