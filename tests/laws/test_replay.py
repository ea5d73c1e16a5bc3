"""What was drawn and what is scored again: the same numbers, for any weights and any mixture of rows."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from transformers import AutoConfig, AutoModelForCausalLM

from tests.conftest import tiny_model
from tests.laws.rows import batch_of, random_rows
from tests.laws.test_generate import asking, prompts
from unspoken.model import LatentConfig, LatentForCausalLM
from unspoken.trajectories import Chance, replay, rollout
from unspoken.trajectories.replay import log_likelihood

FAMILIES = ["gpt2", "llama", "qwen2", "gemma2"]
SOURCES = {
    "gaussian": {"name": "gaussian", "scale": 0.3},
    "noise": {"name": "gaussian", "scale": 0.3, "action": "noise"},
    "halting": {"name": "gaussian", "scale": 0.3, "halt_after": 0, "critic": True},
    "identities": {"name": "gaussian", "scale": 0.3, "halt_after": 0, "identities": 3},
    "navigator": {"name": "navigator", "rank": 4, "halt_after": 0, "critic": True},
    "dropout": {"name": "dropout", "rate": 0.3, "halt_after": 0},
    "gumbel": {"name": "gumbel", "relaxation": 0.7, "halt_after": 0},
    "gumbel of the top": {"name": "gumbel", "top": 5, "halt_after": 0},
    "dirichlet": {"name": "dirichlet", "concentration": 3.0, "halt_after": 0},
    "dirichlet of the top": {"name": "dirichlet", "top": 5, "halt_after": 0},
    "tokens": {"name": "tokens", "count": 3, "halt_after": 0},
    "tokens of the top": {"name": "tokens", "count": 2, "top": 5, "halt_after": 0},
    "episodic": {"name": "gaussian", "scale": 0.3, "halt_after": 0, "memory": {"name": "episodic", "rank": 6}},
    "bank": {"name": "gaussian", "scale": 0.3, "halt_after": 0, "memory": {"name": "bank", "capacity": 20}},
    "graph": {
        "name": "gaussian",
        "scale": 0.3,
        "halt_after": 0,
        "memory": {"name": "graph", "heads": 2, "capacity": 20, "nearest": 4},
    },
    "everything": {
        "name": "navigator",
        "halt_after": 0,
        "critic": True,
        "identities": 2,
        "memory": {"name": "graph", "capacity": 5, "eviction": "worst"},
    },
    "mask and memory": {"name": "dropout", "halt_after": 0, "critic": True, "memory": {"name": "episodic"}},
    "words with memory": {"name": "tokens", "top": 9, "halt_after": 0, "memory": {"name": "bank", "capacity": 7}},
}


def shaken(model, seed=0):
    """With heads that are not zero and a memory that is not empty: about one decision in three stops."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, parameter in model.model.thought_source.named_parameters():
            if name.startswith("halting.bias"):
                parameter.fill_(-0.7)
            elif name != "log_scale":
                parameter.copy_(0.2 * torch.randn(parameter.shape, generator=generator))
    memory = model.model.thought_source.memory
    if memory is not None:
        width = model.config.hidden_size
        memory.learn(torch.randn(12, width, generator=generator), torch.randn(12, generator=generator))
    return model


def drawn_by(model, *, siblings=4, chance=None, seed=0, counts=(3, 0, 4, 1), **kwargs):
    chance = chance or Chance(temperature=1.0, spread=0.5, token_temperature=0.8)
    generator = torch.Generator().manual_seed(seed)
    return rollout(
        model,
        prompts(7, counts=counts),
        siblings=siblings,
        chance=chance,
        generator=generator,
        max_new_tokens=5,
        **kwargs,
    )


@pytest.mark.parametrize("arch", FAMILIES)
@pytest.mark.parametrize("source", SOURCES)
def test_a_replay_gives_the_log_probabilities_of_the_rollout(arch, source):
    model = shaken(tiny_model(arch, source=SOURCES[source]))
    drawn = drawn_by(model)
    again = replay(model, drawn)
    chosen = drawn.scores.is_decision
    assert chosen.sum() > 20
    for name in ("log_probs", "entropies", "values"):
        torch.testing.assert_close(
            getattr(again, name)[chosen], getattr(drawn.scores, name)[chosen], rtol=1e-6, atol=1e-5
        )
    assert drawn.scores.log_probs[chosen].std() > 0.1


