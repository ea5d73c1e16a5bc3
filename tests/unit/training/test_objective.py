"""The clipped objective against tables worked by hand and numeric gradients; bandits that it solves; the repulsion."""

import math
from dataclasses import fields

import pytest
import torch
from torch.distributions import Categorical, Normal

from unspoken.training.advantages import gae, group_relative, leave_one_out, normalised
from unspoken.training.objective import MAX_LOG_RATIO, objective, repulsion
from unspoken.trajectories.records import Scores


def scores(log_probs, *, is_decision=None, entropies=None, values=None):
    given = {
        "is_decision": torch.ones_like(log_probs).bool() if is_decision is None else is_decision,
        "log_probs": log_probs,
        "entropies": torch.zeros_like(log_probs) if entropies is None else entropies,
        "values": torch.zeros_like(log_probs) if values is None else values,
    }
    return Scores(**{field.name: given.get(field.name, torch.zeros(len(log_probs), 0, 1)) for field in fields(Scores)})


def random_scores(seed, *, shift=0.0, rows=6, columns=5):
    generator = torch.Generator().manual_seed(seed)
    draw = lambda: torch.randn(rows, columns, generator=generator)  # noqa: E731
    decided = torch.rand(rows, columns, generator=generator) < 0.7
    drawn = scores(draw(), is_decision=decided, entropies=draw(), values=draw())
    now = scores(
        (drawn.log_probs + shift * draw()).requires_grad_(),
        entropies=draw().requires_grad_(),
        values=(drawn.values + shift * draw()).requires_grad_(),
    )
    return drawn, now, draw(), draw()


def test_the_parts_equal_a_table_worked_by_hand():
    # ratio              2     0.5     1.1     2     0.5
    # advantage          1      1       2     -1     -1
    # clipped at 0.2    1.2    0.8     1.1    1.2    0.8
    # the smaller       1.2    0.5     2.2    -2    -0.8     sum 1.1
    ratios = torch.tensor([[2.0, 0.5, 1.1, 2.0, 0.5]])
    drawn = scores(torch.full((1, 5), -3.0), values=torch.tensor([[0.0, 0, 0, 0, 0]]))
    now = scores(
        ratios.log() - 3,
        entropies=torch.tensor([[1.0, 2, 3, 4, 5]]),
        # the critic: 0.1 reaches for 1 freely; 0.5 counts as 0.2, which is further from 1; 0.5 is further from -1
        values=torch.tensor([[0.1, 0.5, 0.5, 0, 0]]),
    )
    advantages, returns = torch.tensor([[1.0, 1, 2, -1, -1]]), torch.tensor([[1.0, 1, -1, 0, 0]])
    found = objective(
        drawn, now, advantages, returns, num_decisions=10, clip=0.2, entropy_weight=0.01, value_weight=0.5
    )
    squares = 0.9**2 + 0.8**2 + 1.5**2
    assert float(found.policy_loss) == pytest.approx(-1.1 / 10)
    assert float(found.value_loss) == pytest.approx(squares / 2 / 10)
    assert float(found.entropy) == pytest.approx(15 / 10)
    assert float(found.loss) == pytest.approx(-0.11 + 0.5 * squares / 20 - 0.01 * 1.5)
    assert float(found.approx_kl) == pytest.approx(sum(r - 1 - math.log(r) for r in ratios[0].tolist()) / 10, rel=1e-5)
    assert float(found.clip_fraction) == pytest.approx(4 / 10)
    wider = objective(
        drawn, now, advantages, returns, num_decisions=10, clip=0.2, value_clip=math.inf, value_weight=0.5
    )
    assert float(wider.value_loss) == pytest.approx((0.9**2 + 0.5**2 + 1.5**2) / 2 / 10)


def test_nothing_has_changed_before_the_first_update():
    drawn, _, advantages, returns = random_scores(0)
    found = objective(drawn, drawn, advantages, returns, num_decisions=7, clip=0.2, value_weight=1.0)
    assert float(found.approx_kl) == 0
    assert float(found.clip_fraction) == 0
    assert float(found.policy_loss) == pytest.approx(-float(advantages[drawn.is_decision].sum()) / 7)


