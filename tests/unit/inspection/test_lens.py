"""The lens against thoughts that say which words they should be read as."""

from itertools import permutations

import pytest
import torch
from tests.conftest import VOCABULARY, tiny_model

from unspoken.evaluation.statistics import wilson
from unspoken.inspection.lens import lens, read


@pytest.fixture(scope="module")
def model():
    """Its head reads direction w as word w."""
    made = tiny_model(width=VOCABULARY)
    made.lm_head = torch.nn.Linear(VOCABULARY, VOCABULARY, bias=False)
    with torch.no_grad():
        made.lm_head.weight.copy_(torch.eye(VOCABULARY))
    return made


def saying(*rankings):
    """One thought for each ranking; its first word is the likeliest, then the second, then all others."""
    thoughts = torch.zeros(len(rankings), VOCABULARY)
    for row, words in enumerate(rankings):
        for place, word in enumerate(words):
            thoughts[row, word] = 10.0 - place
    return thoughts


def rows_of(words):
    """Rows with one thought, which reads as one word."""
    return [saying([word]) for word in words]


def holding(*wanted):
    return [[frozenset(words)] for words in wanted]


def test_a_thought_is_read_by_the_head_of_the_model():
    model, thoughts = tiny_model(), torch.randn(3, 16, generator=torch.Generator().manual_seed(0))
    found = read(model, thoughts)
    torch.testing.assert_close(found, (thoughts @ model.lm_head.weight.t()).softmax(dim=-1).detach())
    torch.testing.assert_close(found.sum(dim=-1), torch.ones(3))
    assert not found.requires_grad


@pytest.mark.parametrize("rows", [2, 3, 8])
def test_a_thought_that_reads_as_its_word_is_right_in_every_row_and_never_in_the_control(model, rows):
    """No two rows have a word in common, so a row that kept its own oracle would be a hit of the control."""
    words = list(range(rows))
    for seed in range(20):
        (found,) = lens(model, rows_of(words), holding(*([word] for word in words)), seed)
        assert (found.thought, found.n) == (1, rows)
        assert (found.top1, found.top5, found.shuffled_top1) == (1.0, 1.0, 0.0)
        assert found.interval == wilson(rows, rows)
        assert found.shuffled_interval == wilson(0, rows)


def test_the_control_uses_every_oracle_once(model):
    """All rows read as one word, which three of seven oracles hold: however these go round, three rows are hits."""
    oracle = holding([1], [2], [1, 3], [2], [4], [1], [5])
    for seed in range(10):
        (found,) = lens(model, rows_of([1] * 7), oracle, seed)
        assert found.top1 == found.shuffled_top1 == pytest.approx(3 / 7)
        assert found.shuffled_interval == wilson(3, 7)


def test_the_control_is_what_a_count_over_pairs_of_rows_gives(model):
    words = [1, 2, 3, 1, 2, 1]
    oracle = holding([1], [1, 2], [3], [2], [2, 3], [4])
    pairs = list(permutations(range(6), 2))
    expected = sum(words[row] in oracle[other][0] for row, other in pairs) / len(pairs)
    found = [lens(model, rows_of(words), oracle, seed)[0] for seed in range(400)]
    assert sum(each.shuffled_top1 for each in found) / 400 == pytest.approx(expected, abs=0.02)
    assert {each.top1 for each in found} == {4 / 6}, "the seed is that of the control alone"
    assert len({each.shuffled_top1 for each in found}) > 1


def test_of_two_rows_each_gets_the_oracle_of_the_other(model):
    (found,) = lens(model, rows_of([1, 2]), holding([1, 2], [3]))
    assert (found.top1, found.shuffled_top1) == (0.5, 0.5)
    (found,) = lens(model, rows_of([1, 2]), holding([2], [1]))
    assert (found.top1, found.shuffled_top1) == (0.0, 1.0)


def test_rows_of_which_nothing_is_known_are_left_out(model):
    thoughts = [saying([1], [7]), saying([2], [8]), saying([3], [9]), saying([4]), saying([5], [5])]
    oracle = [
        [frozenset({1}), frozenset({7})],
        [frozenset(), frozenset({0})],
        [frozenset({0}), frozenset({9})],
        [frozenset({4}), frozenset({6})],  # it knows of a thought that the row does not have
        [frozenset({5})],  # the row has a thought of which it does not know
    ]
    first, second = lens(model, thoughts, oracle)
    assert (first.thought, first.n, first.top1) == (1, 4, 0.75)
    assert (second.thought, second.n, second.top1) == (2, 3, pytest.approx(2 / 3))
    assert second.interval == wilson(2, 3)


def test_a_thought_that_fewer_than_two_rows_have_has_no_figures(model):
    oracle = [[frozenset({1})] * 3, [frozenset({1})] * 3]
    found = lens(model, [saying([1], [1], [1]), saying([1])], oracle)
    assert [each.thought for each in found] == [1]
    assert lens(model, [], []) == []


def test_any_word_of_the_oracle_is_right(model):
    (found,) = lens(model, rows_of([1, 2, 3]), holding([0, 1], [0, 1], [0, 3]))
    assert found.top1 == pytest.approx(2 / 3)


def test_the_fifth_word_is_among_the_five_likeliest_and_the_sixth_is_not(model):
    thoughts = [saying([1, 2, 3, 4, 5, 6])] * 3
    (found,) = lens(model, thoughts, holding([5], [6], [2, 9]))
    assert (found.top1, found.top5) == (0.0, pytest.approx(2 / 3))


def test_the_probability_is_that_of_all_words_of_the_oracle_together(model):
    thoughts = [saying([1, 2, 3]), saying([4, 1])]
    (found,) = lens(model, thoughts, holding([2, 3], [4]))
    first, second = (each[0].softmax(dim=-1) for each in thoughts)
    expected = (float(first[2] + first[3]) + float(second[4])) / 2
    assert found.probability == pytest.approx(expected, rel=1e-5)
    assert 0.2 < expected < 0.8


@pytest.mark.parametrize("arch", ["gpt2", "gemma2"])
def test_the_head_reads_states_as_the_model_does_bounded_where_the_decoder_bounds_its_logits(arch):
    model = tiny_model(arch)
    with torch.no_grad():
        model.lm_head.weight.mul_(20)
        inputs = torch.tensor([[5, 6, 7]])
        states = model.model(input_ids=inputs).last_hidden_state
        torch.testing.assert_close(model.read(states), model(input_ids=inputs).logits.softmax(dim=-1))
