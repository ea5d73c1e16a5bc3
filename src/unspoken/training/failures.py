"""What a user is told when training fails midway: what can be done, and where a disk was full."""

import errno
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from safetensors import SafetensorError

from unspoken.errors import CheckpointError, NonFiniteError
from unspoken.methods import Contrastive
from unspoken.recipe import Recipe
from unspoken.training.checkpoint import newest_valid

NO_ROOM = (errno.ENOSPC, errno.EFBIG, errno.EDQUOT)


@contextmanager
def explained(recipe: Recipe, run: Path) -> Iterator[None]:
    """Train within it.

    Args:
        recipe: What is trained.
        run: The run directory.

    Raises:
        NonFiniteError: As before, with what to do about it.
        OSError: There was no room for a file, whatever a library made of that.
    """
    try:
        yield
    except NonFiniteError as error:
        raise NonFiniteError(f"{error}. {_how_to_go_on(recipe, run)}") from error
    except (OSError, SafetensorError, RuntimeError) as error:
        number = _no_room(error)
        if number is None:
            raise
        advice = f"{os.strerror(number)}; make room, then continue with --resume"
        raise OSError(number, advice, str(run)) from error


def _how_to_go_on(recipe: Recipe, run: Path) -> str:
    """A run that is resumed does the same again, so another one has to begin."""
    settings = recipe.train
    changes = [
        "a smaller train.learning_rate",
        *(["train.max_grad_norm=1"] if not settings.max_grad_norm else []),
        *(["train.precision=fp32"] if settings.precision != "fp32" else []),
    ]
    again = f"start again with {' or '.join(changes)}, in another --out"
    checkpoint = None
    with suppress(CheckpointError):
        checkpoint = newest_valid(run)
    if checkpoint is None:
        return f"There is no checkpoint to begin from: {again}"
    # one of adapters, or of what rewards changed, is no model by itself
    whole = (checkpoint / "config.json").is_file() and not isinstance(recipe.method, Contrastive)
    from_there = f"; model.path={checkpoint} begins from the last weights that were saved" if whole else ""
    return f"Resuming would do the same again: {again}{from_there}"


def _no_room(error: Exception) -> int | None:
    """Number of the error if a file could not be written for want of room, however it was wrapped."""
    text = str(error)
    if isinstance(error, OSError):
        number = error.errno
    elif found := re.search(r"os error (\d+)", text):
        number = int(found[1])
    elif "inline_container.cc" in text and "Reader" not in text:
        number = errno.ENOSPC  # torch could not write its archive, and says no more than that
    else:
        number = None
    return number if number in NO_ROOM else None