@pytest.mark.parametrize("seed", range(4))
def test_gradients_equal_numeric_ones(seed):
    drawn, now, advantages, returns = random_scores(seed, shift=0.4)

    def loss(log_probs, entropies, values):
        found = objective(
            drawn,
            scores(log_probs, entropies=entropies, values=values),
            advantages,
            returns,
            num_decisions=9,
            clip=0.2,
            value_clip=0.3,
            entropy_weight=0.1,
            value_weight=0.5,
        )
        return found.loss.double()

    inputs = [now.log_probs, now.entropies, now.values]
    exact = torch.autograd.grad(loss(*inputs), inputs)
    step = 1e-3
    for place, gradient in enumerate(exact):
        numeric = torch.zeros_like(gradient)
        for index in range(gradient.numel()):
            ends = []
            for sign in (step, -step):
                moved = [each.detach().clone() for each in inputs]
                moved[place].view(-1)[index] += sign
                ends.append(float(loss(*moved)))
            numeric.view(-1)[index] = (ends[0] - ends[1]) / (2 * step)
        torch.testing.assert_close(gradient, numeric, atol=2e-3, rtol=2e-2)
        assert gradient.abs().max() > 0.01
        assert (gradient[~drawn.is_decision] == 0).all()


def test_parts_of_a_batch_add_up_to_the_whole():
    drawn, now, advantages, returns = random_scores(1, shift=0.4)
    settings = {"clip": 0.2, "entropy_weight": 0.1, "value_weight": 0.5}
    count = drawn.is_decision.sum()
    whole = objective(drawn, now, advantages, returns, num_decisions=count, **settings)
    parts = [
        objective(
            drawn.of_rows(rows), now.of_rows(rows), advantages[rows], returns[rows], num_decisions=count, **settings
        )
        for rows in (torch.tensor([0, 1, 2, 3]), torch.tensor([4, 5]))
    ]
    for field in fields(whole):
        total = sum(getattr(part, field.name) for part in parts)
        torch.testing.assert_close(total, getattr(whole, field.name))
        assert abs(float(total.detach())) > 1e-3


@pytest.mark.parametrize("change", [1e30, 500.0, 89.0, -89.0, -500.0, -1e30])
@pytest.mark.parametrize("advantage", [1.0, -1.0])
def test_extreme_ratios_stay_finite(change, advantage):
    log_probs = torch.tensor([[change, 0.1]], requires_grad=True)
    found = objective(
        scores(torch.zeros(1, 2)),
        scores(log_probs),
        torch.full((1, 2), advantage),
        torch.zeros(1, 2),
        num_decisions=2,
        clip=0.2,
    )
    found.loss.backward()
    assert all(torch.isfinite(getattr(found, field.name)) for field in fields(found))
    assert torch.isfinite(log_probs.grad).all()
    # the decision beside it is learned from all the same
    assert float(log_probs.grad[0, 1]) == pytest.approx(-advantage * math.exp(0.1) / 2)
    assert float(found.approx_kl) > min(abs(change), MAX_LOG_RATIO) / 2 - 1


def test_what_stands_where_no_decision_is_reaches_nothing():
    drawn, now, advantages, returns = random_scores(2, shift=0.3)
    clean = objective(drawn, now, advantages, returns, num_decisions=5, clip=0.2, value_weight=0.5)
    expected = torch.autograd.grad(clean.loss, now.log_probs)[0]
    elsewhere = ~drawn.is_decision
    for tensor in (drawn.log_probs, drawn.values, advantages, returns):
        tensor[elsewhere] = torch.nan
    dirty = now.log_probs.detach().masked_fill(elsewhere, -torch.inf).requires_grad_()
    found = objective(
        drawn,
        scores(dirty, entropies=now.entropies, values=now.values),
        advantages,
        returns,
        num_decisions=5,
        clip=0.2,
        value_weight=0.5,
    )
    assert float(found.loss.detach()) == float(clean.loss.detach())
    assert torch.equal(torch.autograd.grad(found.loss, dirty)[0], expected)


