"""What `torchrun` tells a process before anything is imported, and how it parts; `unspoken.device` has the rest."""

import os
import sys

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


def leave_group() -> None:
    """Part from the other processes in good order, where they are connected.

    Threads that still wait for the others when Python ends abort the process, whatever it has done before.
    """
    distributed = sys.modules.get("torch.distributed")
    if distributed is not None and distributed.is_available() and distributed.is_initialized():
        distributed.destroy_process_group()