@pytest.mark.parametrize("source", SOURCES)
def test_a_model_held_in_bf16_draws_and_replays(source):
    model = shaken(tiny_model("llama", source=SOURCES[source])).to(torch.bfloat16)
    drawn = drawn_by(model)
    again = replay(model, drawn)
    chosen = drawn.scores.is_decision
    assert chosen.sum() > 20
    assert drawn.log_likelihoods.isfinite().all()
    assert again.log_probs[chosen].isfinite().all()


@pytest.mark.parametrize("arch", ["mistral", "gemma2"])
@pytest.mark.parametrize("source", ["gaussian", "halting", "everything"])
def test_a_short_window_is_of_a_trajectorys_own_columns(arch, source):
    """Those in which only others think do not push its question out of sight."""
    model = shaken(tiny_model(arch, source=SOURCES[source]))
    model.model.language_model.config.sliding_window = 3
    drawn = drawn_by(model, siblings=6)
    assert len(set(drawn.num_thoughts.tolist())) > 2
    torch.testing.assert_close(log_likelihood(model, drawn), drawn.log_likelihoods, rtol=1e-5, atol=1e-4)
    again, chosen = replay(model, drawn), drawn.scores.is_decision
    torch.testing.assert_close(again.log_probs[chosen], drawn.scores.log_probs[chosen], rtol=1e-5, atol=1e-4)
    model.model.language_model.config.sliding_window = 100
    assert (log_likelihood(model, drawn) - drawn.log_likelihoods).abs().max() > 0.1, "or this law tests nothing"


def test_a_decoder_that_measures_distance_in_columns_sees_no_gap():
    """MPT weighs attention by distance, and counts it so."""
    config = AutoConfig.for_model("mpt", d_model=16, n_heads=2, n_layers=2, vocab_size=40, max_seq_len=128)
    decoder = AutoModelForCausalLM.from_config(config)
    settings = LatentConfig(config, 37, 38, 39, SOURCES["halting"], eos_token_id=0, pad_token_id=0)
    model = shaken(LatentForCausalLM.from_decoder(decoder, settings).eval())
    with torch.no_grad():
        for parameter in decoder.parameters():
            parameter.copy_(0.3 * torch.randn(parameter.shape, generator=torch.Generator().manual_seed(0)))
    drawn = drawn_by(model, siblings=6)
    torch.testing.assert_close(log_likelihood(model, drawn), drawn.log_likelihoods, rtol=1e-5, atol=1e-4)


def test_tails_of_several_lengths_are_each_trajectorys_own():
    model = shaken(tiny_model("mistral", source=SOURCES["halting"]))
    model.model.language_model.config.sliding_window = 3
    rows = prompts(7, counts=(3, 2, 4, 1))
    rows[1] = replace(
        rows[1], input_ids=np.append(rows[1].input_ids, [5, 6]), labels=np.append(rows[1].labels, [-100] * 2)
    )
    drawn = rollout(
        model, rows, siblings=4, chance=Chance(), generator=torch.Generator().manual_seed(0), max_new_tokens=5
    )
    torch.testing.assert_close(log_likelihood(model, drawn), drawn.log_likelihoods, rtol=1e-5, atol=1e-4)


def test_a_short_question_has_the_room_it_has_alone():
    """Positions are a row's own: the columns of a longer one beside it take none of them."""
    model = tiny_model("llama", source=SOURCES["gaussian"])
    model.config.eos_token_id = -1
    # of 128 positions two markers and two thoughts take 4
    short, longer, full = (asking(np.full(length, 5, dtype=np.int32), 2) for length in (6, 117, 124))

    def answers(*rows):
        drawn = rollout(
            model, rows, siblings=1, chance=Chance(temperature=0.0), generator=torch.Generator(), max_new_tokens=10
        )
        return [drawn.answer(index) for index in range(len(rows))]

    together = answers(short, longer, full)
    assert [len(answer) for answer in together] == [10, 7, 0]
    assert together == [*answers(short), *answers(longer), *answers(full)]


