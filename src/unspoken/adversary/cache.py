"""Captions that were drawn for some rows once an epoch."""

from collections.abc import Sequence
from dataclasses import dataclass
from random import Random
from typing import Any


@dataclass(slots=True)
class CaptionCache:
    """What was drawn last.

    Attributes:
        epoch: When; -1 before the first time.
        rows: For which rows.
        captions: Of each of them.
    """

    epoch: int = -1
    rows: tuple[int, ...] = ()
    captions: tuple[str, ...] = ()

    def fill(self, epoch: int, rows: Sequence[int], captions: Sequence[str]) -> None:
        """Take what was drawn in an epoch in the place of what was there."""
        self.epoch, self.rows, self.captions = epoch, tuple(rows), tuple(captions)

    def some(self, count: int, rng: Random) -> tuple[list[int], list[str]]:
        """Some of the rows with their captions, each at most once."""
        places = rng.sample(range(len(self.rows)), min(count, len(self.rows)))
        return [self.rows[place] for place in places], [self.captions[place] for place in places]

    def state(self) -> dict[str, Any]:
        """Everything, as plain values."""
        return {"epoch": self.epoch, "rows": list(self.rows), "captions": list(self.captions)}

    def put_back(self, state: dict[str, Any]) -> None:
        """Take what `state` gave."""
        self.epoch, self.rows, self.captions = state["epoch"], tuple(state["rows"]), tuple(state["captions"])
