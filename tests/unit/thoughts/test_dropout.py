"""One mask a trajectory, and what it does to a thought."""

import pytest
import torch
from tests.conftest import tiny_model
from tests.laws.test_generate import prompts
from tests.unit.thoughts.policies import draws, policy, states

from unspoken.errors import RecipeError
from unspoken.trajectories import Chance, rollout


def test_a_mask_is_kept_through_a_trajectory():
    source, state = policy("dropout", rate=0.5), states()
    first, _ = draws(source, state)
    later, _ = draws(source, states(seed=1), last=first, seed=1)
    assert torch.equal(first, later)
    assert not torch.equal(first, draws(source, state, seed=1)[0])
    assert len({tuple(row) for row in first.tolist()}) > 1


def test_a_rollout_masks_the_same_entries_in_every_thought():
    model = tiny_model("llama", source={"name": "dropout", "rate": 0.4})
    drawn = rollout(
        model,
        prompts(7, counts=(4, 2)),
        siblings=6,
        chance=Chance(),
        generator=torch.Generator().manual_seed(0),
        max_new_tokens=3,
    )
    is_zero = drawn.thoughts == 0
    for row, count in enumerate(drawn.num_thoughts.tolist()):
        assert all(torch.equal(is_zero[row, 0], is_zero[row, k]) for k in range(count))
        assert 0 < is_zero[row, 0].sum() < 16
    assert len({tuple(row.tolist()) for row in is_zero[:, 0]}) == 12


@pytest.mark.parametrize(("temperature", "kept"), [(1.0, 0.75), (2.0, 0.5625), (0.5, 0.75**0.5)])
def test_entries_are_kept_as_often_as_the_temperature_says_and_the_mean_is_the_state(temperature, kept):
    source, state = policy("dropout", rate=0.25), states(1).expand(20_000, -1)
    action, warmth = draws(source, state, temperature=temperature)
    assert set(action.unique().tolist()) == {0.0, 1.0}
    assert float(action.mean()) == pytest.approx(kept, abs=0.01)
    thought = source.decide(state, action, warmth).thought
    torch.testing.assert_close(thought[0], state[0] * action[0] / kept)
    torch.testing.assert_close(thought.mean(0), state[0], atol=0.05, rtol=0.05)


def test_a_mask_has_no_probability_to_learn_and_the_thought_has_a_gradient():
    source, state = policy("dropout", rate=0.5), states().requires_grad_()
    action, warmth = draws(source, state)
    decision = source.decide(state, action, warmth)
    assert torch.equal(decision.log_prob, torch.zeros(4))
    assert torch.equal(decision.entropy, torch.zeros(4))
    decision.thought.sum().backward()
    assert torch.equal(state.grad, 2 * action)
    assert torch.equal(source.likeliest(state), state)


@pytest.mark.parametrize("rate", [0.0, 1.0])
def test_a_rate_that_makes_no_sense_is_refused(rate):
    with pytest.raises(RecipeError, match="give a number between 0 and 1"):
        policy("dropout", rate=rate)
