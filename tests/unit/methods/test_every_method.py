"""What holds for every method, on the rows of every kind of task."""

from random import Random

import numpy as np
import pytest

from unspoken.data.tokenize import tokenize
from unspoken.data.tokenizer import thought_tokens, word_tokenizer
from unspoken.methods import METHODS
from unspoken.records import IGNORED
from unspoken.tasks.hops import Hops
from unspoken.tasks.multiplication import Multiplication
from unspoken.tasks.prosqa import ProsQA

ROWS = {"train_rows": 8, "validation_rows": 1, "test_rows": 1}
TASKS = {
    "hops": Hops(**ROWS),
    "prosqa words": ProsQA(**ROWS),
    "prosqa symbols": ProsQA(rendering="symbols", **ROWS),
    "multiplication": Multiplication(**ROWS),
}
MOST_STEPS = {"superposition": {"max_stage": 6}}
PAIRS = [(method, task) for method in METHODS for task in TASKS if method not in ("superposition", "contrastive")]
PAIRS += [("superposition", "hops"), ("superposition", "prosqa symbols")]


def rows_of(name):
    task = TASKS[name]
    tokenizer = word_tokenizer(task.words())
    return tokenize(task.examples("train")[0], task.text, tokenizer), tokenizer


def stages_of(method):
    return sorted({*range(min(method.final_stage, 8) + 1), method.final_stage})


def layouts(name, task, **settings):
    method = METHODS[name](**settings)
    rows, tokenizer = rows_of(task)
    for row in rows:
        for stage in stages_of(method):
            yield method, row, stage, tokenizer, method.layout(row, stage, thought_tokens(tokenizer), Random(stage))


@pytest.mark.parametrize(("name", "task"), PAIRS)
def test_the_end_of_sequence_is_trained_wherever_the_answer_is(name, task):
    for method, row, stage, tokenizer, staged in layouts(name, task):
        if name == "superposition" and stage < len(row.steps):
            assert (staged.labels != IGNORED).sum() == 1  # a node of the search, not an answer
        else:
            assert staged.labels[-1] == staged.input_ids[-1] == tokenizer.eos_token_id
            answer = row.answer[row.answer_start :].tolist()
            assert staged.labels[-len(answer) :].tolist() == answer, method


@pytest.mark.parametrize(("name", "task"), PAIRS)
def test_what_is_trained_is_what_is_read_and_no_thought_token_is_trained(name, task):
    for _, _, _, tokenizer, staged in layouts(name, task, **({"redraw": True} if name != "superposition" else {})):
        trained = staged.labels != IGNORED
        assert (staged.labels[trained] == staged.input_ids[trained]).all()
        tokens = thought_tokens(tokenizer)
        assert not np.isin(staged.labels, [tokens.latent, tokens.start, tokens.end]).any()
        # one piece at the end: the question is never trained, and nothing after the first label is left out
        assert trained[trained.argmax() :].all()
        assert not trained[0]


@pytest.mark.parametrize(("name", "task"), PAIRS)
def test_a_row_of_the_final_stage_is_its_prompt_and_then_what_is_trained(name, task):
    # superposition asks a row with more steps than stages for an answer that it never trained
    for method, row, stage, tokenizer, staged in layouts(name, task, redraw=False, **MOST_STEPS.get(name, {})):
        if stage == method.final_stage:
            prompt = method.prompt(row, stage, thought_tokens(tokenizer))
            length = len(prompt.input_ids)
            assert staged.input_ids[:length].tolist() == prompt.input_ids.tolist()
            assert (staged.labels[:length] == IGNORED).all()
            assert (staged.labels[length:] != IGNORED).all()
            assert (prompt.labels == IGNORED).all()


@pytest.mark.parametrize(("name", "task"), PAIRS)
def test_the_same_random_state_gives_the_same_layout(name, task):
    first, second = layouts(name, task), layouts(name, task)
    for (*_, one), (*_, other) in zip(first, second, strict=True):
        assert one.input_ids.tolist() == other.input_ids.tolist()
        assert one.labels.tolist() == other.labels.tolist()


@pytest.mark.parametrize("name", METHODS)
def test_the_name_in_a_recipe_is_the_name_of_the_method(name):
    assert METHODS[name]().name == name


@pytest.mark.parametrize("name", METHODS)
def test_stages_begin_at_0_never_fall_and_reach_the_final_one(name):
    method = METHODS[name]()
    stages = [method.stage(epoch) for epoch in range(500)]
    assert stages[0] == 0
    assert stages == sorted(stages)
    assert stages[-1] == method.final_stage
