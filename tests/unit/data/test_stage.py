"""Question, thoughts, words: which tokens stand where, and which of them are trained."""

from itertools import permutations
from random import Random

import numpy as np
from tests.conftest import TOKENS
from tests.unit.data.build import ids, tokenized

from unspoken.data.stage import question_tokens, stage
from unspoken.records import IGNORED

LATENT, START, END = TOKENS.latent, TOKENS.start, TOKENS.end


def laid_out(num_thoughts, words, *, markers, given=()):
    staged = stage(tokenized("x"), ids([1, 2]), num_thoughts, [ids(word) for word in words], TOKENS,
                   markers=markers, given=ids(given))  # fmt: skip
    return staged, staged.input_ids.tolist(), staged.labels.tolist()


def test_slots_stand_between_the_markers_and_only_the_words_are_trained():
    staged, input_ids, labels = laid_out(2, [[5, 6], [7]], markers=True)
    assert input_ids == [1, 2, START, LATENT, LATENT, END, 5, 6, 7]
    assert labels == [IGNORED] * 6 + [5, 6, 7]
    assert (staged.num_thoughts, staged.first_thought, staged.num_forced, staged.id) == (2, 3, 0, "x")


def test_without_markers_the_slots_follow_the_question():
    staged, input_ids, labels = laid_out(3, [[5]], markers=False)
    assert input_ids == [1, 2, LATENT, LATENT, LATENT, 5]
    assert labels == [IGNORED] * 5 + [5]
    assert staged.first_thought == 2


def test_markers_stand_even_around_no_slots_and_there_is_no_first_thought():
    staged, input_ids, labels = laid_out(0, [[5]], markers=True)
    assert input_ids == [1, 2, START, END, 5]
    assert labels == [IGNORED] * 4 + [5]
    assert (staged.num_thoughts, staged.first_thought) == (0, None)


def test_given_words_follow_the_thoughts_are_not_trained_and_are_counted():
    staged, input_ids, labels = laid_out(1, [[5, 6]], markers=False, given=[8, 9])
    assert input_ids == [1, 2, LATENT, 8, 9, 5, 6]
    assert labels == [IGNORED] * 5 + [5, 6]
    assert staged.num_forced == 2


def test_a_prompt_trains_nothing():
    _, input_ids, labels = laid_out(1, [], markers=True)
    assert input_ids == [1, 2, START, LATENT, END]
    assert labels == [IGNORED] * 5


def test_a_trained_word_keeps_its_label_even_when_its_id_is_that_of_a_thought_or_of_padding():
    _, _, labels = laid_out(1, [[LATENT, 0]], markers=True)
    assert labels == [IGNORED] * 5 + [LATENT, 0]


def test_token_ids_and_labels_are_32_bit_integers_in_every_layout():
    for num_thoughts in (0, 2):
        for words in ([], [[5]]):
            for markers in (True, False):
                staged, _, _ = laid_out(num_thoughts, words, markers=markers)
                assert (staged.input_ids.dtype, staged.labels.dtype) == (np.int32, np.int32)


ROW = tokenized(start=[36], premises=[[4], [5, 6], [7], [8]], questions=[[1, 2], [2, 1], [3]])


def test_without_chance_the_question_is_the_start_the_premises_in_order_and_the_first_wording():
    assert question_tokens(ROW).tolist() == [36, 4, 5, 6, 7, 8, 1, 2]


def test_with_chance_every_order_of_the_premises_and_every_wording_occurs_about_equally():
    draws = 4 * 3 * 2 * 3 * 100  # orders of four premises x wordings x 100
    seen = {}
    rng = Random(0)
    for _ in range(draws):
        tokens = tuple(question_tokens(ROW, rng).tolist())
        seen[tokens] = seen.get(tokens, 0) + 1
    assert all(tokens[0] == 36 for tokens in seen)
    assert len(seen) == 72
    # 71 degrees of freedom: the 99.9% quantile of chi-square is 112.3
    assert sum((count - 100) ** 2 / 100 for count in seen.values()) < 112.3


def test_drawing_a_question_leaves_the_row_as_it_was():
    question_tokens(ROW, Random(1))
    assert [premise.tolist() for premise in ROW.premises] == [[4], [5, 6], [7], [8]]


def test_the_premise_that_comes_first_is_read_without_its_separator():
    row = tokenized(premises=[[9, 4], [9, 5], [9, 6]], openings=[[4], [5], [6]], questions=[[1]])
    assert question_tokens(row).tolist() == [4, 9, 5, 9, 6, 1]
    orders = {tuple(question_tokens(row, Random(seed)).tolist()) for seed in range(100)}
    assert orders == {(a, 9, b, 9, c, 1) for a, b, c in permutations((4, 5, 6))}


def test_rows_without_openings_read_their_premises_as_they_are():
    row = tokenized(premises=[[4], [5]], openings=[], questions=[[1]])
    assert question_tokens(row).tolist() == [4, 5, 1]
