"""Each way of taking the thoughts away, by what the model then reads."""

import numpy as np
import pytest
import torch
from tests.conftest import TOKENS, tiny_model
from tests.laws.rows import batch_of
from tests.unit.data.build import tokenized

from unspoken.data.stage import stage
from unspoken.errors import DataError
from unspoken.evaluation.controls import REPLACEMENTS, controlled, donors, without_slots
from unspoken.evaluation.recorded import means_of_others
from unspoken.records import IGNORED

LATENT, START, END = TOKENS.latent, TOKENS.start, TOKENS.end


def prompt(question, num_thoughts, *, markers=True, given=()):
    question = np.array(question, dtype=np.int32)
    return stage(tokenized("x"), question, num_thoughts, [], TOKENS, markers=markers, given=np.array(given, np.int32))


def prompts_with(*counts, seed=0):
    rng = np.random.default_rng(seed)
    return [prompt(rng.integers(1, 37, size=rng.integers(2, 7)), count) for count in counts]


def thoughts_of(model, prompts):
    """What the slots of each prompt are filled with when all of them are read together."""
    batch = batch_of(prompts, align=False)
    output = model(input_ids=batch["input_ids"], attention_mask=batch["attention_mask"])
    return [output.thoughts[row, output.thought_mask[row]].detach() for row in range(len(prompts))]


def test_without_its_slots_a_prompt_keeps_its_question_and_its_markers():
    given = prompt([1, 2], 3, given=[8, 9])
    bare = without_slots(given, LATENT)
    assert bare.input_ids.tolist() == [1, 2, START, END, 8, 9]
    assert bare.labels.tolist() == [IGNORED] * 6
    assert (bare.num_thoughts, bare.first_thought, bare.num_forced, bare.id) == (0, None, 2, "x")
    assert given.input_ids.tolist() == [1, 2, START, LATENT, LATENT, LATENT, END, 8, 9]


def test_a_prompt_without_slots_stays_as_it_is():
    assert without_slots(prompt([1, 2], 0, markers=False), LATENT).input_ids.tolist() == [1, 2]


def test_removed_takes_the_slots_out_of_every_prompt_and_leaves_the_model_alone():
    model, prompts = tiny_model(), prompts_with(0, 2, 3)
    source = model.model.thought_source
    thinking, used = controlled(model, prompts, "removed")
    with thinking(range(3)):
        assert model.model.thought_source is source
    for bare, full in zip(used, prompts, strict=True):
        assert bare.input_ids.tolist() == [token for token in full.input_ids.tolist() if token != LATENT]


def test_no_control_changes_nothing():
    model, prompts = tiny_model(), prompts_with(0, 2)
    source, schedule = model.model.thought_source, model.model.schedule
    thinking, used = controlled(model, prompts, "none")
    with thinking(range(2)):
        assert (model.model.thought_source, model.model.schedule) == (source, schedule)
    assert used == prompts


@pytest.mark.parametrize("control", REPLACEMENTS)
def test_a_replacement_keeps_the_prompts_and_is_taken_back_even_after_an_error(control):
    model, prompts = tiny_model(), prompts_with(1, 2)
    source, schedule = model.model.thought_source, model.model.schedule
    thinking, used = controlled(model, prompts, control)
    assert used == prompts

    def interrupted():
        with thinking(range(2)):
            assert model.model.thought_source is not source
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert (model.model.thought_source, model.model.schedule) == (source, schedule)


def test_an_unknown_control_is_refused_with_those_that_are_known():
    with pytest.raises(ValueError, match=r"'shuffled'.*none, removed, zero, mean, noise, another_row"):
        controlled(tiny_model(), [], "shuffled")


def test_zero_thoughts_are_zero():
    model, prompts = tiny_model(), prompts_with(1, 3, 2)
    thinking, used = controlled(model, prompts, "zero")
    with thinking(range(3)):
        thoughts = thoughts_of(model, used)
    assert [len(each) for each in thoughts] == [1, 3, 2]
    assert all((each == 0).all() for each in thoughts)
    assert all((each != 0).any() for each in thoughts_of(model, prompts))


def thoughts_by_definition(model, row):
    """One row, no cache, no batch: each thought is the state before its slot, put into the slot."""
    ids = torch.tensor(row.input_ids, dtype=torch.long)
    embeds, thoughts = model.get_input_embeddings()(ids)[None], []
    for index in (ids == LATENT).nonzero().flatten().tolist():
        states = model.model.language_model(inputs_embeds=embeds[:, :index], use_cache=False).last_hidden_state
        thoughts.append(states[:, -1])
        embeds = torch.cat([embeds[:, :index], states[:, -1:], embeds[:, index + 1 :]], dim=1)
    return [thought[0].detach() for thought in thoughts]


SCHEDULES = pytest.mark.parametrize("schedule", [None, {"name": "jacobi", "iterations": 5}])


