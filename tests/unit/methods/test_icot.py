"""Stepwise internalisation: tokens disappear from the left, and a few more by chance."""

from math import exp
from random import Random

import pytest
from tests.conftest import TOKENS
from tests.unit.data.build import tokenized

from unspoken.errors import RecipeError
from unspoken.methods.icot import ICoT
from unspoken.records import IGNORED

ROW = tokenized(questions=[[1, 2]], steps=[[10, 11], [12], [13, 14]], answer=[30, 31, 0])
SHARP = {"smoothing": 100.0}  # exp(-100): no token more than the schedule says
LONG = tokenized(questions=[[1]], steps=[list(range(100, 160))], answer=[30, 0])


def kept(method, stage, row=ROW, seed=0):
    staged = method.layout(row, stage, TOKENS, Random(seed))
    question, answer = len(row.questions[0]), len(row.answer)
    assert staged.input_ids[:question].tolist() == row.questions[0].tolist()
    assert staged.input_ids[-answer:].tolist() == row.answer.tolist()
    assert staged.labels.tolist() == [IGNORED] * question + staged.input_ids[question:].tolist()
    assert (staged.num_thoughts, staged.first_thought) == (0, None)
    return staged.input_ids[question:-answer].tolist()


def test_a_stage_is_a_number_of_tokens_and_they_are_removed_from_the_left_across_steps():
    method = ICoT(**SHARP)
    assert [kept(method, stage) for stage in range(7)] == [
        [10, 11, 12, 13, 14], [11, 12, 13, 14], [12, 13, 14], [13, 14], [14], [], [],
    ]  # fmt: skip


def test_tokens_are_removed_at_a_rate_per_epoch_after_the_full_epochs():
    method = ICoT(remove_per_epoch=8, full_epochs=2, max_tokens=20)
    assert [method.stage(epoch) for epoch in range(7)] == [0, 0, 0, 8, 16, 20, 20]


def test_a_rate_below_one_removes_a_token_every_few_epochs():
    method = ICoT(remove_per_epoch=0.5, max_tokens=3)
    assert [method.stage(epoch) for epoch in range(9)] == [0, 0, 1, 1, 2, 2, 3, 3, 3]


def test_the_final_stage_removes_every_token_of_even_the_longest_row():
    method = ICoT(max_tokens=20, **SHARP)
    assert method.final_stage == 20
    assert kept(method, 19, LONG) == list(range(119, 160))
    assert kept(method, 20, LONG) == []
    assert kept(method, 25, LONG) == []


@pytest.mark.parametrize("smoothing", [0.5, 1.0, 4.0])
def test_the_extra_removal_o_has_probability_proportional_to_exp_of_minus_smoothing_o(smoothing):
    """P(o) = (1 - exp(-l)) exp(-l o), as in section 3 of arXiv:2405.14838."""
    method, rng, draws = ICoT(smoothing=smoothing), Random(0), 8000
    counts = [0] * 61
    for _ in range(draws):
        staged = method.layout(LONG, 5, TOKENS, rng)
        counts[60 - 5 - (len(staged.input_ids) - 3)] += 1
    bins = [draws * (1 - exp(-smoothing)) * exp(-smoothing * o) for o in range(60)]
    likely = [o for o in range(60) if bins[o] >= 20]
    observed = [counts[o] for o in likely] + [draws - sum(counts[o] for o in likely)]
    expected = [bins[o] for o in likely] + [draws - sum(bins[o] for o in likely)]
    distance = sum((seen - wanted) ** 2 / wanted for seen, wanted in zip(observed, expected, strict=True))
    assert distance < {11: 31.3, 6: 22.5, 2: 13.8}[len(observed) - 1]  # 99.9% of chi-square by degrees of freedom


def test_the_extra_removal_takes_what_the_row_has_and_no_more():
    method = ICoT(smoothing=0.01)  # a hundred tokens on average
    assert {tuple(kept(method, 0, seed=seed)) for seed in range(50)} >= {()}


def test_the_paper_s_optimizer_restarts_when_the_number_grows():
    """`reset_optimizer: stage` compares the stages of neighbouring epochs: they change until all tokens are gone."""
    method = ICoT(remove_per_epoch=8, full_epochs=1, max_tokens=20)
    stages = [method.stage(epoch) for epoch in range(8)]
    assert [epoch for epoch in range(1, 8) if stages[epoch] != stages[epoch - 1]] == [2, 3, 4]


def test_a_prompt_is_the_bare_question_at_every_stage():
    for stage in (0, 3, 256):
        assert ICoT().prompt(ROW, stage, TOKENS).input_ids.tolist() == [1, 2]
    assert ICoT().most_thoughts(256) == 0


def test_thoughts_are_refused():
    with pytest.raises(RecipeError, match="icot has no thoughts"):
        ICoT().prompt(ROW, 0, TOKENS, num_thoughts=1)


def test_a_row_without_steps_is_its_question_and_answer():
    assert kept(ICoT(), 0, tokenized(questions=[[1, 2]], steps=[])) == []
