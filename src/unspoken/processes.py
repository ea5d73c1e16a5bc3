"""What `torchrun` tells a process before anything is connected or imported; `unspoken.device` has the rest."""

import os

from unspoken.errors import RecipeError


def is_first_process() -> bool:
    """Whether this is the process that speaks: the only one, or the first of a `torchrun`."""
    return os.environ.get("RANK", "0") == "0"


def num_processes() -> int:
    """Processes that were started together; 1 without `torchrun`.

    Raises:
        RecipeError: The environment says something that is no number of processes.
    """
    text = os.environ.get("WORLD_SIZE", "1")
    if not text.isdecimal() or int(text) < 1:
        raise RecipeError("WORLD_SIZE", [f"it is {text!r} in the environment; unset it, or start with torchrun"])
    return int(text)
