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