def test_a_log_probability_that_is_no_number_shows():
    drawn = scores(torch.zeros(1, 2))
    found = objective(
        drawn, scores(torch.tensor([[math.nan, 0.0]])), torch.ones(1, 2), torch.zeros(1, 2), num_decisions=2, clip=0.2
    )
    assert math.isnan(float(found.loss))


def test_without_weight_no_gradient_reaches_the_critic():
    drawn, now, advantages, returns = random_scores(3, shift=0.3)
    objective(drawn, now, advantages, returns, num_decisions=5, clip=0.2).loss.backward()
    assert now.values.grad is None
    assert now.log_probs.grad is not None


def test_a_part_without_decisions_still_runs_backward():
    log_probs = torch.zeros(2, 3, requires_grad=True)
    nothing = scores(torch.zeros(2, 3), is_decision=torch.zeros(2, 3).bool())
    found = objective(nothing, scores(log_probs), torch.ones(2, 3), torch.zeros(2, 3), num_decisions=5, clip=0.2)
    found.loss.backward()
    assert float(found.loss.detach()) == 0
    assert log_probs.grad.tolist() == [[0, 0, 0], [0, 0, 0]]


def test_ppo_solves_a_bandit_of_two_decisions():
    # first an arm of four, which pays nothing, then one of three: only (2, 1) pays
    torch.manual_seed(0)
    first, second = torch.zeros(4, requires_grad=True), torch.zeros(4, 3, requires_grad=True)
    critic = torch.zeros(5, requires_grad=True)
    optimizer = torch.optim.Adam([first, second, critic], lr=0.1)

    def scored(arms):
        before, after = Categorical(logits=first), Categorical(logits=second[arms[:, 0]])
        return scores(
            torch.stack([before.log_prob(arms[:, 0]), after.log_prob(arms[:, 1])], dim=1),
            entropies=torch.stack([before.entropy().expand(len(arms)), after.entropy()], dim=1),
            values=torch.stack([critic[4].expand(len(arms)), critic[arms[:, 0]]], dim=1),
        )

    for _ in range(60):
        with torch.no_grad():
            one = Categorical(logits=first).sample((64,))
            arms = torch.stack([one, Categorical(logits=second[one]).sample()], dim=1)
            drawn = scored(arms)
            rewards = torch.stack([torch.zeros(64), ((arms[:, 0] == 2) & (arms[:, 1] == 1)).float()], dim=1)
        advantages, returns = gae(rewards, drawn.values, drawn.is_decision, gamma=1.0, lam=0.95)
        for _ in range(4):
            found = objective(
                drawn,
                scored(arms),
                normalised(advantages, drawn.is_decision),
                returns,
                num_decisions=128,
                clip=0.2,
                entropy_weight=0.01,
                value_weight=0.5,
            )
            optimizer.zero_grad()
            found.loss.backward()
            optimizer.step()
    assert float((first.softmax(0)[2] * second[2].softmax(0)[1]).detach()) > 0.95
    assert float(critic[2].detach()) == pytest.approx(1.0, abs=0.15)


@pytest.mark.parametrize("advantage", [group_relative, leave_one_out])
def test_grpo_and_rloo_solve_a_bandit_without_end(advantage):
    # three questions, each with its own best number, and rewards of very different size
    torch.manual_seed(0)
    best = torch.tensor([2.0, -1.0, 0.5])
    mean, log_scale = torch.zeros(3, requires_grad=True), torch.zeros(3, requires_grad=True)
    optimizer = torch.optim.Adam([mean, log_scale], lr=0.05)

    def scored(actions):
        policy = Normal(mean.repeat_interleave(16), log_scale.exp().repeat_interleave(16))
        return scores(policy.log_prob(actions)[:, None], entropies=policy.entropy()[:, None])

    for _ in range(150):
        with torch.no_grad():
            actions = Normal(mean, log_scale.exp()).sample((16,)).T.flatten()
            drawn = scored(actions)
            returns = 5 - (actions - best.repeat_interleave(16)).square()
        for _ in range(2):
            found = objective(
                drawn,
                scored(actions),
                advantage(returns, 16)[:, None],
                torch.zeros(48, 1),
                num_decisions=48,
                clip=0.2,
            )
            optimizer.zero_grad()
            found.loss.backward()
            optimizer.step()
    torch.testing.assert_close(mean.detach(), best, atol=0.15, rtol=0)
    assert (log_scale.detach() < -1).all()


