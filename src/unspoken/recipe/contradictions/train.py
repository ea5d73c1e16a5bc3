"""How long is trained, and in which steps."""

from collections.abc import Iterator

from unspoken.config import TrainSettings
from unspoken.methods import Method, Reinforcement
from unspoken.recipe.problems import Problem


def train_problems(train: TrainSettings, method: Method | None) -> Iterator[Problem]:
    """What is wrong with steps and epochs; where the method could not be read, it is not known what a step counts."""
    # where rewards are learned from, the one counts questions and the other trajectories
    is_of_rows = method is not None and not isinstance(method, Reinforcement)
    if is_of_rows and train.micro_batch_size is not None and train.batch_size % train.micro_batch_size:
        yield Problem(
            "train.batch_size",
            f"{train.batch_size} is not a multiple of train.micro_batch_size={train.micro_batch_size}, so that a step "
            f"could not be cut into equal parts; set it to {-(-train.batch_size // train.micro_batch_size)} x "
            f"{train.micro_batch_size} = {-(-train.batch_size // train.micro_batch_size) * train.micro_batch_size}",
        )
    if train.first_epoch >= train.epochs:
        yield Problem(
            "train.first_epoch",
            f"training begins at epoch {train.first_epoch} of {train.epochs}, so there is nothing to train; "
            "lower it or raise train.epochs",
        )
