"""Interventions equal their naive recomputation, row by row without a cache; what changes nothing changes no bit."""

from functools import partial

import numpy as np
import pytest
import torch
from transformers import DynamicCache

from tests.conftest import TOKENS, tiny_model
from tests.laws.rows import batch_of, random_rows
from unspoken.audit.cache import cache_reading, read_slots
from unspoken.audit.interventions import GivenThoughts, SwappedCache, interventions, partners
from unspoken.evaluation.controls import without_slots
from unspoken.evaluation.recorded import Recorded, record
from unspoken.records import IGNORED, StagedExample
from unspoken.thoughts.controls import Edited, Given, noise_of_rows

ARCHS = ["gpt2", "llama", "qwen2"]
COUNT = 3


def prompts_of(rows):
    """The rows without what is to be written."""
    return [
        StagedExample(
            row.id,
            row.input_ids[row.labels == IGNORED],
            row.labels[row.labels == IGNORED],
            row.num_thoughts,
            row.first_thought,
        )
        for row in rows
    ]


@pytest.fixture(params=ARCHS)
def model(request):
    return tiny_model(request.param, width=16)


@pytest.fixture
def prompts():
    return prompts_of(random_rows(3, *[COUNT] * 5))


@pytest.fixture
def recorded(model, prompts):
    return record(model, prompts, ["a", "b", "a", "b", "b"], batch_size=2)


def logits_of(model, prompts, **kwargs):
    batch = batch_of(prompts, align=False)
    inputs = {key: batch[key] for key in ("input_ids", "attention_mask", "position_ids")}
    with torch.no_grad():
        return model(**inputs, logits_to_keep=1, **kwargs).logits


def naive(model, prompt, thoughts):
    """Logits after the prompt with these thoughts in its slots: one row, one pass, no cache."""
    ids = torch.from_numpy(prompt.input_ids).long().unsqueeze(0)
    embeds = model.get_input_embeddings()(ids).clone()
    embeds[ids == TOKENS.latent] = thoughts
    with torch.no_grad():
        states = model.model.language_model(inputs_embeds=embeds, use_cache=False).last_hidden_state
        return model.lm_head(states[:, -1])


def naive_thoughts(model, prompt, edit=lambda thought, k: thought):
    """The thoughts of one row, each from a pass over everything before it, changed as soon as it is made."""
    ids = torch.from_numpy(prompt.input_ids).long().unsqueeze(0)
    embeds = model.get_input_embeddings()(ids).clone()
    made = []
    with torch.no_grad():
        for k, column in enumerate((ids[0] == TOKENS.latent).nonzero().flatten().tolist()):
            states = model.model.language_model(inputs_embeds=embeds[:, :column], use_cache=False).last_hidden_state
            embeds[0, column] = edit(states[0, -1], k)
            made.append(embeds[0, column].clone())
    return torch.stack(made)


def test_recorded_thoughts_are_those_of_the_plain_loop(model, prompts, recorded):
    for prompt, thoughts in zip(prompts, recorded.thoughts, strict=True):
        torch.testing.assert_close(thoughts, naive_thoughts(model, prompt))


def test_giving_every_row_its_own_thoughts_changes_no_bit(model, prompts):
    batch = batch_of(prompts, align=False)
    inputs = {key: batch[key] for key in ("input_ids", "attention_mask", "position_ids")}
    with torch.no_grad():
        own = model.model(**inputs).thoughts
    plain = logits_of(model, prompts)
    with model.model.thinking_with(Given(own)):
        assert torch.equal(logits_of(model, prompts), plain)


def test_an_edit_that_changes_nothing_changes_no_bit(model, prompts):
    plain = logits_of(model, prompts)
    with model.model.thinking_with(Edited(model.model.thought_source, lambda thoughts, ranks: thoughts)):
        assert torch.equal(logits_of(model, prompts), plain)


def test_reading_ones_own_keys_and_values_changes_no_bit(model, prompts, recorded):
    own = SwappedCache("own", "its own", recorded, {row: row for row in range(len(prompts))})
    rows = range(len(prompts))
    with own.thinking(model, rows):
        plain = logits_of(model, prompts)
        assert torch.equal(logits_of(model, prompts, past_key_values=own.cache(model, rows)), plain)
    torch.testing.assert_close(plain, logits_of(model, prompts))


def test_given_thoughts_equal_one_row_at_a_time_without_a_cache(model, prompts, recorded):
    donors = partners(recorded, 0, same_answer=False)
    change = GivenThoughts("swap", "content", "", {row: recorded.thoughts[donor] for row, donor in donors.items()})
    assert sorted(donors) == list(range(len(prompts)))
    with change.thinking(model, range(len(prompts))):
        found = logits_of(model, prompts)
    for row, prompt in enumerate(prompts):
        torch.testing.assert_close(found[row], naive(model, prompt, recorded.thoughts[donors[row]]))
    assert not torch.allclose(found, logits_of(model, prompts))


