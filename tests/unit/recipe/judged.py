"""A recipe of hops with some sections of its own, accepted or refused."""

import pytest

from unspoken.errors import RecipeError
from unspoken.recipe import resolve

COCONUT = {"name": "coconut"}


def problems(**sections):
    with pytest.raises(RecipeError) as error:
        resolve({"task": {"name": "hops"}, "method": COCONUT, **sections}, "r.yaml")
    return error.value.problems


def problem(**sections):
    found = problems(**sections)
    assert len(found) == 1, found
    return found[0]


def accepted(**sections):
    return resolve({"task": {"name": "hops"}, "method": COCONUT, **sections}, "r.yaml")
