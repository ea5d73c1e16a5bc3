"""Advantages, against tables worked by hand and against the definitions spelled out."""

import math
import random

import pytest
import torch

from unspoken.training.advantages import at_last_decision, gae, group_relative, leave_one_out, normalised

NAN = math.nan


def test_gae_equals_a_table_worked_by_hand():
    # gamma = lambda = 1/2. First row, from its last decision back:
    #   column 3: surprise 2 - (-1) = 3                   advantage 3
    #   column 2: surprise 1 + (-1)/2 - 1 = -1/2          advantage -1/2 + 3/4 = 1/4
    #   column 0: surprise 0 + 1/2 - 1/2 = 0              advantage 0 + (1/4)/4 = 1/16
    # The second row has one decision, the third none.
    decided = torch.tensor([[1, 0, 1, 1, 0], [0, 1, 0, 0, 0], [0, 0, 0, 0, 0]]).bool()
    rewards = torch.tensor([[0.0, 0, 1, 2, 0], [0, -1, 0, 0, 0], [0, 0, 0, 0, 0]])
    values = torch.tensor([[0.5, NAN, 1, -1, NAN], [NAN, 0.25, NAN, NAN, NAN], [NAN] * 5])
    advantages, returns = gae(rewards, values, decided, gamma=0.5, lam=0.5)
    assert advantages.tolist() == [[1 / 16, 0, 1 / 4, 3, 0], [0, -1.25, 0, 0, 0], [0] * 5]
    assert returns.tolist() == [[9 / 16, 0, 5 / 4, 2, 0], [0, -1, 0, 0, 0], [0] * 5]


def spelled_out(rewards, values, decided, gamma, lam):
    """The sum of (gamma lambda)^l times the surprise l decisions later, decision by decision."""
    advantages = [[0.0] * len(row) for row in rewards]
    for row, chosen in enumerate(decided):
        columns = [column for column, here in enumerate(chosen) if here]
        expected = [values[row][column] for column in columns] + [0.0]
        surprises = [
            rewards[row][column] + gamma * expected[step + 1] - expected[step] for step, column in enumerate(columns)
        ]
        for step, column in enumerate(columns):
            advantages[row][column] = sum(
                (gamma * lam) ** later * surprise for later, surprise in enumerate(surprises[step:])
            )
    return advantages


@pytest.mark.parametrize("seed", range(5))
def test_gae_equals_its_definition_for_any_mask(seed):
    generator = torch.Generator().manual_seed(seed)
    gamma, lam = random.Random(seed).choice([(1.0, 0.95), (0.9, 0.0), (0.97, 1.0), (1.0, 1.0)])
    decided = torch.rand(12, 9, generator=generator) < 0.6
    rewards = torch.randn(12, 9, generator=generator, dtype=torch.double) * decided
    values = torch.randn(12, 9, generator=generator, dtype=torch.double)
    advantages, returns = gae(rewards, values, decided, gamma, lam)
    expected = torch.tensor(
        spelled_out(rewards.tolist(), values.tolist(), decided.tolist(), gamma, lam), dtype=torch.double
    )
    torch.testing.assert_close(advantages, expected)
    torch.testing.assert_close(returns, torch.where(decided, expected + values, 0.0))


def test_columns_without_a_decision_change_nothing():
    rewards, values = torch.tensor([[0.0, 0.5, 1.0]]), torch.tensor([[0.3, -0.2, 0.1]])
    apart = torch.tensor([[1, 0, 0, 1, 0, 1, 0]]).bool()
    spread_rewards, spread_values = torch.zeros(1, 7), torch.full((1, 7), 5.0)
    spread_rewards[apart], spread_values[apart] = rewards[0], values[0]
    together = gae(rewards, values, torch.ones(1, 3).bool(), 0.9, 0.8)
    spread = gae(spread_rewards, spread_values, apart, 0.9, 0.8)
    for one, other in zip(together, spread, strict=True):
        assert one[0].tolist() == other[apart].tolist()


