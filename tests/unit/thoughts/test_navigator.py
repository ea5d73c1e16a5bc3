"""The navigator against loops over its definition, densities against torch.distributions."""

import math

import pytest
import torch
from tests.conftest import tiny_model
from tests.unit.thoughts.policies import draws, policy, states, without_gradient
from torch.distributions import Independent, Normal

from unspoken.errors import RecipeError
from unspoken.model import LatentForCausalLM


def moves_of(source, state):
    """Means and deviations by the definition, one row after the other."""
    first, _, second = source.reading
    means = []
    for row in state:
        read = second.weight @ torch.nn.functional.gelu(first.weight @ row + first.bias) + second.bias
        direction = source.direction.weight @ read + source.direction.bias
        step = 2 / (1 + math.exp(-float(source.step.weight[0] @ read + source.step.bias)))
        means.append(step * direction / direction.norm())
    return torch.stack(means), source.log_deviation.exp()


def test_a_move_has_the_density_of_the_definition():
    source, state = policy("navigator", rank=3), states()
    action, warmth = draws(source, state, temperature=0.7)
    mean, deviation = moves_of(source, state)
    distribution = Independent(Normal(mean, 0.7 * deviation), 1)
    decision = source.decide(state, action, warmth)
    torch.testing.assert_close(decision.log_prob, distribution.log_prob(action))
    torch.testing.assert_close(decision.entropy, distribution.entropy())


def test_a_thought_is_the_state_turned_by_the_move_at_its_own_length():
    source, state = policy("navigator", rank=3, scale=0.5), 3 * states()
    action, warmth = draws(source, state)
    thought = source.decide(state, action, warmth).thought
    for row in range(len(state)):
        moved = state[row] + state[row].norm() * (source.displacement.weight @ action[row])
        torch.testing.assert_close(thought[row], moved / moved.norm() * state[row].norm())
    assert (thought - state).norm(dim=-1).min() > 0.1


def test_draws_scatter_as_they_are_scored_and_with_the_temperature():
    source, state = policy("navigator", rank=3), states(1).expand(20_000, -1)
    mean, deviation = moves_of(source, state[:1])
    for temperature in (0.5, 2.0):
        action, _ = draws(source, state, temperature=temperature)
        torch.testing.assert_close(action.mean(0), mean[0], atol=0.05, rtol=0)
        torch.testing.assert_close(action.std(0), temperature * deviation, rtol=0.03, atol=0)


def test_noise_has_the_length_it_was_given_whatever_the_rank():
    for rank in (2, 8):
        source = policy("navigator", rank=rank, noise=0.6)
        length = (source.log_deviation.exp().square().sum()).sqrt()
        assert float(length) == pytest.approx(0.6, rel=1e-5)


def test_the_likeliest_move_is_the_mean_and_no_longer_than_two():
    source, state = policy("navigator", rank=3), states()
    mean, _ = moves_of(source, state)
    assert (mean.norm(dim=-1) < 2).all()
    expected = source.decide(state, mean, torch.ones(4)).thought
    torch.testing.assert_close(source.likeliest(state), expected)


def test_a_new_one_begins_near_the_state_and_moves_lead_apart():
    source, state = policy("navigator", rank=4), states(64)
    mean, _ = moves_of(source, state)
    cosine = torch.cosine_similarity(source.likeliest(state), state, dim=-1)
    assert cosine.min() > 0.97
    assert mean.norm(dim=-1).min() > 0.5
    actions, warmth = draws(source, state)
    assert (source.decide(state, actions, warmth).thought - source.likeliest(state)).norm(dim=-1).min() > 0.01


def test_every_parameter_has_a_gradient_from_the_first_draw_on():
    assert without_gradient(policy("navigator", rank=3, halt_after=0, critic=True, identities=2)) == []


def test_the_gradient_of_the_log_probability_is_the_numeric_one():
    source, state = policy("navigator", rank=2).double(), states(2).double()
    action, warmth = draws(source, state)
    action, warmth = action.double(), warmth.double()
    parameter = source.direction.weight

    def log_prob(weight):
        return torch.func.functional_call(_Scored(source), {"source.direction.weight": weight}, (state, action, warmth))

    assert torch.autograd.gradcheck(log_prob, (parameter.detach().clone().requires_grad_(),), eps=1e-4, atol=1e-3)


class _Scored(torch.nn.Module):
    def __init__(self, source):
        super().__init__()
        self.source = source

    def forward(self, state, action, warmth):
        return self.source.decide(state, action, warmth).log_prob


def test_a_saved_one_thinks_the_same(tmp_path):
    model = tiny_model("llama", source={"name": "navigator", "rank": 4})
    model.save_pretrained(tmp_path)
    again = LatentForCausalLM.from_pretrained(tmp_path)
    state = torch.randn(3, 16)
    action = torch.randn(3, 4)
    for one, two in zip(
        (model.model.thought_source.likeliest(state), *_parts(model, state, action)),
        (again.model.thought_source.likeliest(state), *_parts(again, state, action)),
        strict=True,
    ):
        assert torch.equal(one, two)


def _parts(model, state, action):
    decision = model.model.thought_source.decide(state, action, torch.ones(3))
    return decision.thought, decision.log_prob, decision.entropy


def test_a_state_of_low_precision_is_scored_in_high_precision():
    source, state = policy("navigator", rank=3).bfloat16(), states().bfloat16()
    action, warmth = draws(source, state)
    decision = source.decide(state, action, warmth)
    assert (action.dtype, decision.log_prob.dtype, decision.thought.dtype) == (
        torch.float32, torch.float32, torch.bfloat16
    )  # fmt: skip
    mean = source._move(state)
    expected = Independent(Normal(mean, source.log_deviation.float().exp()), 1).log_prob(action)
    torch.testing.assert_close(decision.log_prob, expected)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"rank": 1}, "rank is 1; give 2"),
        ({"rank": 9}, "to 8"),
        ({"hidden": 0}, "hidden is 0"),
        ({"scale": 0.0}, "scale is 0.0"),
        ({"noise": -1.0}, "noise -1.0"),
        ({"reach": 1.0}, "reach: unknown key of navigator, which takes rank, hidden, scale, noise, halt"),
    ],
)
def test_settings_that_make_no_sense_are_refused(settings, message):
    with pytest.raises(RecipeError, match=message):
        policy("navigator", **settings)
