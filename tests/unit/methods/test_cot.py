"""The two baselines in words."""

from random import Random

import pytest
from tests.conftest import TOKENS
from tests.unit.data.build import tokenized

from unspoken.errors import RecipeError
from unspoken.methods.cot import CoT, NoCoT
from unspoken.records import IGNORED

ROW = tokenized(premises=[[4]], questions=[[1, 2], [2, 1]], steps=[[10, 11], [12]], answer=[30, 31, 0])


def test_a_chain_of_thought_has_every_step_and_no_thought_tokens():
    staged = CoT().layout(ROW, 0, TOKENS, Random(0))
    assert staged.input_ids.tolist() == [4, 1, 2, 10, 11, 12, 30, 31, 0]
    assert staged.labels.tolist() == [IGNORED] * 3 + [10, 11, 12, 30, 31, 0]
    assert (staged.num_thoughts, staged.first_thought) == (0, None)


def test_without_a_chain_of_thought_the_answer_follows_the_question_and_there_are_no_thought_tokens():
    staged = NoCoT().layout(ROW, 0, TOKENS, Random(0))
    assert staged.input_ids.tolist() == [4, 1, 2, 30, 31, 0]
    assert staged.labels.tolist() == [IGNORED] * 3 + [30, 31, 0]
    assert (staged.num_thoughts, staged.first_thought) == (0, None)


@pytest.mark.parametrize("method", [CoT(), NoCoT(), CoT(redraw=True), NoCoT(redraw=True)])
def test_a_prompt_is_the_bare_question(method):
    prompt = method.prompt(ROW, 0, TOKENS)
    assert prompt.input_ids.tolist() == [4, 1, 2]
    assert prompt.labels.tolist() == [IGNORED] * 3
    assert (prompt.num_thoughts, prompt.num_forced) == (0, 0)


@pytest.mark.parametrize("method", [CoT(), NoCoT()])
def test_there_is_one_stage(method):
    assert {method.stage(epoch) for epoch in range(100)} == {method.final_stage} == {0}
    assert method.most_thoughts(0) == 0


@pytest.mark.parametrize("method", [CoT(), NoCoT()])
def test_thoughts_are_refused_and_none_is_no_thought(method):
    with pytest.raises(RecipeError, match=f"{method.name} has no thoughts, found a budget of 2"):
        method.prompt(ROW, 0, TOKENS, num_thoughts=2)
    assert method.prompt(ROW, 0, TOKENS, num_thoughts=0).num_thoughts == 0


@pytest.mark.parametrize("method", [CoT(redraw=True), NoCoT(redraw=True)])
def test_redraw_chooses_among_the_wordings(method):
    seen = {tuple(method.layout(ROW, 0, TOKENS, Random(seed)).input_ids[:3].tolist()) for seed in range(30)}
    assert seen == {(4, 1, 2), (4, 2, 1)}