@pytest.mark.parametrize("name", ["frozen_2", "principal_1", "random_4", "zero", "mean", "placeholder", "noise_0.5"])
def test_changes_at_fill_time_equal_the_plain_loop_with_the_change(model, prompts, recorded, name):
    change = next(each for each in interventions(recorded, TOKENS.latent, seed=0) if each.name == name)
    everything = recorded.stacked()
    mean_D, noise = everything.mean(dim=0), noise_of_rows(range(len(prompts)), COUNT, 16, seed=0)
    _, _, directions = torch.linalg.svd(everything - mean_D, full_matrices=False)
    generator = torch.Generator().manual_seed(0)
    random = [torch.linalg.qr(torch.randn(16, rank, generator=generator)).Q.t() for rank in (1, 4)]

    def project(thought, basis):
        return thought - sum(((thought - mean_D) @ direction) * direction for direction in basis)

    def mean(row, k):
        return torch.stack([each[k] for other, each in enumerate(recorded.thoughts) if other != row]).mean(dim=0)

    def noisy(thought, direction):
        changed = thought + 0.5 * thought.norm() * direction / direction.norm()
        return changed * thought.norm() / changed.norm()

    edits = {
        "frozen_2": lambda row, thought, k: mean(row, 1) if k == 1 else thought,
        "principal_1": lambda row, thought, k: project(thought, directions[:1]),
        "random_4": lambda row, thought, k: project(thought, random[1]),
        "zero": lambda row, thought, k: torch.zeros_like(thought),
        "mean": lambda row, thought, k: mean(row, k),
        "placeholder": lambda row, thought, k: model.get_input_embeddings().weight[TOKENS.latent],
        "noise_0.5": lambda row, thought, k: noisy(thought, noise[row, k]),
    }
    with change.thinking(model, range(len(prompts))):
        found = logits_of(model, prompts)
    for row, prompt in enumerate(prompts):
        expected = naive(model, prompt, naive_thoughts(model, prompt, partial(edits[name], row)))
        torch.testing.assert_close(found[row], expected, atol=1e-5, rtol=1e-4)


def test_swapped_keys_and_values_equal_a_cache_put_together_by_hand(model, prompts, recorded):
    """The question's own cache, the donor's at the slots, and then the positions behind the slots."""
    donors = partners(recorded, 1, same_answer=False)
    change = SwappedCache("swap", "", recorded, donors)
    rows = range(len(prompts))
    with change.thinking(model, rows):
        found = logits_of(model, prompts, past_key_values=change.cache(model, rows))

    def full_cache(row):
        ids = torch.from_numpy(prompts[row].input_ids).long().unsqueeze(0)
        embeds = model.get_input_embeddings()(ids).clone()
        embeds[ids == TOKENS.latent] = recorded.thoughts[row]
        cache = DynamicCache()
        with torch.no_grad():
            model.model.language_model(inputs_embeds=embeds, past_key_values=cache, use_cache=True)
        return cache

    for row, prompt in enumerate(prompts):
        donor = prompts[donors[row]]
        own, other = full_cache(row), full_cache(donors[row])
        first, its_first = prompt.first_thought, donor.first_thought
        mixed = DynamicCache()
        for layer, (mine, theirs) in enumerate(zip(own.layers, other.layers, strict=True)):
            pieces = [
                torch.cat([mine_states[:, :, :first], their_states[:, :, its_first : its_first + COUNT]], dim=2)
                for mine_states, their_states in ((mine.keys, theirs.keys), (mine.values, theirs.values))
            ]
            mixed.update(*pieces, layer)
        rest = torch.from_numpy(prompt.input_ids[first + COUNT :]).long().unsqueeze(0)
        positions = torch.arange(first + COUNT, len(prompt.input_ids)).unsqueeze(0)
        with torch.no_grad():
            states = model.model.language_model(
                inputs_embeds=model.get_input_embeddings()(rest), past_key_values=mixed, position_ids=positions
            ).last_hidden_state
            torch.testing.assert_close(found[row], model.lm_head(states[:, -1]), atol=1e-5, rtol=1e-4)


def test_removed_is_the_layout_without_slots(model, prompts):
    removed = [without_slots(prompt, TOKENS.latent) for prompt in prompts]
    for prompt, without in zip(prompts, removed, strict=True):
        assert np.array_equal(without.input_ids, np.delete(prompt.input_ids, prompt.first_thought + np.arange(COUNT)))
        expected = naive(model, without, torch.zeros(0, 16))
        torch.testing.assert_close(logits_of(model, [without])[0], expected)


def test_slots_in_different_places_are_refused(model, recorded):
    one, two = prompts_of(random_rows(0, 2, 3))
    with pytest.raises(ValueError, match="not in the same columns"):
        read_slots(model, [one, two])


def test_the_same_slots_read_twice_are_the_same(model, prompts):
    slots = read_slots(model, prompts)
    first, second = cache_reading(slots), cache_reading(slots)
    assert torch.equal(
        logits_of(model, prompts, past_key_values=first), logits_of(model, prompts, past_key_values=second)
    )


@pytest.mark.parametrize("same_answer", [False, True])
def test_partners_have_as_many_thoughts_and_the_asked_answer(same_answer):
    rng = np.random.default_rng(0)
    counts, answers = rng.integers(0, 3, size=80).tolist(), rng.choice(list("abc"), size=80).tolist()
    answers[0], counts[0] = "alone", 5
    recorded = Recorded([], [torch.zeros(count, 4) for count in counts], answers)
    found = partners(recorded, 0, same_answer=same_answer)
    for row, donor in found.items():
        assert row != donor
        assert counts[row] == counts[donor] > 0
        assert (answers[row] == answers[donor]) is same_answer
    for row in set(range(80)) - found.keys():
        others = [i for i in range(80) if i != row and counts[i] == counts[row]]
        assert counts[row] == 0 or not any((answers[i] == answers[row]) is same_answer for i in others)
    assert found == partners(recorded, 0, same_answer=same_answer)
