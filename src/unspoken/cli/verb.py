"""What a verb of the command line is."""

import argparse
from collections.abc import Callable
from dataclasses import dataclass

DONE, FAILED = 0, 1
"""Exit codes of a verb; `main` has those of all that can go wrong around it."""


@dataclass(frozen=True, slots=True)
class Verb:
    """One verb of the command line.

    Attributes:
        help: What it does, in a line.
        configure: Adds its arguments.
        run: Does it, and returns the exit code.
        in_processes: Whether it works in several processes, started by `torchrun`; the others are refused there.
    """

    help: str
    configure: Callable[[argparse.ArgumentParser], None]
    run: Callable[[argparse.Namespace], int]
    in_processes: bool = False
