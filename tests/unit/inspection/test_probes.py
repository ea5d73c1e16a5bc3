"""A probe reads what was planted, and nothing where nothing is."""

from dataclasses import asdict

import pytest
import torch

from unspoken.evaluation.statistics import wilson
from unspoken.inspection.probes import probe


def random_thoughts(rows, width, seed):
    return torch.randn(rows, width, generator=torch.Generator().manual_seed(seed))


def random_labels(rows, classes, seed):
    return torch.randint(classes, (rows,), generator=torch.Generator().manual_seed(seed + 100))


def planted(rows, width, classes, seed, size=4.0):
    """Thoughts that lie around the centre of their class."""
    labels = random_labels(rows, classes, seed)
    centres = torch.linalg.qr(random_thoughts(width, classes, seed + 1)).Q.t()
    return random_thoughts(rows, width, seed) + size * centres[labels], labels


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_planted_labels_are_read_and_the_control_stays_at_chance(seed):
    thoughts, labels = planted(600, 16, 4, seed)
    found = probe(thoughts, labels, seed=seed)
    assert found.accuracy > 0.95
    assert found.control_interval[0] < 0.25 < found.control_interval[1]
    assert found.majority < found.interval[0]
    assert found.selectivity == found.accuracy - found.control_accuracy > 0.6


def test_random_labels_are_not_read():
    found = [probe(random_thoughts(200, 8, seed), random_labels(200, 3, seed), seed=seed) for seed in range(10)]
    covered = sum(each.interval[0] <= each.majority <= each.interval[1] for each in found)
    assert covered >= 9
    assert abs(sum(each.selectivity for each in found) / 10) < 0.05


def test_the_intervals_are_those_of_the_hits():
    found = probe(*planted(101, 6, 3, 0, size=1.0))
    assert 0 < found.accuracy < 1
    assert found.interval == wilson(round(found.accuracy * found.n_test), found.n_test)
    assert found.control_interval == wilson(round(found.control_accuracy * found.n_test), found.n_test)


@pytest.mark.parametrize("rows", [0, 1, 19])
def test_fewer_than_20_rows_are_refused(rows):
    with pytest.raises(ValueError, match=f"at least 20 rows, found {rows}"):
        probe(random_thoughts(rows, 4, 0), random_labels(rows, 2, 0))


@pytest.mark.parametrize("rows", [20, 21, 60])
def test_the_two_halves_are_all_rows(rows):
    found = probe(random_thoughts(rows, 4, 0), random_labels(rows, 2, 0))
    assert found.n_train + found.n_test == rows
    assert 0 <= found.n_test - found.n_train <= 1


def test_no_row_is_measured_that_was_fitted():
    """With more directions than rows any labels can be learned by heart: a row in both halves would be a hit."""
    hits = rows = 0
    for seed in range(8):
        found = probe(random_thoughts(80, 200, seed), random_labels(80, 2, seed), seed=seed, penalty=1e-4)
        hits, rows = hits + round(found.accuracy * found.n_test), rows + found.n_test
    low, high = wilson(hits, rows)
    assert low < 0.5 < high


def test_the_majority_is_that_of_the_measured_half():
    """The commonest label by far: always saying it is right as often as it stands there."""
    labels = torch.zeros(400, dtype=torch.long)
    # with a seed of the probe itself the rare label would stand in one half alone
    labels[torch.randperm(400, generator=torch.Generator().manual_seed(99))[:80]] = 2
    found = [probe(random_thoughts(400, 2, seed), labels, seed=seed) for seed in range(5)]
    assert all(0.7 < each.majority < 0.9 for each in found)
    assert len({each.majority for each in found}) > 1
    everything = probe(random_thoughts(40, 2, 0), torch.ones(40, dtype=torch.long))
    assert (everything.majority, everything.accuracy, everything.selectivity) == (1.0, 1.0, 0.0)


def test_the_same_seed_gives_the_same_figures_and_another_one_others():
    thoughts, labels = planted(100, 6, 3, 0, size=1.0)
    state = torch.get_rng_state()
    figures = [asdict(probe(thoughts, labels, seed=seed)) for seed in (0, 0, 1, 2)]
    assert figures[0] == figures[1]
    assert figures[0] not in figures[2:]
    assert torch.equal(torch.get_rng_state(), state), "chance of the process is left alone"


def test_the_scale_of_the_thoughts_changes_nothing():
    thoughts, labels = planted(120, 6, 3, 3, size=1.5)
    assert probe(thoughts * 1024, labels) == probe(thoughts, labels)  # a power of two rounds nothing
