"""Each way of taking the thoughts away, by what the model then reads."""

import numpy as np
import pytest
import torch
from tests.conftest import TOKENS, tiny_model
from tests.laws.rows import batch_of
from tests.unit.data.build import tokenized

from unspoken.data.stage import stage
from unspoken.evaluation.controls import MEAN_ROWS, REPLACEMENTS, controlled, mean_thoughts, without_slots
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
    context, used = controlled(model, prompts, "removed")
    with context:
        assert model.model.thought_source is source
    for bare, full in zip(used, prompts, strict=True):
        assert bare.input_ids.tolist() == [token for token in full.input_ids.tolist() if token != LATENT]


def test_no_control_changes_nothing():
    model, prompts = tiny_model(), prompts_with(0, 2)
    source, schedule = model.model.thought_source, model.model.schedule
    context, used = controlled(model, prompts, "none")
    with context:
        assert (model.model.thought_source, model.model.schedule) == (source, schedule)
    assert used == prompts


@pytest.mark.parametrize("control", REPLACEMENTS)
def test_a_replacement_keeps_the_prompts_and_is_taken_back_even_after_an_error(control):
    model, prompts = tiny_model(), prompts_with(1, 2)
    source, schedule = model.model.thought_source, model.model.schedule
    context, used = controlled(model, prompts, control)
    assert used == prompts

    def interrupted():
        with context:
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
    context, used = controlled(model, prompts, "zero")
    with context:
        thoughts = thoughts_of(model, used)
    assert [len(each) for each in thoughts] == [1, 3, 2]
    assert all((each == 0).all() for each in thoughts)
    assert all((each != 0).any() for each in thoughts_of(model, prompts))


@pytest.mark.parametrize("schedule", [None, {"name": "jacobi", "iterations": 5}])
def test_every_slot_gets_the_mean_of_its_number_among_the_row_s_own_slots(schedule):
    model, prompts = tiny_model(schedule=schedule), prompts_with(1, 3, 2)
    means = mean_thoughts(model, prompts)
    context, used = controlled(model, prompts, "mean")
    with context:
        for count, thoughts in zip((1, 3, 2), thoughts_of(model, used), strict=True):
            torch.testing.assert_close(thoughts, means[:count])


def test_another_row_gives_each_row_the_thoughts_of_its_neighbour():
    model, prompts = tiny_model(), [prompt([1, 2, 3], 2), prompt([9, 8, 7], 2), prompt([5, 5, 6], 2)]
    first_thoughts = [thoughts_of(model, [each])[0][0] for each in prompts]
    context, used = controlled(model, prompts, "another_row")
    with context:
        exchanged = thoughts_of(model, used)
    for row in range(3):
        torch.testing.assert_close(exchanged[row][0], first_thoughts[row - 1], atol=1e-5, rtol=1e-4)
        assert not torch.allclose(exchanged[row][0], first_thoughts[row], atol=1e-2)


def test_noise_has_the_length_of_the_thought_and_another_direction_and_a_seed():
    model, prompts = tiny_model(), [prompt([1, 2, 3], 1), prompt([9, 8, 7], 1)]
    trained, drawn = thoughts_of(model, prompts), {}
    for seed in (0, 0, 1):
        context, used = controlled(model, prompts, "noise", seed=seed)
        with context:
            noise = thoughts_of(model, used)
        for row in range(2):
            torch.testing.assert_close(noise[row].norm(), trained[row].norm())
            assert torch.cosine_similarity(noise[row], trained[row]).abs().item() < 0.9
        if seed in drawn:
            assert all(torch.equal(one, other) for one, other in zip(drawn[seed], noise, strict=True))
        drawn[seed] = noise
    assert not torch.allclose(drawn[0][0], drawn[1][0])


# ---- the mean thought


def thoughts_by_definition(model, row):
    """One row, no cache, no batch: each thought is the state before its slot, put into the slot."""
    ids = torch.tensor(row.input_ids, dtype=torch.long)
    embeds, thoughts = model.get_input_embeddings()(ids)[None], []
    for index in (ids == LATENT).nonzero().flatten().tolist():
        states = model.model.language_model(inputs_embeds=embeds[:, :index], use_cache=False).last_hidden_state
        thoughts.append(states[:, -1])
        embeds = torch.cat([embeds[:, :index], states[:, -1:], embeds[:, index + 1 :]], dim=1)
    return [thought[0].detach() for thought in thoughts]


def mean_by_definition(model, prompts):
    per_row = [thoughts_by_definition(model, row) for row in prompts]
    most = max(map(len, per_row))
    return torch.stack(
        [torch.stack([row[slot] for row in per_row if len(row) > slot]).mean(dim=0) for slot in range(most)]
    )


COUNTS = {
    "all alike": [2, 2, 2],
    "different numbers": [1, 0, 3, 2, 3],
    "the longest row in a later batch": [1] * 64 + [0, 2, 3],
    "the longest row in the first batch": [3] + [1] * 70,
    "two slots, then four": [2] * 64 + [4, 1],
}


@pytest.mark.parametrize("counts", COUNTS.values(), ids=COUNTS)
def test_the_mean_thought_is_the_mean_over_the_rows_that_have_the_slot(counts):
    model, prompts = tiny_model(), prompts_with(*counts, seed=3)
    torch.testing.assert_close(mean_thoughts(model, prompts), mean_by_definition(model, prompts), atol=1e-5, rtol=1e-4)


def test_the_mean_is_over_the_first_rows_with_thoughts():
    model = tiny_model()
    prompts = prompts_with(*[1] * (MEAN_ROWS + 40), seed=4)
    first = mean_thoughts(model, prompts)
    assert torch.equal(first, mean_thoughts(model, prompts[:MEAN_ROWS]))
    assert torch.equal(first, mean_thoughts(model, [prompt([1], 0), *prompts]))
    assert not torch.equal(first, mean_thoughts(model, prompts[1:]))


def test_prompts_without_thoughts_have_a_mean_of_zero():
    assert mean_thoughts(tiny_model(width=16), prompts_with(0, 0)).tolist() == [[0.0] * 16]