@SCHEDULES
def test_every_slot_gets_its_mean_over_the_other_rows(schedule):
    model, prompts = tiny_model(schedule=schedule), prompts_with(1, 3, 2, 0, 2)
    per_row = [thoughts_by_definition(model, row) for row in prompts]
    thinking, used = controlled(model, prompts, "mean", batch_size=2)
    with thinking(range(5)):
        found = thoughts_of(model, used)
    for row, own in enumerate(per_row):
        others = [each for other, each in enumerate(per_row) if other != row]
        for slot, thought in enumerate(found[row]):
            # nobody else has the third slot of the second row: it takes the second
            known = min(slot, max(map(len, others)) - 1)
            expected = torch.stack([each[known] for each in others if len(each) > known]).mean(dim=0)
            torch.testing.assert_close(thought, expected, atol=1e-5, rtol=1e-4)
        assert len(found[row]) == len(own)


def test_the_mean_of_others_is_theirs_alone():
    rng = torch.Generator().manual_seed(0)
    thoughts = [torch.randn(count, 4, generator=rng) for count in (2, 0, 2, 2)]
    found = means_of_others(thoughts)
    assert sorted(found) == [0, 2, 3]
    torch.testing.assert_close(found[0], (thoughts[2] + thoughts[3]) / 2)
    changed = means_of_others([thoughts[0] + 1, *thoughts[1:]])
    torch.testing.assert_close(changed[0], found[0])
    assert not torch.allclose(changed[2], found[2])
    assert means_of_others([thoughts[0], thoughts[1]]) == {}
    assert means_of_others([]) == {}


@SCHEDULES
def test_another_row_gives_each_row_all_that_its_neighbour_thinks(schedule):
    """Not the first thought of the neighbour alone: the later ones are made from its question, too."""
    model, prompts = tiny_model(schedule=schedule), prompts_with(3, 2, 3, 0, 2, 3)
    per_row = [thoughts_by_definition(model, row) for row in prompts]
    thinking, used = controlled(model, prompts, "another_row", batch_size=2)
    neighbours = {0: 5, 1: 4, 2: 0, 4: 1, 5: 2}
    for batch in ([2, 3, 1], [0, 4, 5]):
        with thinking(batch):
            found = thoughts_of(model, [used[row] for row in batch])
        for row, thoughts in zip(batch, found, strict=True):
            expected = per_row[neighbours[row]] if row in neighbours else []
            assert len(thoughts) == len(expected)
            for thought, one in zip(thoughts, expected, strict=True):
                torch.testing.assert_close(thought, one, atol=1e-5, rtol=1e-4)


def test_a_row_that_is_alone_with_its_number_gets_the_thoughts_of_the_most_similar_one():
    prompts = [prompt([1, 2], 1), prompt([3, 4, 5, 6, 7], 2), prompt([8, 9], 2), prompt([2], 3), prompt([5, 5], 0)]
    found = donors(prompts)
    assert [each.num_thoughts for each in found] == [1, 2, 2, 3, 0]
    assert found[0].input_ids.tolist() == [8, 9, START, LATENT, END]
    assert found[3].input_ids.tolist() == [8, 9, START, LATENT, LATENT, LATENT, END]
    assert (found[1], found[2], found[4]) == (prompts[2], prompts[1], prompts[4])


@pytest.mark.parametrize("control", ["mean", "another_row"])
def test_thoughts_of_others_need_others(control):
    with pytest.raises(DataError, match=rf"{control} .*only x has any; leave it out"):
        controlled(tiny_model(), prompts_with(0, 2, 0), control)


def test_noise_has_the_length_of_the_thought_and_another_direction_and_a_seed():
    model, prompts = tiny_model(), [prompt([1, 2, 3], 1), prompt([9, 8, 7], 1)]
    trained, drawn = thoughts_of(model, prompts), {}
    for seed in (0, 0, 1):
        thinking, used = controlled(model, prompts, "noise", seed=seed)
        with thinking([0, 1]):
            noise = thoughts_of(model, used)
        for row in range(2):
            torch.testing.assert_close(noise[row].norm(), trained[row].norm())
            assert torch.cosine_similarity(noise[row], trained[row]).abs().item() < 0.9
        if seed in drawn:
            assert all(torch.equal(one, other) for one, other in zip(drawn[seed], noise, strict=True))
        drawn[seed] = noise
    assert not torch.allclose(drawn[0][0], drawn[1][0])


def test_the_noise_of_a_row_does_not_depend_on_its_batch():
    model, prompts = tiny_model(), prompts_with(2, 2, 2)
    thinking, used = controlled(model, prompts, "noise")
    with thinking(range(3)):
        together = thoughts_of(model, used)
    for row in range(3):
        with thinking([row]):
            torch.testing.assert_close(thoughts_of(model, [used[row]])[0], together[row], atol=1e-5, rtol=1e-4)
