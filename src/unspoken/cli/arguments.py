"""Arguments that several verbs take."""

import argparse
from pathlib import Path
from typing import Any

SPLITS = ("train", "validation", "test")


class Once(argparse.Action):
    """An option that may be given once: of two values one would be lost."""

    def __call__(self, parser: Any, namespace: Any, values: Any, option_string: str | None = None) -> None:
        """See `argparse.Action`."""
        seen = namespace.__dict__.setdefault("_seen", set())
        if option_string in seen:
            parser.error(f"argument {option_string} is given twice; give it once")
        seen.add(option_string)
        setattr(namespace, self.dest, values)


MOST_SEED = 2**63 - 1


class PlacesFirst(argparse.HelpFormatter):
    """Shows the arguments without a name first: behind an option that takes several, they would be taken for its."""

    def add_usage(self, usage: Any, actions: Any, groups: Any, prefix: Any = None) -> None:
        """See `argparse.HelpFormatter`."""
        places = [action for action in actions if not action.option_strings]
        if usage is None and places:
            shown = argparse.HelpFormatter(prog=self._prog, width=10_000)
            shown.add_usage(None, places, [], prefix="")
            self._prog = shown.format_help().strip()
            actions = [action for action in actions if action.option_strings]
        super().add_usage(usage, actions, groups, prefix)


def seed(text: str) -> int:
    """A seed that generators of random numbers take; the type of an argument."""
    number = int(text)
    if number > MOST_SEED:
        raise argparse.ArgumentTypeError(f"{text} is too large; give at most {MOST_SEED}")
    return number


def run_to_read(text: str) -> Path:
    """A run directory, or that of a shipped model; the type of an argument."""
    from unspoken.pretrained import run_to_read

    return run_to_read(text)


def run_to_write(text: str) -> Path:
    """A run directory that something is written into, so no shipped model; the type of an argument."""
    from unspoken.errors import CheckpointError
    from unspoken.pretrained import run_to_write

    try:
        return run_to_write(text)
    except CheckpointError as error:
        raise argparse.ArgumentTypeError(str(error)) from error


def add_rows(parser: argparse.ArgumentParser, *, split: str, about_split: str | None = None) -> None:
    """`--data` and `--split`: which rows a run is asked about.

    Args:
        parser: Gets them.
        split: The default of `--split`.
        about_split: Its help.
    """
    parser.add_argument("--data", type=Path, metavar="FILE", action=Once, help="rows to use instead of a split")
    parser.add_argument("--split", choices=SPLITS, default=split, action=Once, help=about_split)


def add_trajectories(parser: argparse.ArgumentParser) -> None:
    """`--trajectories`, and the degrees of their chance but `--temperature`, which is not everywhere theirs alone."""
    parser.add_argument(
        "--trajectories", type=int, metavar="N", action=Once, help="think N times about each question, 1 to 64"
    )
    parser.add_argument(
        "--token-temperature", type=float, metavar="T", action=Once, help="of their words; default: 0, the likeliest"
    )
    parser.add_argument(
        "--spread", type=float, metavar="S", action=Once, help="how much warmer the last is than the first; default: 0"
    )


def refuse_without_trajectories(arguments: argparse.Namespace, *names: str) -> None:
    """Refuse arguments that mean nothing without `--trajectories`.

    Raises:
        RecipeError: One of these was given.
    """
    from unspoken.errors import RecipeError

    given = [name for name in names if getattr(arguments, name) is not None]
    if given:
        problems = [f"{name}: it is about several trajectories; add --trajectories, or leave it out" for name in given]
        raise RecipeError("unspoken", problems)


def chance_of(arguments: argparse.Namespace) -> dict[str, float]:
    """The degrees of chance that were given, by the names of `unspoken.trajectories.Chance`."""
    names = ("temperature", "token_temperature", "spread")
    return {name: getattr(arguments, name) for name in names if getattr(arguments, name) is not None}
