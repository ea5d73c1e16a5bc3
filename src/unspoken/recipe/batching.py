"""How an optimizer step is cut into forward passes."""

from dataclasses import dataclass

from unspoken.config import TrainSettings
from unspoken.errors import RecipeError


@dataclass(frozen=True, slots=True)
class Batching:
    """How an optimizer step is cut.

    Attributes:
        processes: Processes of this run.
        micro: Rows per forward pass of a process.
        accumulation: Forward passes of a process per step.
    """

    processes: int
    micro: int
    accumulation: int


def split_batch(train: TrainSettings, processes: int) -> Batching:
    """Cut an optimizer step into forward passes.

    Raises:
        RecipeError: The parts would not be equal.
    """
    micro = train.micro_batch_size or -(-train.batch_size // processes)
    if train.batch_size % (micro * processes):
        raise RecipeError(
            "train.batch_size",
            [
                f"{train.batch_size} is not a multiple of {processes} processes x {micro} rows; "
                "set train.micro_batch_size to a divisor of the share of a process"
            ],
        )
    return Batching(processes, micro, train.batch_size // (micro * processes))
