"""Sentences say what the intervals allow, and no more."""

import pytest

from unspoken.audit.findings import how_many, how_much_noise, sentence, which_thoughts
from unspoken.audit.outcome import Outcome
from unspoken.evaluation.paired import Paired

MARGIN = 0.02


def outcome(*counts, name="mean", num_left_out=0):
    return Outcome(name, "the mean thought", Paired(*counts), num_left_out, changed=0.0, tokens_per_answer=1.0)


COSTLY = outcome(500, 400, 0, 100)
FREE = outcome(900, 0, 0, 100)
BETTER = outcome(500, 0, 400, 100)
OPEN = outcome(880, 20, 2, 98)


@pytest.mark.parametrize(
    ("each", "expected"),
    [
        (COSTLY, "With the mean thought accuracy falls by 40.0 points [36.9, 43.0]."),
        (FREE, "With the mean thought accuracy falls by 0.0 points [-0.4, 0.4]: less than the margin of 2.0."),
        (BETTER, "With the mean thought accuracy rises by 40.0 points [36.9, 43.0]: it costs nothing."),
        (
            OPEN,
            "With the mean thought accuracy falls by 1.8 points [0.9, 2.8]: whether that is more than the margin of "
            "2.0, these rows do not tell.",
        ),
    ],
)
def test_a_change_is_told_with_its_interval_and_its_verdict(each, expected):
    assert sentence(each, MARGIN) == expected


def test_single_thoughts_are_named_when_they_cost_something():
    one, two = outcome(500, 400, 0, 100, name="frozen_1"), outcome(900, 0, 0, 100, name="frozen_2")
    three, four = outcome(400, 500, 0, 100, name="frozen_3"), outcome(400, 450, 0, 150, name="frozen_4")
    gain = outcome(880, 0, 20, 100, name="frozen_5")
    assert which_thoughts([one, two], MARGIN) == (
        "Held at its mean, thought 1 costs more than the margin; with thought 1, the dearest, accuracy falls by 40.0 "
        "points [36.5, 43.4]."
    )
    assert which_thoughts([one, two, three, four], MARGIN).startswith(
        "Held at its mean, thoughts 1, 3 and 4 cost more than the margin; with thought 3, "
    )
    assert which_thoughts([one, three], MARGIN).startswith(
        "Held at its mean, every single thought costs more than the margin; with thought 3, "
    )
    assert which_thoughts([two, gain], MARGIN) == (
        "Held at its mean, no single thought is shown to cost more than the margin; with thought 2, the dearest, "
        "accuracy falls by 0.0 points [-0.5, 0.5]."
    )
    few = outcome(50, 40, 0, 10, name="frozen_3", num_left_out=900)
    assert which_thoughts([two, few], MARGIN).endswith(" on the 100 rows that have it.")
    assert which_thoughts([one], MARGIN) is None


def test_many_thoughts_need_stronger_evidence_than_two():
    """At the margin itself: the more thoughts, the more of them would seem dear by chance."""
    borderline = outcome(880, 42, 5, 73, name="frozen_1")
    assert " thought 1 costs " in which_thoughts([borderline, outcome(900, 0, 0, 100, name="frozen_2")], MARGIN)
    others = [outcome(900, 0, 0, 100, name=f"frozen_{k}") for k in range(2, 21)]
    assert " no single thought " in which_thoughts([borderline, *others], MARGIN)


def test_numbers_of_thoughts_are_tried_downwards_until_one_is_not_enough():
    """One that seems enough below one that is not may be chance."""
    budget = {0: FREE, 1: COSTLY, 2: FREE, 3: FREE}
    assert how_many(budget, 3, MARGIN).startswith("2 of 3 thoughts are enough: ")


def test_the_fewest_thoughts_that_are_enough():
    budget = {0: COSTLY, 1: OPEN, 2: FREE, 3: FREE, 4: COSTLY}
    assert how_many(budget, 3, MARGIN) == (
        "2 of 3 thoughts are enough: with them accuracy falls by 0.0 points [-0.4, 0.4]."
    )
    assert how_many(budget, 2, MARGIN) == (
        "No smaller number of thoughts than the trained 2 is shown to keep the accuracy within the margin."
    )
    assert how_many({0: COSTLY, 3: FREE}, None, MARGIN) == (
        "The number of thoughts differs between questions; one number for all gives at best 90.0%, with 3."
    )


def test_noise_is_harmless_up_to_the_first_strength_that_is_not_shown_to_be():
    few = outcome(4, 0, 0, 0)
    assert how_much_noise([(0.25, FREE), (0.5, FREE), (1.0, COSTLY), (2.0, FREE)], MARGIN) == (
        "Noise up to 0.5 times as long as the thoughts costs less than the margin."
    )
    assert how_much_noise([(0.25, COSTLY)], MARGIN) == (
        "With noise 0.25 times as long as each thought accuracy already falls by 40.0 points [36.9, 43.0]."
    )
    assert how_much_noise([(0.25, few)], MARGIN) == (
        "Whether noise 0.25 times as long as the thoughts costs more than the margin, these rows do not tell."
    )
    assert how_much_noise([], MARGIN) is None