def test_stopping_is_drawn_for_each_trajectory_and_counted():
    model = shaken(tiny_model("gpt2", source=SOURCES["halting"]))
    drawn = drawn_by(model, siblings=16)
    assert len(set(drawn.num_thoughts.tolist())) > 2
    assert (drawn.num_thoughts <= drawn.most_thoughts).all()
    model.model.thought_source.halt_after = 1
    at_least = drawn_by(model, siblings=16)
    assert (at_least.num_thoughts >= at_least.most_thoughts.clamp(max=1)).all()


@pytest.mark.parametrize("source", ["gaussian", "halting"])
def test_a_question_alone_is_answered_as_in_any_batch(source):
    model = shaken(tiny_model("llama", source=SOURCES[source]))
    likeliest = Chance(temperature=0.0)
    together = drawn_by(model, siblings=2, chance=likeliest)
    rows = prompts(7, counts=(3, 0, 4, 1))
    for index, prompt in enumerate(rows):
        alone = rollout(model, [prompt], siblings=1, chance=likeliest, generator=torch.Generator(), max_new_tokens=5)
        for sibling in (0, 1):
            place = 2 * index + sibling
            assert together.answer(place) == alone.answer(0)
            count = int(alone.num_thoughts[0])
            assert int(together.num_thoughts[place]) == count
            torch.testing.assert_close(
                together.thoughts[place, :count], alone.thoughts[0, :count], rtol=1e-4, atol=1e-5
            )


def test_without_chance_a_policy_answers_as_generate_does():
    model = tiny_model("llama", source=SOURCES["gaussian"])
    rows = prompts(7, counts=(3, 2, 4, 1))
    drawn = rollout(
        model, rows, siblings=1, chance=Chance(temperature=0.0), generator=torch.Generator(), max_new_tokens=5
    )
    for index, prompt in enumerate(rows):
        ids = torch.tensor(prompt.input_ids, dtype=torch.long)[None]
        expected = model.generate(
            ids, max_new_tokens=5, do_sample=False, eos_token_id=model.config.eos_token_id, pad_token_id=0
        )[0, ids.size(1) :].tolist()
        assert drawn.answer(index) == expected
    assert not drawn.scores.is_decision.any()


def test_the_same_seed_draws_the_same_and_another_one_does_not():
    model = shaken(tiny_model("gpt2", source=SOURCES["halting"]))
    one, two, other = drawn_by(model), drawn_by(model), drawn_by(model, seed=1)
    assert torch.equal(one.thoughts, two.thoughts)
    assert torch.equal(one.tokens, two.tokens)
    assert one.thoughts.shape != other.thoughts.shape or not torch.equal(one.thoughts, other.thoughts)


