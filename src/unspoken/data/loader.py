"""Order of the rows: which ones share a batch, on which process, in which epoch. A function of the seed alone."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from random import Random
from typing import Any

import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset, Sampler

from unspoken.records import IGNORED, StagedExample, TokenizedExample

POOL = 32
"""Batches whose rows are sorted by length together: enough that rows of a batch are about equally long."""


class StagedDataset(Dataset[StagedExample]):
    """Rows that are laid out when they are asked for, at the stage of the current epoch.

    Args:
        rows: The tokenised rows.
        layout: `(row, epoch, rng) -> StagedExample`, pure.
        seed: The layout of a row depends on (seed, epoch, row) and on nothing else.
    """

    def __init__(
        self,
        rows: Sequence[TokenizedExample],
        layout: Callable[[TokenizedExample, int, Random], StagedExample],
        seed: int,
    ) -> None:
        self.rows, self.layout, self.seed = rows, layout, seed
        # loader processes are started once and have to see in which epoch they are
        self._epoch = torch.zeros((), dtype=torch.int64)
        self._epoch.untyped_storage().share_memory_()

    @property
    def epoch(self) -> int:
        """The current epoch, from 0."""
        return int(self._epoch)

    def set_epoch(self, epoch: int) -> None:
        """Move to an epoch, here and in the processes that load; the training loop calls this."""
        self._epoch.fill_(epoch)

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: int) -> StagedExample:
        """Row `index`; a negative index -1 - i is row i with nothing to train, which fills up a short batch."""
        row = self.rows[index if index >= 0 else -1 - index]
        if row.other_steps:
            row = one_reasoning(row, self.epoch, self.seed)
        staged = self.layout(row, self.epoch, Random(f"{self.seed}/{self.epoch}/{row.id}"))
        if index >= 0:
            return staged
        return replace(staged, labels=np.full_like(staged.labels, IGNORED))


def one_reasoning(row: TokenizedExample, epoch: int, seed: int) -> TokenizedExample:
    """The row with the reasoning of an epoch alone: in as many epochs as there are, each once, in an order by chance.

    Args:
        row: A row with `other_steps`.
        epoch: Counted from 0.
        seed: With the row's id and the number of the round it decides the order.
    """
    known = (row.steps, *row.other_steps)
    rng = Random(f"{seed}/reasoning/{epoch // len(known)}/{row.id}")
    order = sorted(range(len(known)), key=lambda _: rng.random())
    return replace(row, steps=known[order[epoch % len(known)]], other_steps=())


class Batches(Sampler[list[int]]):
    """Batches of rows of similar length, in random order, every row exactly once an epoch.

    A batch of `batch_size` rows is one optimizer step; it is cut into `parts` micro-batches that follow each other.
    Processes take micro-batches in turn, so the rows of a step are the same for any number of processes and workers.
    When the last batch has fewer rows than parts, the empty parts repeat a row with nothing to train.

    Args:
        dataset: Gives the current epoch.
        lengths: Length of each row.
        batch_size: Rows per optimizer step.
        parts: Micro-batches per optimizer step: processes times accumulation steps.
        seed: Seed of the order.
    """

    def __init__(self, dataset: StagedDataset, lengths: Sequence[int], batch_size: int, parts: int, seed: int) -> None:
        self.dataset, self.lengths = dataset, np.asarray(lengths)
        # not called batch_size: accelerate would drop every micro-batch that is not that long
        self.rows_per_step, self.parts, self.seed = batch_size, parts, seed

    def __len__(self) -> int:
        return -(-len(self.lengths) // self.rows_per_step) * self.parts

    def __iter__(self) -> Iterator[list[int]]:
        rng = np.random.default_rng((self.seed, self.dataset.epoch))
        order = rng.permutation(len(self.lengths))
        # the rows that do not fill a batch are drawn before sorting: they are not always the longest
        remainder = len(order) % self.rows_per_step
        batches = [order[:remainder]] if remainder else []
        for start in range(remainder, len(order), POOL * self.rows_per_step):
            pool = order[start : start + POOL * self.rows_per_step]
            pool = pool[np.argsort(self.lengths[pool], kind="stable")]
            batches += np.split(pool, len(pool) // self.rows_per_step)
        for index in rng.permutation(len(batches)):
            for part in np.array_split(rng.permutation(batches[index]), self.parts):
                yield part.tolist() if len(part) else [-1 - int(batches[index][0])]


def data_loader(
    batches: Batches, collator: Callable[[list[StagedExample]], Any], *, workers: int = 0, pin_memory: bool = False
) -> DataLoader[StagedExample]:
    """Micro-batches, epoch after epoch. Processes that load are started once: a short epoch does not wait for them.

    Args:
        batches: Order of the rows.
        collator: Rows to a batch.
        workers: Processes that lay out ahead; with 0 the training process does. The batches are the same.
        pin_memory: Whether batches go to a GPU.
    """
    return DataLoader(
        batches.dataset,
        batch_sampler=batches,
        collate_fn=collator,
        num_workers=workers,
        persistent_workers=workers > 0,
        pin_memory=pin_memory,
        # its own: how often a loader draws depends on the workers, and dropout is to be the same with any number
        generator=torch.Generator(),
    )