def test_a_reward_that_no_decision_earned_is_refused():
    decided = torch.tensor([[1, 0], [1, 0]]).bool()
    with pytest.raises(ValueError, match="trajectory 1 has a reward in a column without a decision"):
        gae(torch.tensor([[1.0, 0.0], [0.0, 1.0]]), torch.zeros(2, 2), decided, 1.0, 1.0)


def test_a_return_stands_at_the_last_decision():
    decided = torch.tensor([[1, 1, 0, 0], [0, 0, 1, 1], [0, 0, 0, 0]]).bool()
    rewards = at_last_decision(torch.tensor([2.0, 3.0, 4.0]), decided)
    assert rewards.tolist() == [[0, 2, 0, 0], [0, 0, 0, 3], [0, 0, 0, 0]]


def test_group_relative_advantages_count_standard_deviations():
    # 1, 2, 3, 6: mean 3, squares 4, 1, 0, 9, variance 14/4
    unit = math.sqrt(14 / 4)
    found = group_relative(torch.tensor([1.0, 2, 3, 6, 0, 0, 0, 8]), siblings=4)
    low, high = -2 / math.sqrt(12), 6 / math.sqrt(12)
    torch.testing.assert_close(found, torch.tensor([-2 / unit, -1 / unit, 0, 3 / unit, low, low, low, high]))
    assert torch.equal(group_relative(torch.tensor([0.0, 1.0]), siblings=2), torch.tensor([-1.0, 1.0]))


@pytest.mark.parametrize("value", [0.0, 0.1, -0.7, 1e6 / 3, 1e-12])
def test_equal_returns_of_siblings_teach_nothing(value):
    assert group_relative(torch.full((9,), value), siblings=3).tolist() == [0.0] * 9
    # what rounding leaves is no difference either
    rounded = torch.tensor([value, value, value * (1 + 1e-7)])
    assert group_relative(rounded, siblings=3).tolist() == [0.0] * 3


def test_leaving_one_out_compares_with_the_others():
    found = leave_one_out(torch.tensor([1.0, 2, 6, 0, 0, 9]), siblings=3)
    assert found.tolist() == [1 - 4, 2 - 3.5, 6 - 1.5, -4.5, -4.5, 9]


@pytest.mark.parametrize("advantage", [group_relative, leave_one_out])
def test_what_cannot_be_compared_is_refused(advantage):
    with pytest.raises(ValueError, match=f"{advantage.__name__} compares .* found 1; draw at least 2"):
        advantage(torch.ones(4), siblings=1)
    with pytest.raises(ValueError, match="5 returns are no whole number of questions with 2 trajectories"):
        advantage(torch.ones(5), siblings=2)


def test_advantages_are_normalised_over_the_decisions_of_the_batch():
    decided = torch.tensor([[1, 0, 1], [1, 1, 0]]).bool()
    # 1, 3, 5, 7: mean 4, variance 5
    found = normalised(torch.tensor([[1.0, NAN, 3.0], [5.0, 7.0, NAN]]), decided)
    root = math.sqrt(5)
    torch.testing.assert_close(found, torch.tensor([[-3 / root, 0, -1 / root], [1 / root, 3 / root, 0]]))


def test_equal_advantages_and_no_advantages_become_zero():
    decided = torch.tensor([[1, 1], [1, 0]]).bool()
    assert normalised(torch.full((2, 2), 0.1), decided).tolist() == [[0, 0], [0, 0]]
    assert normalised(torch.full((2, 2), 0.1), ~decided).tolist() == [[0, 0], [0, 0]]
    assert normalised(torch.ones(2, 2), torch.zeros(2, 2).bool()).tolist() == [[0, 0], [0, 0]]


def test_advantages_of_a_part_are_normalised_over_the_whole_batch():
    advantages, decided = torch.tensor([[1.0, 2.0], [5.0, 8.0]]), torch.ones(2, 2).bool()
    whole = normalised(advantages, decided)
    parts = [normalised(advantages[row : row + 1], decided[:1], advantages.flatten()) for row in (0, 1)]
    assert torch.equal(torch.cat(parts), whole)
    assert not torch.equal(normalised(advantages[:1], decided[:1]), whole[:1])
