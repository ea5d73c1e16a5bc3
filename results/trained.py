"""What the scripts here share: a run that is trained once, and what is going on, on stderr."""

import shlex
import sys
from collections.abc import Sequence
from pathlib import Path

from unspoken import load_recipe, train


def trained(run: Path, recipe: str, changes: Sequence[str]) -> Path:
    """The run of a recipe: trained unless it is there, gone on with where it was interrupted.

    Args:
        run: Its directory.
        recipe: Name of a shipped recipe.
        changes: Overrides.
    """
    if not (run / "run.json").is_file():
        say(f"unspoken train {recipe} --out {run} {shlex.join(changes)}")
        train(load_recipe(recipe, list(changes)), run, resume=(run / "resolved.json").is_file())
    return run


def say(text: str) -> None:
    """What is going on, on stderr."""
    sys.stderr.write(text + "\n")
