"""The shape of a cloud of thoughts against plain loops and clouds whose shape is known."""

import math

import pytest
import torch

from unspoken.thoughts.geometry import cloud, effective_rank, mean_cosine, principal_paths


def normal(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def rotation(width, seed=1):
    return torch.linalg.qr(normal(width, width, seed=seed).double()).Q


def crosses(*sizes, width=6):
    """Two opposite points on each axis, so far from the origin."""
    rows = torch.diag(torch.tensor(sizes, dtype=torch.float64))
    rows = torch.cat([rows, -rows])
    return torch.cat([rows, torch.zeros(len(rows), width - len(sizes), dtype=torch.float64)], dim=1)


@pytest.mark.parametrize("rows", [2, 3, 9])
def test_the_mean_cosine_is_that_of_a_loop_over_all_pairs(rows):
    thoughts = normal(rows, 5) + 1
    cosines = [
        float(thoughts[i] @ thoughts[j] / (thoughts[i].norm() * thoughts[j].norm()))
        for i in range(rows)
        for j in range(rows)
        if i != j
    ]
    assert mean_cosine(thoughts) == pytest.approx(sum(cosines) / len(cosines), abs=1e-6)


def test_thoughts_of_one_direction_have_cosine_1_whatever_their_lengths():
    assert mean_cosine(normal(1, 8) * torch.tensor([[0.1], [1.0], [30.0]])) == pytest.approx(1.0)
    assert mean_cosine(torch.tensor([[1.0, 0.0], [-2.0, 0.0]])) == pytest.approx(-1.0)


@pytest.mark.parametrize("directions", [1, 2, 3, 6])
def test_equal_orthogonal_directions_are_counted(directions):
    assert effective_rank(crosses(*[2.0] * directions)) == pytest.approx(directions)


def test_unequal_directions_count_by_the_entropy_of_their_sizes():
    shares = [0.75, 0.25]
    expected = math.exp(-sum(share * math.log(share) for share in shares))
    assert effective_rank(crosses(3.0, 1.0)) == pytest.approx(expected)
    assert 1 < expected < 2


def test_identical_thoughts_differ_in_no_direction():
    assert effective_rank(normal(1, 7).expand(5, 7)) == 0.0


def test_the_effective_rank_ignores_scale_rotation_and_place():
    thoughts = normal(12, 6).double() * torch.tensor([5.0, 3.0, 1.0, 0.5, 0.1, 0.0])
    plain = effective_rank(thoughts)
    assert 2 < plain < 5
    for changed in (thoughts * 1000, thoughts / 1000, thoughts @ rotation(6), thoughts + 4):
        assert effective_rank(changed) == pytest.approx(plain, rel=1e-9)


def test_a_cloud_has_the_mean_and_the_spread_of_the_lengths():
    found = cloud(torch.tensor([[3.0, 4.0], [0.0, 1.0], [0.0, -3.0]]))
    assert (found.norm, found.norm_sd) == pytest.approx((3.0, 2.0))  # lengths 5, 1, 3
    assert found.cosine == pytest.approx((0.8 - 0.8 - 1.0) / 3)
    assert found.effective_rank == effective_rank(torch.tensor([[3.0, 4.0], [0.0, 1.0], [0.0, -3.0]]))


def test_thoughts_on_a_line_are_explained_by_the_first_direction():
    along = normal(4 * 3).double().reshape(4, 3)
    direction = normal(7, seed=2).double()
    places, explained = principal_paths(along[..., None] * direction + normal(7, seed=3).double())
    assert explained.tolist() == pytest.approx([1.0, 0.0], abs=1e-12)
    # places are distances along the line, row by row and thought by thought; which end is which is open
    expected = (along - along.mean()) * direction.norm()
    sign = torch.sign(places[0, 0, 0] * expected[0, 0])
    torch.testing.assert_close(places[..., 0], sign * expected)
    assert float(places[..., 1].abs().max()) < 1e-12


def test_thoughts_in_a_plane_keep_their_distances_and_shares():
    flat = normal(5 * 3, 2).double() * torch.tensor([3.0, 1.0])
    flat = flat - flat.mean(dim=0)
    hidden = torch.cat([flat, torch.zeros(15, 6)], dim=1) @ rotation(8) + 2
    places, explained = principal_paths(hidden.reshape(5, 3, 8))
    assert places.shape == (5, 3, 2)
    torch.testing.assert_close(torch.cdist(places.reshape(15, 2), places.reshape(15, 2)), torch.cdist(flat, flat))
    variances = torch.linalg.eigvalsh(flat.t() @ flat).flip(0)
    torch.testing.assert_close(explained, variances / variances.sum())


def test_directions_are_those_of_all_thoughts_together():
    """Rows differ much in the first thought and little in the second; the thoughts themselves lie far apart."""
    thoughts = torch.zeros(2, 2, 3, dtype=torch.float64)
    thoughts[:, 1, 2] = 10.0
    thoughts[1, 0, 0] = 1.0
    _, explained = principal_paths(thoughts, num_directions=3)
    assert explained[0] > 0.99
    assert float(explained.sum()) == pytest.approx(1.0)


def test_one_row_is_no_cloud():
    with pytest.raises(ValueError, match="at least 2 thoughts, found 1"):
        cloud(torch.randn(1, 4))


@pytest.mark.parametrize("shape", [(2, 5), (9, 40), (40, 9), (64, 768)])
@pytest.mark.parametrize("power", [0.0, 3.0])
def test_the_effective_rank_is_that_of_the_singular_values(shape, power):
    """Also where most directions are nearly nothing."""
    rows = normal(*shape).double() * torch.arange(1, shape[1] + 1).double() ** -power + 3
    sizes = torch.linalg.svdvals(rows - rows.mean(dim=0))
    shares = sizes[sizes > 1e-9 * sizes[0]] / sizes.sum()
    assert effective_rank(rows) == pytest.approx(math.exp(-float((shares * shares.log()).sum())), rel=1e-6)


def test_no_singular_values_are_asked_of_a_device(monkeypatch):
    """In 64 bits a GPU takes as long for them as for a training step."""
    monkeypatch.setattr(torch.linalg, "svdvals", None)
    assert effective_rank(crosses(2.0, 2.0)) == pytest.approx(2.0)


def test_identical_rows_have_no_rank_however_they_are_rounded():
    assert effective_rank(torch.full((1000, 768), 0.1, dtype=torch.float64) * 37.3) == 0.0
