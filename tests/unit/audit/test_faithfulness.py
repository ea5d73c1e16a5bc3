"""Changed facts: every question is in a pair or counted as left out, and shares of nothing are none."""

from pathlib import Path

import pytest

from unspoken.audit.faithfulness import Following, as_json, following
from unspoken.evaluation.statistics import wilson
from unspoken.evaluation.subject import Subject
from unspoken.run_directory import open_run

MODELS = Path(__file__).parents[2] / "models"


def test_shares_are_of_the_questions_that_were_answered_right():
    found = as_json(Following(pairs=10, left_out=2, right=8, follows=6, stuck=1, exchanged=4, follows_thoughts=3))
    assert (found["n"], found["num_left_out"], found["num_right"], found["num_exchanged"]) == (10, 2, 8, 4)
    assert (found["accuracy"], found["interval"]) == (0.8, wilson(8, 10))
    assert (found["following"], found["following_interval"]) == (0.75, wilson(6, 8))
    assert (found["stuck"], found["stuck_interval"]) == (0.125, wilson(1, 8))
    assert (found["thoughts_followed"], found["thoughts_followed_interval"]) == (0.75, wilson(3, 4))
    assert found["sentence"] == (
        "When one fact of a question changes, the answer follows in 75.0% [40.9%, 92.9%] of 8 questions that were "
        "answered right; when only the thoughts change, in 75.0% [30.1%, 95.4%] of 4."
    )


def test_without_a_right_answer_there_is_nothing_to_follow():
    found = as_json(Following(pairs=5, left_out=0, right=0, follows=0, stuck=0, exchanged=0, follows_thoughts=0))
    assert found["following"] is found["following_interval"] is found["thoughts_followed"] is None
    assert found["sentence"] == "None of 5 unchanged questions is answered right, so there is nothing to follow."


def test_without_thoughts_only_the_question_is_changed():
    found = as_json(Following(pairs=5, left_out=0, right=4, follows=4, stuck=0, exchanged=0, follows_thoughts=0))
    assert found["thoughts_followed"] is None
    assert found["sentence"].endswith("of 4 questions that were answered right.")


@pytest.fixture(scope="module")
def run():
    return open_run(MODELS / "hops-coconut")


def subject_of(run, rows):
    return Subject.of(run, run.recipe.task.examples("test")[0][:rows], lambda *_: None)


def test_every_question_is_in_a_pair_or_left_out(run):
    found = following(subject_of(run, 40), seed=0)
    assert found.pairs + found.left_out == 40
    assert found.follows + found.stuck <= found.right <= found.pairs
    assert found.follows_thoughts <= found.exchanged <= found.right
    # this model answers nearly all of them, and is known to follow its thoughts
    assert found.right >= 38
    assert found.follows_thoughts >= 0.8 * found.exchanged > 0


def test_the_seed_alone_chooses_the_changes(run):
    assert following(subject_of(run, 12), seed=1) == following(subject_of(run, 12), seed=1)
