"""Superposition: k thoughts predict a node of the frontier after them, all thoughts the answer (field.md R1)."""

from collections import Counter
from random import Random

import pytest
from tests.conftest import TOKENS
from tests.unit.data.build import tokenized

from unspoken.data.tokenize import tokenize
from unspoken.data.tokenizer import thought_tokens, word_tokenizer
from unspoken.errors import DataError
from unspoken.methods.superposition import Superposition
from unspoken.records import IGNORED
from unspoken.tasks.graph import frontiers
from unspoken.tasks.hops import Hops
from unspoken.tasks.prosqa import ProsQA

LATENT = TOKENS.latent
# three steps; before each answer the start 30, after it the end of sequence 0
ROW = tokenized(
    questions=[[1, 2], [2, 1]], steps=[[10], [11], [12]], answer=[30, 12, 0], frontiers=[(10, 20, 21), (11, 22), (12,)]
)
PLAIN = Superposition(mix=0.0, redraw=False)


def laid_out(stage, row=ROW, method=PLAIN, seed=0):
    staged = method.layout(row, stage, TOKENS, Random(seed))
    return staged.input_ids.tolist(), staged.labels.tolist()


@pytest.mark.parametrize("k", [0, 1, 2])
def test_k_thoughts_predict_one_node_of_the_frontier_after_them(k):
    for seed in range(20):
        input_ids, labels = laid_out(k, seed=seed)
        assert input_ids[:-1] == [1, 2, *[LATENT] * k]
        assert input_ids[-1] in ROW.frontiers[k]
        assert labels == [IGNORED] * (2 + k) + input_ids[-1:]


@pytest.mark.parametrize(("k", "limit"), [(0, 13.8), (1, 10.8)])
def test_over_many_draws_every_node_of_a_frontier_is_the_label_about_equally_often(k, limit):
    rng, draws = Random(0), 3000
    counts = Counter(int(PLAIN.layout(ROW, k, TOKENS, rng).labels[-1]) for _ in range(draws))
    assert set(counts) == set(ROW.frontiers[k])
    wanted = draws / len(counts)
    assert sum((count - wanted) ** 2 / wanted for count in counts.values()) < limit  # 99.9% of chi-square


@pytest.mark.parametrize("stage", [3, 4, 9])
def test_all_thoughts_and_the_answer_start_predict_the_answer(stage):
    input_ids, labels = laid_out(stage)
    assert input_ids == [1, 2, LATENT, LATENT, LATENT, 30, 12, 0]
    assert labels == [IGNORED] * 6 + [12, 0]


def test_there_are_no_markers_at_any_stage():
    for stage in range(5):
        assert not {TOKENS.start, TOKENS.end} & set(laid_out(stage)[0])


def test_a_task_without_an_answer_start_predicts_the_answer_right_after_the_thoughts():
    row = tokenized(questions=[[1]], steps=[[10]], answer=[10, 0], answer_start=0, frontiers=[(10,)])
    assert laid_out(1, row) == ([1, LATENT, 10, 0], [IGNORED, IGNORED, 10, 0])


def test_a_row_without_steps_is_asked_for_its_answer_at_once():
    row = tokenized(questions=[[1]], steps=[], answer=[30, 12, 0])
    assert laid_out(0, row)[0] == [1, 30, 12, 0]


def test_a_prompt_ends_with_the_answer_start_and_counts_it_as_forced():
    for stage, thoughts in [(0, 0), (2, 2), (3, 3), (4, 3)]:
        prompt = PLAIN.prompt(ROW, stage, TOKENS)
        assert prompt.input_ids.tolist() == [1, 2, *[LATENT] * thoughts, 30]
        assert prompt.labels.tolist() == [IGNORED] * (3 + thoughts)
        assert (prompt.num_thoughts, prompt.num_forced) == (thoughts, 1)


def test_a_prompt_gets_as_many_thoughts_as_are_asked_for():
    assert PLAIN.prompt(ROW, 1, TOKENS, num_thoughts=6).input_ids.tolist() == [1, 2, *[LATENT] * 6, 30]


