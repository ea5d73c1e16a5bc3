"""Mixtures of words: densities against torch.distributions and integrals, draws against densities."""

import copy
import itertools
import math

import pytest
import torch
from tests.conftest import tiny_model
from tests.laws.rows import batch_of, random_rows
from tests.laws.test_generate import prompts
from tests.unit.thoughts.policies import WIDTH, Words, draws, policy, states
from torch.distributions import Categorical, Dirichlet
from torch.distributions.relaxed_categorical import ExpRelaxedCategorical
from transformers import AutoModel

from unspoken.errors import RecipeError
from unspoken.model import LatentForCausalLM
from unspoken.thoughts import Vocabulary, build_source
from unspoken.trajectories import Chance, replay, rollout

KINDS = ["gumbel", "dirichlet", "tokens"]


def logits_of(source, state):
    return source.vocabulary.logits(state).detach()


def test_gumbel_weights_have_the_density_of_the_definition():
    source, state = policy("gumbel", words=Words(), relaxation=0.6), states()
    action, warmth = draws(source, state, temperature=0.8)
    reference = ExpRelaxedCategorical(torch.tensor(0.6 / 0.8), logits=logits_of(source, state) / 0.8)
    torch.testing.assert_close(source.decide(state, action, warmth).log_prob, reference.log_prob(action))


