"""Next-token cross entropy where something is trained, and nowhere else."""

from math import exp, log

import pytest
import torch
from torch import nn

from unspoken.model.loss import head_logits, next_token_loss, trained_states
from unspoken.records import IGNORED

NO = IGNORED


def test_the_state_at_a_column_predicts_the_label_of_the_next_one():
    states = torch.arange(2 * 4 * 3, dtype=torch.float32).view(2, 4, 3)
    labels = torch.tensor([[NO, NO, 5, 6], [NO, 7, NO, 8]])
    kept, targets = trained_states(states, labels)
    assert targets.tolist() == [5, 6, 7, 8]
    assert kept.tolist() == [states[0, 1].tolist(), states[0, 2].tolist(), states[1, 0].tolist(), states[1, 2].tolist()]


def test_a_label_in_the_first_column_has_no_state_that_could_predict_it():
    _, targets = trained_states(torch.zeros(1, 3, 2), torch.tensor([[4, NO, 5]]))
    assert targets.tolist() == [5]


def test_the_last_state_predicts_nothing():
    states = torch.tensor([[[1.0], [2.0], [3.0]]])
    kept, _ = trained_states(states, torch.tensor([[1, 1, 1]]))
    assert kept.tolist() == [[1.0], [2.0]]


def test_the_loss_is_the_mean_cross_entropy_in_nats():
    logits = torch.tensor([[0.0, log(3.0)], [log(4.0), 0.0], [2.0, 2.0]])
    # probabilities of the targets: 3/4, 1/5, 1/2
    loss = next_token_loss(logits, torch.tensor([1, 1, 0]))
    assert loss.item() == pytest.approx((log(4 / 3) + log(5) + log(2)) / 3, rel=1e-6)


def test_the_number_of_items_is_what_the_sum_is_divided_by():
    logits, targets = torch.tensor([[0.0, 0.0], [0.0, 0.0]]), torch.tensor([0, 1])
    for items in (8, torch.tensor(8)):
        assert next_token_loss(logits, targets, items).item() == pytest.approx(2 * log(2) / 8)


def test_a_step_cut_into_parts_has_the_loss_and_the_gradient_of_the_whole():
    """Parts with 1, 5, 0 and 2 targets: means of means would weigh them wrongly."""
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(8, 6, generator=generator).requires_grad_()
    targets = torch.randint(6, (8,), generator=generator)
    whole = next_token_loss(logits, targets)
    (expected,) = torch.autograd.grad(whole, logits)
    parts = [slice(0, 1), slice(1, 6), slice(6, 6), slice(6, 8)]
    total = sum(next_token_loss(logits[part], targets[part], 8) for part in parts)
    torch.testing.assert_close(total, whole)
    torch.testing.assert_close(torch.autograd.grad(total, logits)[0], expected)


@pytest.mark.parametrize("items", [None, 5])
def test_without_a_target_the_loss_is_0_with_a_graph(items):
    head = nn.Linear(3, 4)
    states, targets = trained_states(torch.randn(2, 5, 3), torch.full((2, 5), NO))
    loss = next_token_loss(head(states), targets, items)
    assert loss.item() == 0.0
    loss.backward()
    assert head.weight.grad.abs().sum().item() == 0.0


def test_half_precision_logits_have_a_loss_in_full_precision():
    logits = torch.tensor([[3.0, 0.0, -1.0]], dtype=torch.bfloat16)
    loss = next_token_loss(logits, torch.tensor([1]))
    assert loss.dtype == torch.float32
    assert loss.item() == pytest.approx(log(exp(3) + 1 + exp(-1)), rel=1e-6)
    assert next_token_loss(logits[:0], torch.tensor([], dtype=torch.long)).dtype == torch.float32


def test_a_soft_cap_bounds_the_logits():
    head = nn.Linear(1, 2, bias=False)
    with torch.no_grad():
        head.weight.copy_(torch.tensor([[1.0], [1000.0]]))
    states = torch.tensor([[2.0]])
    assert head_logits(head, states, None).tolist() == [[2.0, 2000.0]]
    capped = head_logits(head, states, 30.0)
    expected = 30 * (exp(2 / 30) - exp(-2 / 30)) / (exp(2 / 30) + exp(-2 / 30))
    assert capped[0].tolist() == pytest.approx([expected, 30.0], rel=1e-5)
