"""Rows side by side: every tensor, position by position."""

import pytest
import torch
from tests.conftest import TOKENS
from tests.unit.data.build import staged

from unspoken.data.collate import collate
from unspoken.records import IGNORED

LATENT, PAD, NO = TOKENS.latent, 0, IGNORED

SHORT = staged([1, LATENT, 5, 6], labels=[NO, NO, 5, 6], thoughts=(1, 1))
LONG = staged([1, 2, 3, LATENT, LATENT, 7], labels=[NO, NO, NO, NO, NO, 7], thoughts=(3, 2))
PLAIN = staged([8, 9], labels=[NO, 9])


def check(batch, **expected):
    assert sorted(batch) == ["attention_mask", "input_ids", "labels", "position_ids"]
    for name, rows in expected.items():
        assert batch[name].dtype == torch.int64
        assert batch[name].tolist() == rows, name


def test_rows_wait_on_the_left_until_their_first_thoughts_share_a_column():
    check(
        collate([SHORT, LONG, PLAIN], pad_id=PAD),
        input_ids=[
            [PAD, PAD, 1, LATENT, 5, 6],
            [1, 2, 3, LATENT, LATENT, 7],
            [8, 9, PAD, PAD, PAD, PAD],
        ],
        attention_mask=[[0, 0, 1, 1, 1, 1], [1, 1, 1, 1, 1, 1], [1, 1, 0, 0, 0, 0]],
        position_ids=[[0, 0, 0, 1, 2, 3], [0, 1, 2, 3, 4, 5], [0, 1, 0, 0, 0, 0]],
        labels=[[NO, NO, NO, NO, 5, 6], [NO, NO, NO, NO, NO, 7], [NO, 9, NO, NO, NO, NO]],
    )


def test_what_is_shorter_after_its_thoughts_is_padded_on_the_right():
    tail = staged([1, 2, LATENT, 4], labels=[NO, NO, NO, 4], thoughts=(2, 1))
    check(
        collate([tail, SHORT], pad_id=PAD),
        input_ids=[[1, 2, LATENT, 4, PAD], [PAD, 1, LATENT, 5, 6]],
        attention_mask=[[1, 1, 1, 1, 0], [0, 1, 1, 1, 1]],
        position_ids=[[0, 1, 2, 3, 0], [0, 0, 1, 2, 3]],
        labels=[[NO, NO, NO, 4, NO], [NO, NO, NO, 5, 6]],
    )


def test_a_long_row_without_thoughts_widens_the_batch_and_moves_nobody():
    plain = staged([1, 2, 3, 4, 5], labels=[NO, NO, 3, 4, 5])
    check(
        collate([plain, SHORT], pad_id=PAD),
        input_ids=[[1, 2, 3, 4, 5], [1, LATENT, 5, 6, PAD]],
        attention_mask=[[1, 1, 1, 1, 1], [1, 1, 1, 1, 0]],
        position_ids=[[0, 1, 2, 3, 4], [0, 1, 2, 3, 0]],
        labels=[[NO, NO, 3, 4, 5], [NO, NO, 5, 6, NO]],
    )


def test_without_any_thought_all_rows_begin_in_the_first_column():
    check(
        collate([PLAIN, staged([4, 5, 6], labels=[NO, 5, 6])], pad_id=PAD),
        input_ids=[[8, 9, PAD], [4, 5, 6]],
        attention_mask=[[1, 1, 0], [1, 1, 1]],
        position_ids=[[0, 1, 0], [0, 1, 2]],
        labels=[[NO, 9, NO], [NO, 5, 6]],
    )


def test_prompts_end_in_the_same_column():
    check(
        collate([SHORT, LONG, PLAIN], pad_id=PAD, align=False),
        input_ids=[
            [PAD, PAD, 1, LATENT, 5, 6],
            [1, 2, 3, LATENT, LATENT, 7],
            [PAD, PAD, PAD, PAD, 8, 9],
        ],
        attention_mask=[[0, 0, 1, 1, 1, 1], [1, 1, 1, 1, 1, 1], [0, 0, 0, 0, 1, 1]],
        position_ids=[[0, 0, 0, 1, 2, 3], [0, 1, 2, 3, 4, 5], [0, 0, 0, 0, 0, 1]],
        labels=[[NO, NO, NO, NO, 5, 6], [NO, NO, NO, NO, NO, 7], [NO, NO, NO, NO, NO, 9]],
    )


def test_prompts_with_slots_at_different_distances_from_their_end_are_not_aligned_on_them():
    rows = [staged([1, LATENT, 5], thoughts=(1, 1)), staged([1, LATENT], thoughts=(1, 1))]
    batch = collate(rows, pad_id=PAD, align=False)
    assert batch["input_ids"].tolist() == [[1, LATENT, 5], [PAD, 1, LATENT]]


def test_missing_thought_columns_are_masked_slots_at_the_end():
    check(
        collate([SHORT, PLAIN], pad_id=PAD, latent_id=LATENT, thought_columns=3),
        input_ids=[[1, LATENT, 5, 6, LATENT, LATENT], [8, 9, PAD, PAD, LATENT, LATENT]],
        attention_mask=[[1, 1, 1, 1, 0, 0], [1, 1, 0, 0, 0, 0]],
        position_ids=[[0, 1, 2, 3, 0, 0], [0, 1, 0, 0, 0, 0]],
        labels=[[NO, NO, 5, 6, NO, NO], [NO, 9, NO, NO, NO, NO]],
    )


@pytest.mark.parametrize("columns", [0, 1, 2])
def test_a_batch_with_enough_thought_columns_gets_no_more(columns):
    batch = collate([SHORT, LONG], pad_id=PAD, latent_id=LATENT, thought_columns=columns)
    assert batch["input_ids"].tolist() == collate([SHORT, LONG], pad_id=PAD)["input_ids"].tolist()


def test_a_batch_without_thoughts_gets_all_the_columns_that_are_asked_for():
    batch = collate([PLAIN], pad_id=PAD, latent_id=LATENT, thought_columns=2)
    assert batch["input_ids"].tolist() == [[8, 9, LATENT, LATENT]]
    assert batch["attention_mask"].tolist() == [[1, 1, 0, 0]]


def test_padding_is_masked_by_position_even_when_its_id_is_that_of_a_real_token():
    check(
        collate([staged([6, 6], labels=[NO, 6]), staged([6, 6, 6], labels=[NO, 6, 6])], pad_id=6),
        input_ids=[[6, 6, 6], [6, 6, 6]],
        attention_mask=[[1, 1, 0], [1, 1, 1]],
        labels=[[NO, 6, NO], [NO, 6, 6]],
    )
