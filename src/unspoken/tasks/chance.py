"""Chance that stays the same: of Python's random generator only `random()` gives the same numbers in every version."""

from collections.abc import Sequence
from random import Random
from typing import TypeVar

Item = TypeVar("Item")


def choose(items: Sequence[Item], rng: Random) -> Item:
    """One of the items, each equally likely."""
    return items[int(rng.random() * len(items))]


def shuffled(items: Sequence[Item], rng: Random) -> tuple[Item, ...]:
    """The items in random order, every order equally likely."""
    return tuple(sorted(items, key=lambda _: rng.random()))
