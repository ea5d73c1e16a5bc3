"""What a user can cause. Each message says what is wrong, what was found and what to do."""

from collections.abc import Sequence


class UnspokenError(ValueError):
    """Base of all errors that a user can cause; the command line prints them without a traceback, exit code 2."""


class RecipeError(UnspokenError):
    """A recipe or an argument does not make sense.

    Args:
        where: The file or command that holds the mistakes.
        problems: Every mistake found, each one line: the place, what is wrong, what to do.
    """

    def __init__(self, where: str, problems: Sequence[str]) -> None:
        self.where = where
        self.problems = tuple(problems)
        count = "1 problem" if len(self.problems) == 1 else f"{len(self.problems)} problems"
        super().__init__("\n  ".join([f"{where} has {count}", *self.problems]))


class DataError(UnspokenError):
    """A data file or a row of it cannot be used."""


class CheckpointError(UnspokenError):
    """A checkpoint or a run directory is missing, incomplete, damaged or belongs to another recipe."""


class NonFiniteError(RuntimeError):
    """A loss or gradient became NaN or infinite; nothing was updated with it."""
