"""From epochs to stages."""

import itertools

import pytest
from pydantic import ValidationError

from unspoken.methods.coconut import Coconut
from unspoken.methods.curriculum import stage_at
from unspoken.methods.superposition import Superposition


def stages(epochs_per_stage, final_stage, epochs):
    return [stage_at(epoch, epochs_per_stage, final_stage) for epoch in range(epochs)]


def test_the_stage_is_the_epoch_divided_by_the_epochs_per_stage_and_stops_at_the_final_one():
    assert stages(3, 4, 18) == [0, 0, 0, 1, 1, 1, 2, 2, 2, 3, 3, 3, 4, 4, 4, 4, 4, 4]
    assert stages(1, 2, 5) == [0, 1, 2, 2, 2]


def test_a_list_gives_each_stage_its_own_epochs_and_its_last_one_stays():
    assert stages((1, 3, 2), 9, 9) == [0, 1, 1, 1, 2, 2, 2, 2, 2]
    assert stages([2], 9, 4) == [0, 0, 0, 0]


def test_a_list_longer_than_the_curriculum_stays_at_the_final_stage():
    assert stages((1, 1, 1, 1, 1), 2, 7) == [0, 1, 2, 2, 2, 2, 2]


def test_no_epochs_per_stage_begin_with_the_final_stage():
    assert stages(0, 7, 3) == [7, 7, 7]


@pytest.mark.parametrize("epochs_per_stage", [1, 2, 5, (3, 1, 2), 0])
def test_a_stage_never_goes_back_and_never_skips_one(epochs_per_stage):
    found = stages(epochs_per_stage, 4, 40)
    assert all(after - before in (0, 1) for before, after in itertools.pairwise(found))


@pytest.mark.parametrize("method", [Coconut, Superposition])
@pytest.mark.parametrize("wrong", [-1, [], [2, 0], [1, -1], 1.5, "many"])
def test_epochs_that_make_no_curriculum_are_refused(method, wrong):
    with pytest.raises(ValidationError):
        method(epochs_per_stage=wrong)
