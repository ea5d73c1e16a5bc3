"""Fusion of answers, worked by hand."""

from math import e, log

import pytest

from unspoken.trajectories.fusion import FUSIONS, Candidate, Fused


def candidate(answer, *, likelihood=0.5, num_tokens=2, value=None):
    """One whose text has this likelihood for each of its tokens."""
    return Candidate(f"### {answer}", answer, num_tokens * log(likelihood), num_tokens, value, 3, False)


def fuse(name, candidates):
    return FUSIONS[name](candidates)


def test_the_majority_wins_and_says_how_large_it_is():
    found = fuse("vote", [candidate("a"), candidate("b", likelihood=0.9), candidate("a"), candidate("c")])
    assert found == Fused("a", 0.5, 0)


def test_a_tie_goes_to_the_larger_summed_likelihood():
    several = [candidate("a", likelihood=0.2), candidate("b", likelihood=0.5), candidate("b", likelihood=0.3)]
    found = fuse("vote", [*several, candidate("a", likelihood=0.4)])
    assert found == Fused("b", 0.5, 1)  # 0.8 against 0.6; of the two the first is likelier
    found = fuse("vote", [*several, candidate("a", likelihood=0.9)])
    assert found == Fused("a", 0.5, 3)  # 0.8 against 1.1


def test_what_is_equal_in_everything_goes_to_the_first():
    for name in ("vote", "weighted", "likelihood"):
        assert fuse(name, [candidate("b"), candidate("a")]) == Fused("b", 0.5, 0)


def test_the_likeliest_text_is_the_one_likeliest_for_a_token():
    long, short = candidate("long", likelihood=0.8, num_tokens=10), candidate("short", likelihood=0.6, num_tokens=1)
    assert long.log_likelihood < short.log_likelihood
    found = fuse("likelihood", [short, long, candidate("short", likelihood=0.2)])
    assert (found.answer, found.trajectory) == ("long", 1)
    assert found.confidence == pytest.approx(0.8 / 1.6)


def test_the_critic_chooses_what_it_expects_most_of():
    several = [candidate("a", value=0.0), candidate("b", value=1.0), candidate("a", value=0.0)]
    found = fuse("value", several)
    assert (found.answer, found.trajectory) == ("b", 1)
    assert found.confidence == pytest.approx(e / (e + 2))
    assert fuse("vote", several).answer == "a"


def test_values_below_zero_and_far_apart_are_weights_all_the_same():
    found = fuse("value", [candidate("a", value=-2000.0), candidate("b", value=-1000.0)])
    assert found == Fused("b", 1.0, 1)


def test_a_weighted_vote_is_by_value_where_all_have_one_and_by_likelihood_elsewhere():
    answers, likelihoods, values = "aab", (0.2, 0.3, 0.6), (0.0, 0.0, 0.5)
    plain = [candidate(a, likelihood=p) for a, p in zip(answers, likelihoods, strict=True)]
    found = fuse("weighted", plain)
    assert (found.answer, found.trajectory) == ("b", 2)  # 0.6 against 0.2 + 0.3
    assert found.confidence == pytest.approx(0.6 / 1.1)
    valued = [candidate(a, likelihood=p, value=v) for a, p, v in zip(answers, likelihoods, values, strict=True)]
    found = fuse("weighted", valued)
    assert (found.answer, found.trajectory) == ("a", 1)  # 2 against exp(0.5) = 1.65; the likelier of the two
    assert found.confidence == pytest.approx(2 / (2 + e**0.5))
    assert fuse("weighted", [*valued[:2], plain[2]]).answer == "b"


@pytest.mark.parametrize("name", FUSIONS)
def test_what_cannot_be_read_never_wins_and_lowers_the_confidence(name):
    unread = candidate(None, likelihood=0.9, value=0.3)
    found = fuse(name, [unread, unread, candidate("a", likelihood=0.9, value=0.3), unread])
    assert (found.answer, found.trajectory) == ("a", 2)
    assert found.confidence == pytest.approx(0.25)


@pytest.mark.parametrize("name", FUSIONS)
def test_nothing_read_is_no_answer_without_confidence(name):
    found = fuse(name, [candidate(None, value=0.0), candidate(None, likelihood=0.7, value=0.0)])
    assert found == Fused(None, 0.0, 1)


@pytest.mark.parametrize("name", FUSIONS)
def test_one_trajectory_is_its_own_answer(name):
    assert fuse(name, [candidate("a", value=-1.0)]) == Fused("a", 1.0, 0)


def test_values_that_are_missing_are_named():
    with pytest.raises(ValueError, match="2 of 3 trajectories have no value; fuse by vote or likelihood"):
        fuse("value", [candidate("a"), candidate("a", value=1.0), candidate("b")])


def test_an_unlikely_text_has_a_weight():
    weak = Candidate("a", "a", -90_000.0, 10, None, 0, False)
    assert fuse("likelihood", [weak, weak]) == Fused("a", 1.0, 0)