def test_the_likelihood_of_an_answer_is_that_of_the_definition():
    model = shaken(tiny_model("llama", source=SOURCES["gaussian"]))
    drawn = drawn_by(model, siblings=2)
    found = log_likelihood(model, drawn)
    rows = prompts(7, counts=(3, 0, 4, 1))
    for index in range(len(drawn)):
        prompt, count = rows[index // 2], int(drawn.num_thoughts[index])
        ids = torch.tensor([*prompt.input_ids.tolist(), *drawn.answer(index)])[None]
        embeds = model.get_input_embeddings()(ids)
        if count:
            first = prompt.first_thought
            embeds[0, first : first + count] = drawn.thoughts[index, :count]
        logits = model(inputs_embeds=embeds).logits[0]
        logits[:, model.generation_config.suppress_tokens] = -torch.inf
        log_probs = logits.log_softmax(-1)
        start = len(prompt.input_ids)
        expected = sum(float(log_probs[start + i - 1, token]) for i, token in enumerate(drawn.answer(index)))
        assert float(found[index]) == pytest.approx(expected, abs=1e-4)


@pytest.mark.parametrize("source", SOURCES)
def test_what_was_drawn_for_a_question_is_scored_alike_without_the_other_questions(source):
    model = shaken(tiny_model("llama", source=SOURCES[source]))
    drawn = drawn_by(model)
    together = replay(model, drawn)
    for question in range(4):
        rows = torch.arange(4 * question, 4 * question + 4)
        alone = replay(model, drawn.of_questions([question]))
        chosen = alone.is_decision
        assert torch.equal(chosen, drawn.scores.is_decision[rows])
        torch.testing.assert_close(alone.log_probs[chosen], together.log_probs[rows][chosen], rtol=1e-6, atol=1e-5)


@pytest.mark.parametrize("source", SOURCES)
def test_a_forward_thinks_what_a_rollout_without_chance_thinks(source):
    settings = {key: value for key, value in SOURCES[source].items() if key != "halt_after"}
    model = shaken(tiny_model("llama", source=settings))
    rows = prompts(7, counts=(3, 0, 4, 1))
    likeliest = Chance(temperature=0.0)
    drawn = rollout(model, rows, siblings=1, chance=likeliest, generator=torch.Generator(), max_new_tokens=5)
    with torch.no_grad():
        output = model(**batch_of(rows))
    assert (output.thoughts[2, 0] - output.thoughts[2, 1]).abs().max() > 1e-2
    for index, row in enumerate(rows):
        expected = output.thoughts[index][output.thought_mask[index]]
        assert len(expected) == row.num_thoughts
        torch.testing.assert_close(drawn.thoughts[index, : row.num_thoughts], expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("source", SOURCES)
def test_another_answer_leaves_every_thought_as_it_is(source):
    model = shaken(tiny_model("llama", source=SOURCES[source]))
    batch = batch_of(random_rows(3, 3, 2, 4))
    changed = {**batch, "input_ids": batch["input_ids"].clone()}
    is_answer = batch["labels"] != -100
    changed["input_ids"][is_answer] = (changed["input_ids"][is_answer] + 7) % 37
    with torch.no_grad():
        before, after = model(**batch, logits_to_keep=0), model(**changed, logits_to_keep=0)
    assert torch.equal(before.thoughts, after.thoughts)
    assert (before.logits - after.logits).abs().max() > 0.01


@pytest.mark.parametrize("source", ["bank", "graph", "everything", "words with memory"])
def test_a_memory_is_as_it_was_after_everything_but_learning(source):
    model = shaken(tiny_model("gpt2", source=SOURCES[source]))
    memory = model.model.thought_source.memory
    before = {name: value.clone() for name, value in memory.state_dict().items()}
    for mode in (model.train, model.eval):
        mode()
        replay(model, drawn_by(model)).log_probs.sum().backward()
        model(**batch_of(random_rows(3, 3, 2)))
    assert all(torch.equal(value, before[name]) for name, value in memory.state_dict().items())
    memory.learn(torch.ones(2, 16), torch.ones(2))
    assert not torch.equal(memory.state_dict()["store.keys"], before["store.keys"])


@pytest.mark.parametrize("source", ["episodic", "graph"])
def test_siblings_change_what_a_trajectory_thinks_and_only_through_memory(source):
    thoughts = {}
    for memory in (SOURCES[source]["memory"], None):
        settings = {"name": "gaussian", "scale": 0.3, "identities": 2, "memory": memory}
        model = shaken(tiny_model("llama", source=settings))
        for siblings in (1, 2):
            drawn = drawn_by(model, siblings=siblings, chance=Chance(temperature=0.0))
            thoughts[bool(memory), siblings] = drawn.thoughts[::siblings]
    assert torch.equal(thoughts[True, 1][:, 0], thoughts[True, 2][:, 0])  # there is nothing to read yet
    # identities part at the first thought, so states do at the second, and the third is the first to read of that
    assert (thoughts[True, 1] - thoughts[True, 2])[0, 2].abs().max() > 1e-3
    torch.testing.assert_close(thoughts[False, 1], thoughts[False, 2], rtol=1e-4, atol=1e-5)
