"""The likelihood of choices: batched and from one cache equals the definition, for any weights."""

import numpy as np
import pytest
import torch

from tests.conftest import TOKENS, tiny_model
from tests.laws.test_generate import prompts
from tests.laws.test_images import seeing_model, seeing_rows
from unspoken.data.stage import stage
from unspoken.evaluation.likelihood import log_likelihoods
from unspoken.evaluation.predict import answers
from unspoken.records import TokenizedExample

FAMILIES = ["gpt2", "llama", "qwen2", "gemma2"]
SOURCES = [{"name": "last_hidden"}, {"name": "window", "weights": [0.6, 0.3, 0.1]}, {"name": "pause"}]


def random_choices(rng, count):
    return [rng.integers(0, 35, size=rng.integers(1, 6)).astype(np.int32) for _ in range(count)]


def weigh(model, prompts, choices, *, batch_size=64, written=5):
    """The log-likelihoods beside the generation of `written` tokens."""
    found = {}

    def behind(rows, reading):
        found.update(zip(rows, log_likelihoods(model, reading, [choices[row] for row in rows]), strict=True))

    tokens = dict(answers(model, prompts, batch_size, written, behind=behind))
    assert tokens == dict(answers(model, prompts, batch_size, written)), "what is written stays as it is"
    return [found[row] for row in range(len(prompts))]


@torch.no_grad()
def by_definition(model, prompt, choice, **inputs):
    """The whole sequence in one run, without a cache: what each token of the choice is worth, summed."""
    ids = torch.tensor(np.concatenate([prompt.input_ids, choice]), dtype=torch.long)[None]
    log_probabilities = model(input_ids=ids, **inputs).logits[0].double().log_softmax(dim=-1)
    first = len(prompt.input_ids)
    return sum(float(log_probabilities[first + place - 1, token]) for place, token in enumerate(choice.tolist()))


@pytest.mark.parametrize("arch", FAMILIES)
@pytest.mark.parametrize("source", SOURCES, ids=lambda source: source["name"])
@pytest.mark.parametrize("batch_size", [2, 64])
def test_every_choice_of_a_batch_is_worth_what_it_is_worth_alone(arch, source, batch_size):
    model, rng = tiny_model(arch, source=source), np.random.default_rng(0)
    rows = prompts(7, counts=(0, 3, 1, 4, 2))
    choices = [random_choices(rng, count) for count in (4, 2, 1, 5, 3)]
    found = weigh(model, rows, choices, batch_size=batch_size)
    assert [len(values) for values in found] == [4, 2, 1, 5, 3]
    for values, row, offered in zip(found, rows, choices, strict=True):
        assert values == pytest.approx([by_definition(model, row, choice) for choice in offered], abs=1e-4)
    # nothing is so flat that a mistake would not show
    assert len({round(value, 2) for values in found for value in values}) == 15


def test_choices_of_one_token_each_are_read_off_the_last_state():
    model, rows = tiny_model("llama"), prompts(8)
    choices = [[np.array([token], dtype=np.int32) for token in (5, 9)] for _ in rows]
    for values, row, offered in zip(weigh(model, rows, choices), rows, choices, strict=True):
        assert values == pytest.approx([by_definition(model, row, choice) for choice in offered], abs=1e-5)


def test_rows_see_their_own_images():
    model = seeing_model()
    rng, rows = np.random.default_rng(1), []
    for row in seeing_rows():
        words = row.input_ids[: (row.labels == -100).sum()]
        example = TokenizedExample(row.id, words[:0], (), (words,), (), words[:0], images=row.images)
        rows.append(stage(example, words, 0, [], TOKENS, markers=False))
    choices = [random_choices(rng, 3) for _ in rows]
    found = weigh(model, rows, choices)
    for values, row, offered in zip(found, rows, choices, strict=True):
        images = (
            {"images": torch.from_numpy(np.stack([image.array() for image in row.images]))[None]} if row.images else {}
        )
        assert values == pytest.approx([by_definition(model, row, choice, **images) for choice in offered], abs=1e-4)


def test_question_and_thoughts_are_computed_once_whatever_the_number_of_choices(monkeypatch):
    """Counted in columns that the decoder runs over."""
    model, rows = tiny_model(), prompts(9, counts=(3, 3))
    decoder, columns = model.model.language_model, []
    usual = decoder.forward

    def counted(*args, **kwargs):
        columns.append(kwargs["inputs_embeds"].size(1))
        return usual(*args, **kwargs)

    monkeypatch.setattr(decoder, "forward", counted)
    batch = max(len(row.input_ids) for row in rows)
    for count in (1, 6):
        columns.clear()
        choice = np.array([5, 6, 7, 0], dtype=np.int32)
        weigh(model, rows, [[choice] * count] * 2, written=1)
        # once more for the answers beside which no choice is weighed
        assert sum(columns) == 2 * batch + 3 * count


def test_a_choice_leaves_nothing_behind_for_the_next_one():
    model, rows = tiny_model(), prompts(10)
    twice = [weigh(model, rows, [[np.array([5, 6], dtype=np.int32)] * 2] * len(rows)) for _ in range(2)]
    assert twice[0] == twice[1]
    assert all(first == second for first, second in twice[0]), "the first choice changes nothing for the second"