def test_dirichlet_weights_have_the_density_of_the_definition():
    source, state = policy("dirichlet", words=Words(), concentration=20.0), states()
    action, warmth = draws(source, state, temperature=0.5)
    reference = Dirichlet(40.0 * logits_of(source, state).softmax(-1))
    # the density of log-ratios is that of the weights times their product
    expected = reference.log_prob(action.exp()) + action.sum(-1)
    torch.testing.assert_close(source.decide(state, action, warmth).log_prob, expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("kind", ["gumbel", "dirichlet"])
def test_the_density_of_two_words_integrates_to_one(kind):
    source, state = policy(kind, words=Words(words=2)), states(1, seed=3)
    ratio = torch.linspace(-200, 200, 200_001)
    action = torch.stack([ratio, torch.zeros_like(ratio)], dim=1).log_softmax(dim=-1)
    decision = source.decide(state.expand(len(ratio), -1), action, torch.full((len(ratio),), 0.7))
    assert float(torch.trapezoid(decision.log_prob.exp(), ratio)) == pytest.approx(1.0, abs=1e-3)


def test_the_probabilities_of_all_draws_of_tokens_sum_to_one():
    source, state = policy("tokens", words=Words(), count=2), states(1)
    every = torch.tensor([*itertools.product(range(5), repeat=2)], dtype=torch.float32)
    decision = source.decide(state.expand(25, -1), every, torch.full((25,), 1.3))
    assert float(decision.log_prob.exp().sum()) == pytest.approx(1.0, abs=1e-5)
    log_probs = (logits_of(source, state)[0] / 1.3).log_softmax(-1)
    for pair, log_prob in zip(every.long().tolist(), decision.log_prob.tolist(), strict=True):
        assert log_prob == pytest.approx(float(log_probs[pair].sum()), abs=1e-5)


@pytest.mark.parametrize("top", [None, 3])
@pytest.mark.parametrize("kind", KINDS)
def test_what_is_drawn_is_distributed_as_it_is_scored(kind, top):
    # the gradient of a log-probability is zero on average under the distribution itself, and under no other
    words = Words()
    source, state = policy(kind, words=words, top=top), states(1).expand(40_000, -1)
    action, warmth = draws(source, state, temperature=0.7)
    logits = logits_of(source, state[:1]).expand(len(state), -1).clone().requires_grad_()
    words.logits = lambda given: logits
    source.decide(state, action, warmth).log_prob.sum().backward()
    deviation = logits.grad.std(0) / math.sqrt(len(state))
    assert (logits.grad.mean(0).abs() <= 4.5 * deviation).all()
    assert (deviation > 0).sum() == (top or 5)


def test_the_heaviest_word_of_gumbel_is_a_draw_from_the_head():
    source, state = policy("gumbel", words=Words(), relaxation=0.3), states(1).expand(40_000, -1)
    action, _ = draws(source, state, temperature=1.5)
    shares = action.argmax(-1).bincount(minlength=5) / len(action)
    torch.testing.assert_close(shares, (logits_of(source, state[:1])[0] / 1.5).softmax(-1), atol=0.01, rtol=0)


def test_dirichlet_weights_scatter_around_the_probabilities():
    source, state = policy("dirichlet", words=Words(), concentration=2.0), states(1).expand(40_000, -1)
    probabilities = logits_of(source, state[:1])[0].softmax(-1)
    for temperature in (1.0, 0.1):
        weights = draws(source, state, temperature=temperature)[0].exp()
        torch.testing.assert_close(weights.mean(0), probabilities, atol=0.01, rtol=0)
        variance = probabilities * (1 - probabilities) / (2.0 / temperature + 1)
        torch.testing.assert_close(weights.var(0), variance, atol=0.003, rtol=0.05)


@pytest.mark.parametrize("kind", KINDS)
def test_a_thought_is_the_weighted_mean_of_embeddings(kind):
    words = Words()
    source, state = policy(kind, words=words), states()
    action, warmth = draws(source, state)
    thought = source.decide(state, action, warmth).thought
    for row in range(len(state)):
        weights = action[row].exp().tolist()
        if kind == "tokens":
            weights = [action[row].tolist().count(float(word)) / 3 for word in range(5)]
        assert sum(weights) == pytest.approx(1.0, abs=1e-5)
        expected = sum(weight * words.table.weight[word] for word, weight in enumerate(weights))
        torch.testing.assert_close(thought[row], expected)


@pytest.mark.parametrize("kind", KINDS)
def test_without_chance_words_are_weighted_by_probability(kind):
    words = Words()
    source, state = policy(kind, words=words), states()
    expected = logits_of(source, state).softmax(-1) @ words.table.weight
    torch.testing.assert_close(source.likeliest(state), expected)
    sharper = policy("gumbel", words=words, relaxation=0.5)
    torch.testing.assert_close(
        sharper.likeliest(state), (logits_of(source, state) / 0.5).softmax(-1) @ words.table.weight
    )


@pytest.mark.parametrize("kind", ["gumbel", "dirichlet"])
def test_a_low_temperature_comes_near_no_chance(kind):
    source, state = policy(kind, words=Words()), states()
    action, warmth = draws(source, state, temperature=1e-4)
    torch.testing.assert_close(source.decide(state, action, warmth).thought, source.likeliest(state), atol=0.1, rtol=0)


@pytest.mark.parametrize(("kind", "factor"), [("gumbel", 1), ("dirichlet", 1), ("tokens", 3)])
def test_the_entropy_is_that_of_the_words(kind, factor):
    source, state = policy(kind, words=Words()), states()
    action, warmth = draws(source, state)
    expected = factor * Categorical(logits=logits_of(source, state)).entropy()
    torch.testing.assert_close(source.decide(state, action, warmth).entropy, expected)


@pytest.mark.parametrize("kind", KINDS)
def test_only_the_top_words_take_part_and_stay_those_that_were_drawn_from(kind):
    words = Words(words=9)
    source, state = policy(kind, words=words, top=3), states()
    action, warmth = draws(source, state)
    ids = logits_of(source, state).topk(3).indices
    assert torch.equal(action[:, :3].long(), ids)
    with torch.no_grad():
        words.head.weight.neg_()  # now the last three are at the top
    decision = source.decide(state, action, warmth)
    table = torch.nn.Embedding.from_pretrained(words.table.weight[ids[0]])
    part = Words(words=3)
    part.table, part.head = table, lambda given: words.head(given)[:, ids[0]]
    alone = policy(kind, words=part).decide(state[:1], action[:1, 3:], warmth[:1])
    torch.testing.assert_close(decision.log_prob[:1], alone.log_prob)
    torch.testing.assert_close(decision.thought[:1], alone.thought)
    assert action.size(1) == 6


@pytest.mark.parametrize("top", [None, 4])
@pytest.mark.parametrize("kind", KINDS)
def test_extreme_logits_and_empty_actions_stay_finite(kind, top):
    words = Words(words=6)
    source = policy(kind, words=words, top=top)
    extremes = torch.tensor([[0.0, 300.0, -300.0, 1e4, -1e4, 0.0]] * 64).requires_grad_()
    words.logits = lambda given: extremes
    state = states(64)
    action, warmth = draws(source, state)
    assert action.isfinite().all()
    for given in (action, torch.zeros_like(action)):
        decision = source.decide(state, given, warmth)
        (decision.log_prob.sum() + decision.entropy.sum() + decision.thought.sum()).backward()
        assert decision.log_prob.isfinite().all()
        assert extremes.grad.isfinite().all()


@pytest.mark.parametrize("kind", KINDS)
def test_gradients_reach_the_decoder_and_its_head_through_a_replay(kind):
    model = tiny_model("llama", source={"name": kind, "halt_after": 0, "critic": True}, tie_word_embeddings=False)
    drawn = rollout(
        model, prompts(7, counts=(3, 2)), siblings=3, chance=Chance(), generator=torch.Generator().manual_seed(0),
        max_new_tokens=3,
    )  # fmt: skip
    scores = replay(model, drawn)
    thoughts = int(drawn.num_thoughts.max())
    model.zero_grad()
    (scores.log_probs[:, :thoughts][scores.is_decision[:, :thoughts]].sum() + scores.values.sum()).backward()
    for name in ("lm_head.weight", "model.language_model.layers.0.mlp.up_proj.weight"):
        assert model.get_parameter(name).grad.abs().sum() > 0


def test_the_words_are_those_of_the_model_and_no_parameters_of_the_source():
    model = tiny_model("llama", source={"name": "gumbel"})
    source = model.model.thought_source
    assert [*source.parameters()] == []
    assert not any("vocabulary" in name for name in model.state_dict())
    state = torch.randn(2, 16)
    model.resize_token_embeddings(50)
    assert source.vocabulary.logits(state).shape == (2, 50)
    with torch.no_grad():
        model.get_input_embeddings().weight.zero_()
    assert torch.equal(source.likeliest(state), torch.zeros(2, 16))


def test_a_copy_of_the_model_has_words_of_its_own_and_a_copy_of_the_source_those_of_its_model():
    model = tiny_model("llama", source={"name": "gumbel"})
    twin, part = copy.deepcopy(model), copy.deepcopy(model.model.thought_source)
    assert twin.model.thought_source.vocabulary.model is twin
    assert part.vocabulary.model is model


def test_words_with_scaled_embeddings_are_read_as_the_decoder_reads_them():
    model = tiny_model("gemma2", source={"name": "tokens", "count": 1})
    source, state = model.model.thought_source, torch.randn(1, 16)
    decision = source.decide(state, torch.tensor([[5.0]]), torch.ones(1))
    assert torch.equal(decision.thought[0], model.get_input_embeddings()(torch.tensor(5)))
    source = build_source({"name": "gumbel"}, 16)
    source.attach(Vocabulary(model))
    expected = model.read(state) @ model.get_input_embeddings()(torch.arange(40))
    torch.testing.assert_close(source.likeliest(state), expected)


def test_a_model_without_a_head_says_so(tmp_path):
    model = tiny_model("llama", source={"name": "dirichlet"})
    batch = batch_of(random_rows(1, 2))
    with torch.no_grad():
        thoughts = model(**batch).thoughts
    model.save_pretrained(tmp_path)
    with torch.no_grad():
        assert torch.equal(LatentForCausalLM.from_pretrained(tmp_path)(**batch).thoughts, thoughts)
    headless = AutoModel.from_pretrained(tmp_path)
    with pytest.raises(RecipeError, match="dirichlet mixes words, and this model has no head"):
        headless(input_ids=batch["input_ids"], attention_mask=batch["attention_mask"])


def test_more_top_words_than_there_are_is_refused():
    source = policy("gumbel", words=Words(words=5), top=6)
    with pytest.raises(RecipeError, match="top: 6 of 5 words"):
        source.likeliest(states())


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"name": "gumbel", "relaxation": 0.0}, "relaxation is 0.0"),
        ({"name": "dirichlet", "concentration": -1.0}, "concentration is -1.0"),
        ({"name": "tokens", "count": 0}, "count is 0"),
        ({"name": "tokens", "top": 1}, "top is 1; give 2"),
        ({"name": "gumbel", "count": 3}, "count: unknown key of gumbel, which takes relaxation, top, halt"),
    ],
)
def test_settings_that_make_no_sense_are_refused(settings, message):
    with pytest.raises(RecipeError, match=message):
        build_source(settings, WIDTH)
