"""Guesses of vectors, sought among those of other rows: by hand."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from tests.unit.model.test_embedding_heads import model_with, rows

from unspoken.data.collate import collate
from unspoken.evaluation.foreseen import CANDIDATES, foreseen_table, guesses, sought
from unspoken.model.embedding_heads import states_before_words


def units(*values):
    return torch.nn.functional.normalize(torch.tensor(values), dim=-1)


def test_a_guess_is_found_when_nothing_else_is_as_near():
    right = units([1.0, 0.0], [0.0, 1.0], [-1.0, 0.0])
    guessed = units([1.0, 0.1], [0.9, 1.0], [1.0, 0.0])
    found = sought(guessed, right, ["a", "b", "c"])
    assert found["recall_1"] == pytest.approx(2 / 3)
    assert found["recall_5"] == 1.0
    assert found["chance_1"] == pytest.approx(1 / 3)
    assert found["cosine"]["value"] == pytest.approx(float((guessed * right).sum(dim=1).mean()), abs=1e-6)
    assert (found["n"], found["candidates"]) == (3, 3)


def test_the_same_guess_for_all_finds_nothing():
    right = torch.nn.functional.normalize(torch.randn(8, 4, generator=torch.Generator().manual_seed(0)), dim=-1)
    found = sought(right[:1].expand(8, -1), right, [str(row) for row in range(8)])
    assert found["recall_1"] == pytest.approx(1 / 8)
    assert sought(torch.ones(8, 4) / 2, torch.ones(8, 4) / 2, [str(row) for row in range(8)])["recall_1"] == 0.0


def test_rows_with_the_same_caption_are_right_for_each_other():
    right = units([1.0, 0.0], [0.8, 0.6], [0.0, 1.0])
    guessed = units([0.8, 0.6], [1.0, 0.0], [0.0, 1.0])
    assert sought(guessed, right, ["a", "a", "b"])["recall_1"] == 1.0
    assert sought(guessed, right, ["a", "c", "b"])["recall_1"] == pytest.approx(1 / 3)


def test_many_rows_are_sought_in_groups():
    right = torch.eye(2 * CANDIDATES + 1)
    found = sought(right, right, [str(row) for row in range(len(right))])
    assert found["recall_1"] == 1.0
    assert found["candidates"] <= CANDIDATES
    assert found["n"] == len(right)


def test_guesses_are_those_of_training_whatever_the_batch():
    model, staged = model_with(), rows(np.random.default_rng(0), 5)
    prompts = [_prompt(row) for row in staged]
    with torch.no_grad():
        batch = collate(staged, pad_id=0)
        states = model.model(**{key: batch[key] for key in ("input_ids", "attention_mask", "position_ids")})
        expected = model.embedding_heads(states_before_words(states.last_hidden_state, batch["labels"]))
    torch.testing.assert_close(guesses(model, prompts, 5), expected, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(guesses(model, prompts, 2), expected, rtol=1e-4, atol=1e-5)


def _prompt(row):
    end = int((row.labels != -100).argmax())
    return replace(row, input_ids=row.input_ids[:end], labels=row.labels[:end])


def test_the_table_says_what_was_sought_among_how_many():
    figures = {**sought(torch.eye(4), torch.eye(4), list("abcd"))}
    score = {"clip_score": {"value": 1.0, "interval": [0.9, 1.1]}, "cosine": {"value": 0.4, "interval": [0.3, 0.5]}}
    printed = foreseen_table({"heads": {"image": figures, "text": figures}, "clip_score": {"none": score}, "n": 4})
    assert "the next image" in printed
    assert "each sought among 4 rows" in printed
    assert "as trained" in printed
