"""A task that says that it has frontiers has those that `superposition` learns from."""

import pytest

from unspoken.tasks import TASKS
from unspoken.tasks.hops import Hops
from unspoken.tasks.prosqa import ProsQA

ROWS = {"train_rows": 12, "validation_rows": 4, "test_rows": 4}
SEARCHES = [Hops(**ROWS), ProsQA(rendering="symbols", **ROWS)]


@pytest.mark.parametrize("task", SEARCHES, ids=lambda task: task.name)
def test_each_step_has_a_frontier_of_single_words_and_the_last_is_the_answer(task):
    assert task.has_frontiers
    for example in task.examples("train")[0]:
        assert len(example.frontiers) == len(example.steps) > 0
        assert all(len(word.split()) == 1 for words in example.frontiers for word in words)
        assert example.frontiers[-1] == (example.answer,)


def test_no_other_task_says_so():
    assert {name for name, kind in TASKS.items() if kind().has_frontiers} == {task.name for task in SEARCHES}
