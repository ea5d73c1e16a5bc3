"""Guesses of vectors beside the words: what they are read from, what they cost, and what learns from them."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from tests.conftest import TOKENS, tiny_model
from torch.nn import functional

from unspoken.data.collate import collate, inputs_of
from unspoken.data.stage import stage
from unspoken.model.embedding_heads import EmbeddingHeads, states_before_words
from unspoken.records import IGNORED, TokenizedExample

SIZE = 6
SETTINGS = {
    "size": SIZE, "hidden": 8, "shared": False, "temperature": 0.1,
    "image_loss": "mse", "text_loss": "cosine", "image_weight": 0.5, "text_weight": 0.25,
}  # fmt: skip


def units(rng, *shape):
    values = rng.normal(size=shape).astype(np.float32)
    return values / np.linalg.norm(values, axis=-1, keepdims=True)


def rows(rng, count, num_thoughts=(1, 2, 0)):
    found = []
    for number in range(count):
        question = rng.integers(1, 35, size=rng.integers(3, 9)).astype(np.int32)
        answer = rng.integers(1, 35, size=rng.integers(2, 5)).astype(np.int32)
        empty = np.array([], dtype=np.int32)
        row = TokenizedExample(str(number), empty, (), (question,), (), answer, foreseen=units(rng, 2, SIZE))
        found.append(stage(row, question, num_thoughts[number % len(num_thoughts)], [answer], TOKENS, markers=True))
    return found


def model_with(**changes):
    return tiny_model(embedding_heads={**SETTINGS, **changes})


def test_it_guesses_from_the_state_before_the_first_word():
    states = torch.arange(2 * 4 * 1.0).view(2, 4, 1)
    labels = torch.tensor([[IGNORED, IGNORED, 5, 6], [IGNORED, 7, 8, IGNORED]])
    assert states_before_words(states, labels).flatten().tolist() == [1.0, 4.0]


def test_the_loss_is_that_of_words_and_both_guesses():
    model, batch = model_with(), collate(rows(np.random.default_rng(0), 3), pad_id=0)
    output = model(**batch)
    plain = model(**{key: value for key, value in batch.items() if key != "foreseen"})
    torch.testing.assert_close(output.loss_words, plain.loss)
    torch.testing.assert_close(output.loss, plain.loss + 0.5 * output.loss_image + 0.25 * output.loss_text)
    states = model.model(**{key: batch[key] for key in ("input_ids", "attention_mask", "position_ids")})
    guessed = model.embedding_heads(states_before_words(states.last_hidden_state, batch["labels"]))
    torch.testing.assert_close(output.loss_image, functional.mse_loss(guessed[:, 0], batch["foreseen"][:, 0]))
    cosines = functional.cosine_similarity(guessed[:, 1], batch["foreseen"][:, 1])
    torch.testing.assert_close(output.loss_text, 1 - cosines.mean())


def test_info_nce_is_the_cross_entropy_of_choosing_the_right_one():
    heads = EmbeddingHeads({**SETTINGS, "image_loss": "info_nce"}, 4)
    guessed, right = (torch.from_numpy(units(np.random.default_rng(seed), 3, 2, SIZE)) for seed in (1, 2))
    similarity = guessed[:, 0] @ right[:, 0].T / 0.1
    expected = -similarity.log_softmax(dim=1).diagonal().mean()
    torch.testing.assert_close(heads.losses(guessed, right)["image"], expected)


def test_guesses_are_unit_vectors_and_a_shared_one_is_the_same():
    states = torch.randn(5, 4)
    own, shared = (EmbeddingHeads({**SETTINGS, "shared": each}, 4)(states) for each in (False, True))
    torch.testing.assert_close(own.norm(dim=-1), torch.ones(5, 2))
    assert (own[:, 0] - own[:, 1]).abs().max() > 1e-3
    assert torch.equal(shared[:, 0], shared[:, 1])


@pytest.mark.parametrize("kind", ["image", "text"])
def test_each_guess_teaches_the_head_and_the_thoughts_before_it(kind):
    other = {"image": "text_weight", "text": "image_weight"}[kind]
    model, batch = model_with(**{other: 0.0}), collate(rows(np.random.default_rng(0), 3), pad_id=0)
    output = model(**batch)
    getattr(output, f"loss_{kind}").backward()
    assert model.embedding_heads.layers[0].weight.grad.abs().max() > 0
    assert model.get_input_embeddings().weight.grad.abs().max() > 0


def test_parts_of_a_step_add_up_to_the_step():
    model, all_rows = model_with(image_loss="cosine"), rows(np.random.default_rng(3), 4)
    total = sum(int((row.labels != IGNORED).sum()) for row in all_rows)
    parts = [collate(all_rows[start : start + 2], pad_id=0) for start in (0, 2)]
    outputs = [model(**part, num_items_in_batch=torch.tensor(total)) for part in parts]
    shares = [int((part["labels"] != IGNORED).sum()) / total for part in parts]
    expected = sum(share * model(**part).loss_text for share, part in zip(shares, parts, strict=True))
    torch.testing.assert_close(sum(output.loss_text for output in outputs), expected)


def test_rows_of_a_step_count_alike_however_many_words_they_have():
    model, all_rows = model_with(image_loss="cosine"), rows(np.random.default_rng(3), 5)
    parts = [collate(all_rows[:2], pad_id=0), collate(all_rows[2:], pad_id=0)]
    outputs = [model(**part, num_items_in_batch=torch.tensor(99), num_rows_in_batch=torch.tensor(5)) for part in parts]
    whole = model(**collate(all_rows, pad_id=0))
    for name in ("loss_image", "loss_text"):
        torch.testing.assert_close(sum(output[name] for output in outputs), whole[name])
    nothing = {**parts[0], "labels": torch.full_like(parts[0]["labels"], IGNORED)}
    assert model(**nothing, num_items_in_batch=99, num_rows_in_batch=5).loss_text == 0


def test_generation_takes_no_notice_of_what_is_right():
    batch = collate(rows(np.random.default_rng(0), 2), pad_id=0)
    assert "foreseen" in batch
    assert "foreseen" not in inputs_of(batch, "cpu")


def test_a_batch_of_which_only_some_rows_know_what_comes_is_taught_none():
    some = rows(np.random.default_rng(0), 2)
    assert "foreseen" not in collate([some[0], replace(some[1], foreseen=None)], pad_id=0)
