"""Pointer chains: every answer follows from the premises, and no question is in two splits."""

import math
from itertools import pairwise

import pytest
from pydantic import ValidationError

from unspoken.errors import DataError
from unspoken.records import Example, Ledger, Score
from unspoken.tasks.graph import classify_path, frontiers
from unspoken.tasks.hops import Hops

SMALL = Hops(train_rows=120, validation_rows=30, test_rows=30)
PINNED = "g f h e e c a d b g c a d b f h ? c a d b g g"


def written(task: Hops, example: Example) -> str:
    form = task.text
    premises = "".join(premise + form.premise_separator for premise in example.premises)
    steps = "".join(step + form.step_end for step in example.steps)
    return premises + example.question + form.question_end + steps + form.answer_start + example.answer


def asked(example: Example) -> tuple[frozenset[str], str]:
    """What the question asks, whatever the order of its premises."""
    return frozenset(example.premises), example.question


def every_example(task: Hops) -> list[Example]:
    return [example for split in ("train", "validation", "test") for example in task.examples(split)[0]]


def test_the_answer_is_what_following_the_premises_gives() -> None:
    for example in every_example(SMALL):
        follow = dict(premise.split() for premise in example.premises)
        symbol = example.question.removeprefix("? ")
        walk = [symbol := follow[symbol] for _ in range(SMALL.hops)]
        assert list(example.steps) == walk
        assert example.answer == walk[-1]


def test_the_pointers_form_one_cycle_through_all_symbols() -> None:
    for example in every_example(SMALL):
        follow = dict(premise.split() for premise in example.premises)
        symbol = "a"
        assert {symbol := follow[symbol] for _ in range(8)} == set("abcdefgh")


def test_the_premises_stand_in_any_order() -> None:
    examples = SMALL.examples("train")[0]
    # the pointer that leaves the start: uniform over 8 places, mean 3.5, sigma 2.29 / sqrt(120) = 0.21
    places = [
        next(place for place, premise in enumerate(example.premises) if premise[0] == example.question[-1])
        for example in examples
    ]
    assert set(places) == set(range(8))
    assert sum(places) / len(places) == pytest.approx(3.5, abs=0.8)


def test_the_oracle_agrees_with_the_text() -> None:
    for example in SMALL.examples("test")[0]:
        graph = example.graph
        assert graph is not None
        names = [[graph.names[node] for node in nodes] for nodes in frontiers(graph)]
        assert names[0] == [example.question.removeprefix("? ")]
        assert tuple(tuple(nodes) for nodes in names[1:]) == example.frontiers == tuple((s,) for s in example.steps)
        assert {f"{graph.names[a]} {graph.names[b]}" for a, b in graph.edges} == set(example.premises)
        nodes = [graph.root, *(graph.names.index(step) for step in example.steps)]
        assert classify_path(graph, tuple(pairwise(nodes))) == "correct path"


def test_no_question_occurs_twice_in_any_splits() -> None:
    examples = every_example(SMALL)
    assert len({asked(example) for example in examples}) == len(examples) == 180
    assert len({example.id for example in examples}) == 180


def test_a_space_of_questions_can_be_used_up_to_the_last_one() -> None:
    task = Hops(symbols=4, hops=2, train_rows=12, validation_rows=4, test_rows=8)
    assert len({asked(example) for example in every_example(task)}) == math.factorial(4)


def test_more_rows_than_questions_is_an_error_that_says_how_many_there_are() -> None:
    task = Hops(symbols=4, hops=2, train_rows=13, validation_rows=4, test_rows=8)
    with pytest.raises(DataError, match=r"4 symbols has 24 distinct questions, fewer than the 25 rows.*raise symbols"):
        task.examples("test")


def test_hops_that_pass_the_start_again_are_refused() -> None:
    with pytest.raises(ValidationError, match="set hops to at most 4"):
        Hops(symbols=5, hops=5)
    assert Hops(symbols=5, hops=4).hops == 4


def test_the_same_seed_gives_the_same_rows_and_another_seed_others() -> None:
    assert SMALL.examples("train") == Hops(train_rows=120, validation_rows=30, test_rows=30).examples("train")
    other = Hops(train_rows=120, validation_rows=30, test_rows=30, seed=1).examples("train")[0]
    same = sum(asked(a) == asked(b) for a, b in zip(SMALL.examples("train")[0], other, strict=True))
    assert same <= 1  # by chance 120 / 8! = 0.003


def test_a_row_does_not_depend_on_how_many_rows_are_asked_for() -> None:
    more = Hops(train_rows=150, validation_rows=30, test_rows=30)
    assert more.examples("train")[0][:120] == SMALL.examples("train")[0]
    assert more.examples("test") == SMALL.examples("test")


def test_a_row_is_the_same_on_every_machine_and_version_of_python() -> None:
    example = SMALL.examples("test")[0][0]
    assert written(SMALL, example) == PINNED


def test_every_row_is_kept_in_the_ledger() -> None:
    examples, ledger = SMALL.examples("validation")
    assert len(examples) == 30
    assert ledger == Ledger(rows_in=30, rows_kept=30)


def test_words_are_separated_by_single_spaces_and_all_in_the_vocabulary() -> None:
    for task in (SMALL, Hops(symbols=26, hops=3, train_rows=20, validation_rows=1, test_rows=1)):
        used = set()
        for example in every_example(task):
            text = written(task, example)
            assert text == " ".join(text.split())
            used |= set(text.split())
        assert used == set(task.words())
        assert len(task.words()) == task.symbols + 1


def test_the_answer_is_the_last_word() -> None:
    example = Example(id="1", question="? a", steps=("b", "c"), answer="c")
    assert SMALL.score(example, "b c c") == Score("right", "c")
    assert SMALL.score(example, "c") == Score("right", "c")
    assert SMALL.score(example, " b c d\n") == Score("wrong", "d")
    assert SMALL.score(example, "  ") == Score("no answer", None)


def test_rows_of_several_numbers_of_hops_say_theirs_and_are_answered_by_the_oracle():
    task = Hops(min_hops=2, hops=4, train_rows=30)
    rows, _ = task.examples("train")
    assert [len(row.steps) for row in rows[:6]] == [2, 3, 4, 2, 3, 4]
    for row in rows:
        pointers = dict(premise.split() for premise in row.premises)
        mark, here, number = row.question.split()
        for _ in range(int(number)):
            here = pointers[here]
        assert (mark, here, len(row.steps)) == ("?", row.answer, int(number))
        assert set(row.question.split()) <= set(task.words())


def test_more_hops_at_least_than_at_most_are_refused():
    with pytest.raises(ValueError, match="min_hops is 5, hops 4; exchange them"):
        Hops(min_hops=5)