def test_repulsion_equals_its_definition():
    thoughts = torch.tensor([[3.0, 0.0], [3.0, 0.0], [0.0, 1.0]])[:, None]
    had = torch.ones(3, 1).bool()
    # the same: 1; (3, 0) and (0, 1): d² = 10, l² = (9 + 1) / 2, twice
    expected = (1 + 2 * math.exp(-10 / (2 * 0.7**2 * 5))) / 3
    assert float(repulsion(thoughts, had, siblings=3, reach=0.7)) == pytest.approx(expected)
    # at a distance of `reach` lengths it is exp(-1/2)
    angle = 2 * math.asin(0.5 / 2)
    pair = 4.0 * torch.tensor([[1.0, 0.0], [math.cos(angle), math.sin(angle)]])[:, None]
    assert float(repulsion(pair, had[:2], siblings=2, reach=0.5)) == pytest.approx(math.exp(-0.5))


def test_repulsion_counts_siblings_at_the_same_rank_only():
    same, other = torch.tensor([1.0, 0.0]), torch.tensor([0.0, 1.0])
    little = math.exp(-1 / 0.5**2)
    # within a question all differ at each rank; the same thoughts stand at another rank and in the other question
    thoughts = torch.stack([torch.stack([same, other]), torch.stack([other, same])] * 2)
    assert float(repulsion(thoughts, torch.ones(4, 2).bool(), siblings=2)) == pytest.approx(little)
    # a pair counts where both were had, and what stands elsewhere is not read
    had = torch.tensor([[1, 1], [1, 0], [1, 1], [0, 0]]).bool()
    thoughts[1, 1], thoughts[3] = torch.nan, torch.inf
    thoughts.requires_grad_()
    found = repulsion(thoughts, had, siblings=2)
    found.backward()
    assert float(found.detach()) == pytest.approx(little)
    assert torch.isfinite(thoughts.grad).all()
    assert (thoughts.grad[~had] == 0).all()


def test_repulsion_without_a_pair_is_zero_with_a_graph():
    thoughts = torch.randn(3, 2, 4, requires_grad=True)
    alone = repulsion(thoughts, torch.ones(3, 2).bool(), siblings=1)
    alone.backward()
    assert float(alone.detach()) == 0
    assert (thoughts.grad == 0).all()
    assert float(repulsion(thoughts, torch.zeros(3, 2).bool(), siblings=3).detach()) == 0


def test_the_gradient_of_repulsion_equals_the_numeric_one_and_parts_neighbours():
    generator = torch.Generator().manual_seed(0)
    thoughts = (1 + 0.3 * torch.randn(6, 3, 4, generator=generator)).requires_grad_()
    had = torch.rand(6, 3, generator=generator) < 0.8
    (gradient,) = torch.autograd.grad(repulsion(thoughts, had, siblings=3), thoughts)
    numeric = torch.zeros_like(gradient)
    for index in range(gradient.numel()):
        moved = thoughts.detach().clone()
        moved.view(-1)[index] += 1e-2
        after = float(repulsion(moved, had, siblings=3))
        moved.view(-1)[index] -= 2e-2
        numeric.view(-1)[index] = (after - float(repulsion(moved, had, siblings=3))) / 2e-2
    torch.testing.assert_close(gradient, numeric, atol=1e-4, rtol=2e-2)
    assert gradient.abs().max() > 0.01
    # going down it drives them apart, and makes none of them longer for the sake of it
    torch.testing.assert_close((gradient * thoughts).sum(), torch.tensor(0.0), atol=1e-5, rtol=0)
    moved = thoughts.detach() - 0.5 * gradient
    assert float(repulsion(moved, had, siblings=3)) < float(repulsion(thoughts.detach(), had, siblings=3))
    assert float(repulsion(7.0 * thoughts.detach(), had, siblings=3)) == pytest.approx(
        float(repulsion(thoughts.detach(), had, siblings=3)), rel=1e-5
    )
