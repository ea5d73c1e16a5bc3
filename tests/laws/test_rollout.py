"""Sources that leave nothing to chance: their thoughts are those of the model, and only words are drawn."""

import pytest
import torch

from tests.conftest import TOKENS, tiny_model
from tests.laws.test_generate import prompts
from unspoken.trajectories import Chance, rollout
from unspoken.trajectories.replay import log_likelihood

SOURCES = {
    "last_hidden": ({"name": "last_hidden"}, None),
    "window": ({"name": "window", "weights": [0.6, 0.3, 0.1]}, None),
    "projection": ({"name": "projection"}, None),
    "pause": ({"name": "pause"}, {"name": "single"}),
    "jacobi": ({"name": "last_hidden"}, {"name": "jacobi", "iterations": 2}),
}
LIKELIEST = Chance(temperature=0.0)
COUNTS = (3, 0, 4, 1)


def drawn_by(model, rows, *, siblings=1, chance=LIKELIEST, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return rollout(model, rows, siblings=siblings, chance=chance, generator=generator, max_new_tokens=6)


def greedy(model, row):
    ids = torch.tensor(row.input_ids, dtype=torch.long)[None]
    end = model.config.eos_token_id
    written = model.generate(ids, max_new_tokens=6, do_sample=False, eos_token_id=end, pad_token_id=0)
    return written[0, ids.size(1) :].tolist()


@pytest.mark.parametrize("arch", ["gpt2", "llama"])
@pytest.mark.parametrize("source", SOURCES)
@pytest.mark.parametrize("siblings", [1, 3])
def test_without_chance_a_rollout_answers_as_generate_does(arch, source, siblings):
    thoughts, schedule = SOURCES[source]
    model = tiny_model(arch, source=thoughts, schedule=schedule)
    rows = prompts(7, COUNTS)
    drawn = drawn_by(model, rows, siblings=siblings)
    expected = [greedy(model, row) for row in rows]
    assert len(set(map(tuple, expected))) > 2
    for index in range(len(drawn)):
        assert drawn.answer(index) == expected[index // siblings]
    assert not drawn.scores.is_decision.any()
    assert drawn.num_thoughts.tolist() == [count for count in COUNTS for _ in range(siblings)]


@pytest.mark.parametrize("source", SOURCES)
def test_the_thoughts_are_those_that_a_forward_fills_in(source):
    thoughts, schedule = SOURCES[source]
    model = tiny_model("llama", source=thoughts, schedule=schedule)
    rows = prompts(8, COUNTS)
    drawn = drawn_by(model, rows, siblings=2, chance=Chance(token_temperature=1.0))
    for index in range(len(drawn)):
        row = rows[index // 2]
        if not row.num_thoughts:
            assert not drawn.thoughts[index].any()
            continue
        with torch.no_grad():
            expected = model(input_ids=torch.tensor(row.input_ids, dtype=torch.long)[None]).thoughts[0]
        torch.testing.assert_close(drawn.thoughts[index, : row.num_thoughts], expected, rtol=1e-4, atol=1e-5)
        assert not drawn.thoughts[index, row.num_thoughts :].any()


@pytest.mark.parametrize("counts", [(0, 0, 0), COUNTS], ids=["words alone", "thoughts"])
@pytest.mark.parametrize("temperature", [0.7, 2.0])
def test_words_are_drawn_and_scored_as_the_definition_says(counts, temperature):
    model = tiny_model("llama")
    rows = prompts(9, counts)
    drawn = drawn_by(model, rows, siblings=5, chance=Chance(token_temperature=temperature))
    texts = {tuple(drawn.answer(index)) for index in range(5)}
    assert len(texts) > 2
    markers = {TOKENS.latent, TOKENS.start, TOKENS.end}
    for index in range(len(drawn)):
        prompt, answer = rows[index // 5], drawn.answer(index)
        assert not markers & set(answer)
        ids = torch.tensor([*prompt.input_ids.tolist(), *answer])[None]
        with torch.no_grad():
            logits = model(input_ids=ids).logits[0, len(prompt.input_ids) - 1 : -1]
        logits[:, model.generation_config.suppress_tokens] = -torch.inf
        places = torch.arange(len(answer)), torch.tensor(answer)
        plain, warm = logits.log_softmax(-1)[places], (logits / temperature).log_softmax(-1)[places]
        assert float(drawn.log_likelihoods[index]) == pytest.approx(float(plain.sum()), abs=1e-4)
        columns = drawn.scores.is_decision[index]
        torch.testing.assert_close(drawn.scores.log_probs[index][columns], warm, rtol=1e-4, atol=1e-5)


def test_words_are_drawn_as_often_as_they_are_likely():
    model = tiny_model("llama")
    (row,) = prompts(10, (2,))
    drawn = rollout(
        model,
        [row],
        siblings=4000,
        chance=Chance(token_temperature=0.5),
        generator=torch.Generator().manual_seed(0),
        max_new_tokens=1,
    )
    with torch.no_grad():
        logits = model(input_ids=torch.tensor(row.input_ids, dtype=torch.long)[None]).logits[0, -1]
    logits[model.generation_config.suppress_tokens] = -torch.inf
    expected = (logits / 0.5).softmax(-1)
    found = torch.bincount(drawn.tokens[:, 0], minlength=len(expected)) / 4000
    assert expected.max() > 0.1
    assert (found - expected).abs().max() < 0.03


@pytest.mark.parametrize("temperature", [0.0, 0.8, 1.0])
def test_the_likelihood_that_a_policy_draws_with_is_that_of_a_replay(temperature):
    model = tiny_model("llama", source={"name": "gaussian", "scale": 0.3})
    drawn = drawn_by(model, prompts(11, COUNTS), siblings=3, chance=Chance(token_temperature=temperature))
    torch.testing.assert_close(drawn.log_likelihoods, log_likelihood(model, drawn), rtol=1e-5, atol=1e-4)
    some = drawn.of_questions([2])
    assert torch.equal(some.log_likelihoods, drawn.log_likelihoods[6:9])
