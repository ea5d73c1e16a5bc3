"""The verdict on necessity is never stronger than the intervals of the replacements allow."""

import numpy as np
import pytest

from unspoken.audit.necessity import necessity, without_thoughts
from unspoken.audit.outcome import Outcome
from unspoken.evaluation.paired import Paired, newcombe

MARGIN = 0.02


def outcome(name, *counts):
    return Outcome(name, f"with {name}", Paired(*counts), num_left_out=0, changed=0.0, tokens_per_answer=1.0)


HARMFUL = outcome("zero", 100, 850, 0, 50)
MILD = outcome("mean", 900, 50, 0, 50)
HARMLESS = outcome("swap_other", 945, 3, 2, 50)
SHORT = outcome("removed", 18, 1, 0, 1)


def test_needed_when_every_replacement_costs_more_than_the_margin():
    found = necessity([HARMFUL, MILD], MARGIN)
    assert found.verdict == "needed"
    assert found.least_harmful == "mean"
    assert found.cost == pytest.approx(0.05)
    assert found.interval == newcombe(MILD.counts, confidence=0.975)
    assert "95.0% to 90.0%" in found.sentence


def test_one_harmless_replacement_is_enough_against_any_number_of_harmful_ones():
    found = necessity([HARMFUL, HARMFUL, MILD, HARMLESS], MARGIN)
    assert found.verdict == "not needed"
    assert found.least_harmful == "swap_other"


def test_few_rows_decide_nothing():
    found = necessity([HARMFUL, SHORT], MARGIN)
    assert found.verdict == "undecided"
    assert found.interval[0] < MARGIN < found.interval[1]


def test_few_unchanged_rows_do_not_show_that_thoughts_are_not_needed():
    assert necessity([outcome("mean", 50, 0, 0, 0)], MARGIN).verdict == "undecided"
    assert necessity([outcome("mean", 500, 0, 0, 0)], MARGIN).verdict == "not needed"


FEW = outcome("swap_other", 6, 2, 2, 2)
"""Of 12 rows: any cost is possible."""


def test_the_mildest_of_those_that_cost_is_the_one_with_the_lowest_lower_end():
    """Not the one with the narrower interval."""
    few, many = outcome("few", 50, 60, 1, 9), outcome("many", 380, 590, 0, 30)
    found = necessity([many, few], MARGIN)
    bounds = {each.name: newcombe(each.counts, confidence=0.975) for each in (few, many)}
    assert bounds["few"][0] < bounds["many"][0]
    assert bounds["few"][1] < bounds["many"][1]
    assert (found.verdict, found.least_harmful, found.n) == ("needed", "few", 120)
    wide = outcome("wide", 10, 18, 0, 2)
    assert newcombe(wide.counts, confidence=0.975)[0] < bounds["many"][0]
    assert newcombe(wide.counts, confidence=0.975)[1] > bounds["many"][1]
    assert necessity([many, wide], MARGIN).least_harmful == "wide"


def test_what_is_undecided_is_told_of_a_replacement_whose_interval_holds_the_margin():
    found = necessity([HARMFUL, FEW], MARGIN)
    assert (found.verdict, found.least_harmful) == ("undecided", "swap_other")
    assert found.interval[0] < MARGIN < found.interval[1]
    assert "an interval with the margin of 2.0 points in it" in found.sentence


def test_a_model_that_is_hardly_ever_right_decides_nothing():
    """Two of 1,000 answers cannot fall by more than 0.2 points, whatever is taken away."""
    found = necessity([outcome("zero", 1, 1, 0, 998), outcome("mean", 2, 0, 0, 998)], MARGIN)
    assert found.verdict == "undecided"
    assert found.sentence == (
        "Undecided: the model is right too seldom for its thoughts to matter more than the margin of 2.0 points "
        "(0.2% to 0.2%, n = 1,000)."
    )


def test_a_gain_is_told_as_one():
    sentence = necessity([outcome("zero", 10, 2, 4, 4)], MARGIN).sentence
    assert sentence.startswith("Undecided: with with zero accuracy rises by 10.0 points [")


def test_many_replacements_need_stronger_evidence_than_one():
    borderline = outcome("mean", 1000, 46, 10, 0)
    assert necessity([borderline], MARGIN).verdict == "needed"
    assert necessity([borderline] * 20, MARGIN).verdict == "undecided"


def test_a_model_without_thoughts_does_not_need_them():
    found = without_thoughts(300, MARGIN)
    assert (found.verdict, found.cost, found.least_harmful) == ("not needed", 0.0, None)


def test_at_the_margin_itself_a_wrong_verdict_is_rare():
    """1,000 experiments of 5 replacements whose true cost is the margin: neither verdict may come often."""
    rng, wrong = np.random.default_rng(0), 0
    for _ in range(1000):
        found = necessity(
            [outcome(str(k), 0, *(int(n) for n in rng.multinomial(500, [0.07, 0.05, 0.88]))) for k in range(5)],
            MARGIN,
        )
        wrong += found.verdict != "undecided"
    assert wrong / 1000 <= 0.06