def test_a_prompt_at_the_last_stage_is_its_row_without_the_answer():
    trained, prompt = PLAIN.layout(ROW, 4, TOKENS, Random(0)), PLAIN.prompt(ROW, 4, TOKENS)
    assert trained.input_ids.tolist() == [*prompt.input_ids.tolist(), 12, 0]
    assert (trained.num_thoughts, trained.first_thought) == (prompt.num_thoughts, prompt.first_thought) == (3, 2)


def test_mix_draws_uniformly_from_the_earlier_stages_and_this_one():
    """The repository of the paper draws from 0 to the current stage, not to the number of steps as Coconut does."""
    method, rng = Superposition(mix=1.0, redraw=False), Random(0)
    counts = Counter(method.layout(ROW, 2, TOKENS, rng).num_thoughts for _ in range(3000))
    assert sorted(counts) == [0, 1, 2]
    assert sum((count - 1000) ** 2 / 1000 for count in counts.values()) < 13.8


def test_mix_is_the_probability_of_drawing_a_stage():
    method, rng = Superposition(mix=0.3, redraw=False), Random(0)
    counts = Counter(method.layout(ROW, 3, TOKENS, rng).num_thoughts for _ in range(4000))
    expected = {0: 300, 1: 300, 2: 300, 3: 300 + 2800}
    assert sum((counts[k] - wanted) ** 2 / wanted for k, wanted in expected.items()) < 16.3


def test_each_draw_shuffles_the_edges_and_swaps_the_candidates():
    row = tokenized(
        premises=[[4], [5]], questions=[[1, 2], [2, 1]], steps=[[10]], answer=[30, 10, 0], frontiers=[(10,)]
    )
    drawn = {tuple(laid_out(1, row, Superposition(mix=0.0), seed)[0][:4]) for seed in range(60)}
    assert drawn == {(4, 5, 1, 2), (4, 5, 2, 1), (5, 4, 1, 2), (5, 4, 2, 1)}
    assert PLAIN.prompt(row, 1, TOKENS).input_ids[:4].tolist() == [4, 5, 1, 2]


def test_the_defaults_are_those_of_the_paper():
    method = Superposition()
    assert (method.redraw, method.max_stage, method.epochs_per_stage, method.mix) == (True, 4, 25, 0.1)
    assert [method.stage(epoch) for epoch in (0, 24, 25, 49, 99, 100, 299)] == [0, 0, 1, 1, 3, 4, 4]


@pytest.mark.parametrize("stage", [0, 3])
def test_a_row_without_frontiers_is_refused_by_name(stage):
    row = tokenized("row 7", steps=[[10], [11]], answer=[30, 12, 0])
    with pytest.raises(DataError, match="row row 7 has no frontiers"):
        laid_out(stage, row)


def test_an_answer_of_several_tokens_is_refused_by_name():
    row = tokenized("row 8", steps=[[10]], answer=[30, 12, 13, 0], frontiers=[(10,)])
    with pytest.raises(DataError, match="row row 8 has an answer of 2 tokens"):
        laid_out(1, row)


ROWS = {"train_rows": 30, "validation_rows": 1, "test_rows": 1}


@pytest.mark.parametrize("task", [ProsQA(rendering="symbols", **ROWS), Hops(**ROWS)], ids=["prosqa", "hops"])
def test_labels_of_generated_rows_are_the_nodes_at_depth_k_plus_1_on_a_shortest_path(task):
    tokenizer = word_tokenizer(task.words())
    examples = task.examples("train")[0]
    for example, row in zip(examples, tokenize(examples, task.text, tokenizer), strict=True):
        layers = frontiers(example.graph)
        for k in range(len(example.steps)):
            labels = {int(laid_out(k, row, seed=seed)[1][-1]) for seed in range(60)}
            assert {tokenizer.convert_ids_to_tokens(label) for label in labels} == {
                example.graph.names[node] for node in layers[k + 1]
            }
        trained = PLAIN.layout(row, len(example.steps), thought_tokens(tokenizer), Random(0))
        words = tokenizer.decode(trained.labels[trained.labels != IGNORED], skip_special_tokens=True)
        assert words == example.answer
