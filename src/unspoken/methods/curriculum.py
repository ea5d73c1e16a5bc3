"""From epochs to stages."""

from collections.abc import Sequence
from typing import Annotated, TypeAlias

from pydantic import Field, PositiveInt

EpochsPerStage: TypeAlias = Annotated[int, Field(ge=0)] | Annotated[tuple[PositiveInt, ...], Field(min_length=1)]
"""Epochs of every stage; or of each in turn, the last one listed staying to the end; 0: the final stage at once."""


def stage_at(epoch: int, epochs_per_stage: int | Sequence[int], final_stage: int) -> int:
    """The stage of an epoch, both counted from 0.

    With one number this is the released rule `epoch // epochs_per_stage`; past `final_stage` nothing changes any more.
    """
    if isinstance(epochs_per_stage, int):
        return min(epoch // epochs_per_stage, final_stage) if epochs_per_stage else final_stage
    for stage, epochs in enumerate(epochs_per_stage):
        if epoch < epochs:
            return min(stage, final_stage)
        epoch -= epochs
    return min(len(epochs_per_stage) - 1, final_stage)
