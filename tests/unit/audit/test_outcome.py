"""What a change did: counts, shares, verdict, and their plain values."""

import pytest

from unspoken.audit.outcome import Outcome, as_json, compare, corrected
from unspoken.evaluation.paired import Paired, bootstrap, holm, mcnemar, newcombe
from unspoken.evaluation.statistics import wilson
from unspoken.records import Prediction

ROWS = [("a", "a"), ("a", "b"), ("b", "a"), ("b", "b"), ("b", "c")]  # "a" is right


def predictions(answers, tokens=2):
    return [
        Prediction(f"row-{index}", "?", "a", answer, answer, "right" if answer == "a" else "wrong", 1, tokens, 3)
        for index, answer in enumerate(answers)
    ]


def test_rows_are_paired_and_counted():
    first, second = zip(*ROWS, strict=True)
    found = compare("zero", "zeros", predictions(first), predictions(second, tokens=6), num_left_out=4)
    assert found.counts == Paired(both=1, only_first=1, only_second=1, neither=2)
    assert (found.accuracy, found.accuracy_as_trained) == (0.4, 0.4)
    assert found.changed == 0.6  # from wrong to another wrong counts, too
    assert (found.tokens_per_answer, found.num_left_out) == (6.0, 4)


def test_other_rows_are_refused():
    with pytest.raises(ValueError, match="zero: the two conditions do not hold the same rows"):
        compare("zero", "zeros", predictions("ab"), predictions("ab")[::-1])


def outcome(*counts):
    return Outcome("zero", "zeros", Paired(*counts), num_left_out=1, changed=0.5, tokens_per_answer=2.0)


@pytest.mark.parametrize(
    ("counts", "verdict"),
    [((500, 400, 0, 100), "costs"), ((900, 0, 0, 100), "costs little"), ((880, 20, 2, 98), "undecided")],
)
def test_a_verdict_needs_the_whole_interval_on_one_side_of_the_margin(counts, verdict):
    low, high = newcombe(Paired(*counts))
    assert {"costs": low > 0.02, "costs little": high < 0.02, "undecided": low <= 0.02 <= high}[verdict]
    assert outcome(*counts).verdict(0.02) == verdict


def test_plain_values_are_those_of_the_statistics():
    found, counts = as_json(outcome(50, 30, 10, 10), 0.02, 0.5, seed=3), Paired(50, 30, 10, 10)
    assert found == {
        "n": 100,
        "num_left_out": 1,
        "accuracy": 0.6,
        "interval": wilson(60, 100),
        "accuracy_as_trained": 0.8,
        "cost": 0.2,
        "cost_interval": newcombe(counts),
        "bootstrap_interval": bootstrap(counts, seed=3),
        "p": mcnemar(counts),
        "p_holm": 0.5,
        "changed": 0.5,
        "tokens_per_answer": 2.0,
        "verdict": "costs",
    }


def test_p_values_are_corrected_within_their_family():
    family = [outcome(500, 400, 0, 100), outcome(880, 20, 2, 98), outcome(900, 0, 0, 100)]
    assert corrected(family) == holm([mcnemar(each.counts) for each in family])
