"""A probe reads what was planted, and nothing where nothing is; its control what the words of the question tell."""

from dataclasses import asdict, replace
from pathlib import Path

import pytest
import torch
from tests.conftest import TOKENS
from tests.unit.data.build import tokenized
from torch.nn.functional import one_hot

from unspoken.evaluation.evaluate import rows_of
from unspoken.evaluation.statistics import wilson
from unspoken.evaluation.subject import Subject
from unspoken.inspection.inspect import _probes
from unspoken.inspection.probes import probe, word_counts
from unspoken.methods.coconut import Coconut
from unspoken.run_directory import open_run


def random_thoughts(rows, width, seed):
    return torch.randn(rows, width, generator=torch.Generator().manual_seed(seed))


def random_labels(rows, classes, seed):
    return torch.randint(classes, (rows,), generator=torch.Generator().manual_seed(seed + 100))


def planted(rows, width, classes, seed, size=4.0):
    """Thoughts that lie around the centre of their class."""
    labels = random_labels(rows, classes, seed)
    centres = torch.linalg.qr(random_thoughts(width, classes, seed + 1)).Q.t()
    return random_thoughts(rows, width, seed) + size * centres[labels], labels


def random_words(rows, seed=0):
    """Counts of five words that have nothing to do with any label."""
    return one_hot(random_labels(rows, 5, seed + 50), 5).float()


def read(thoughts, labels, **kwargs):
    return probe(thoughts, labels, random_words(len(labels)), **kwargs)


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_planted_labels_are_read_and_the_control_stays_at_chance(seed):
    thoughts, labels = planted(600, 16, 4, seed)
    found = read(thoughts, labels, seed=seed)
    assert found.accuracy > 0.95
    assert found.control_interval[0] < 0.25 < found.control_interval[1]
    assert found.majority < found.interval[0]
    assert found.above_control == found.accuracy - found.control_accuracy > 0.6


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_a_label_that_the_words_give_away_is_read_by_the_control_too(seed):
    """Thoughts that hold one of eight words and nothing else: what follows from the word is read off them."""
    words = one_hot(random_labels(400, 8, seed), 8).float()
    thoughts = words @ random_thoughts(8, 16, seed) + 0.1 * random_thoughts(400, 16, seed + 1)
    by_word = torch.randint(4, (8,), generator=torch.Generator().manual_seed(seed))
    labels = by_word[words.argmax(dim=-1)]
    found = probe(thoughts, labels, words, seed=seed)
    assert found.majority < 0.7
    assert found.accuracy > 0.95
    assert found.control_accuracy > 0.95
    assert abs(found.above_control) < 0.05


def test_thoughts_that_lost_what_the_words_give_away_lie_below_the_control():
    words = one_hot(random_labels(400, 4, 0), 4).float()
    found = probe(random_thoughts(400, 16, 1), words.argmax(dim=-1), words)
    assert found.control_accuracy == 1.0
    assert found.above_control < -0.5


def test_a_word_that_stands_in_one_half_alone_does_no_harm():
    thoughts, labels = planted(40, 4, 2, 0)
    rare = torch.zeros(40, 2)
    rare[0, 0], rare[1, 1] = 1.0, 3.0
    for seed in range(4):
        found = probe(thoughts, labels, torch.cat([one_hot(labels, 2), rare], dim=1), seed=seed)
        assert found.control_accuracy == 1.0


# ---- the words


def test_the_words_are_counted_in_front_of_the_thoughts():
    rows = [tokenized(start=(36,), questions=[(8, 9, 8)]), tokenized(start=(36,), questions=[(5, 8)])]
    prompts = [Coconut(markers=False).prompt(row, 0, TOKENS, 2) for row in rows]
    # tokens 5, 8, 9 and 36
    assert word_counts(prompts).tolist() == [[0, 2, 1, 1], [1, 1, 0, 1]]


def test_the_order_of_words_does_not_count():
    rows = [tokenized(questions=[(8, 9, 5)]), tokenized(questions=[(5, 8, 9)])]
    one, other = word_counts([Coconut().prompt(row, 0, TOKENS, 1) for row in rows])
    assert torch.equal(one, other)


@pytest.fixture(scope="module")
def subject():
    """Questions of hops whose answer is made the symbol that they name: no thought is needed to tell it."""
    run = open_run(Path(__file__).parents[2] / "models" / "hops-coconut")
    examples = rows_of(run, run.recipe, None, "test").examples[:120]
    told = [replace(example, answer=example.question.split()[-1]) for example in examples]
    return Subject.of(run, told, lambda *progress: None)


def test_an_inspection_holds_every_probe_against_the_words_of_its_question(subject):
    found = {(each["thought"], each["target"]): each for each in _probes(subject, subject.record(), [], seed=0)}
    assert sorted(found) == [(k, target) for k in (1, 2, 3, 4) for target in ("its own step", "the answer")]
    for (_, target), figures in found.items():
        assert (figures["control_accuracy"] == 1.0) is (target == "the answer")
        assert figures["above_control"] == figures["accuracy"] - figures["control_accuracy"]


# ---- the figures


def test_random_labels_are_not_read():
    found = [read(random_thoughts(200, 8, seed), random_labels(200, 3, seed), seed=seed) for seed in range(10)]
    covered = sum(each.interval[0] <= each.majority <= each.interval[1] for each in found)
    assert covered >= 9
    assert abs(sum(each.above_control for each in found) / 10) < 0.05


def test_the_intervals_are_those_of_the_hits():
    found = read(*planted(101, 6, 3, 0, size=1.0))
    assert 0 < found.accuracy < 1
    assert found.interval == wilson(round(found.accuracy * found.n_test), found.n_test)
    assert found.control_interval == wilson(round(found.control_accuracy * found.n_test), found.n_test)


@pytest.mark.parametrize("rows", [0, 1, 19])
def test_fewer_than_20_rows_are_refused(rows):
    with pytest.raises(ValueError, match=f"at least 20 rows, found {rows}"):
        read(random_thoughts(rows, 4, 0), random_labels(rows, 2, 0))


@pytest.mark.parametrize("rows", [20, 21, 60])
def test_the_two_halves_are_all_rows(rows):
    found = read(random_thoughts(rows, 4, 0), random_labels(rows, 2, 0))
    assert found.n_train + found.n_test == rows
    assert 0 <= found.n_test - found.n_train <= 1


def test_no_row_is_measured_that_was_fitted():
    """With more directions than rows any labels can be learned by heart: a row in both halves would be a hit."""
    hits = rows = 0
    for seed in range(8):
        found = read(random_thoughts(80, 200, seed), random_labels(80, 2, seed), seed=seed, penalty=1e-4)
        hits, rows = hits + round(found.accuracy * found.n_test), rows + found.n_test
    low, high = wilson(hits, rows)
    assert low < 0.5 < high


def test_the_majority_is_that_of_the_measured_half():
    """The commonest label by far: always saying it is right as often as it stands there."""
    labels = torch.zeros(400, dtype=torch.long)
    # with a seed of the probe itself the rare label would stand in one half alone
    labels[torch.randperm(400, generator=torch.Generator().manual_seed(99))[:80]] = 2
    found = [read(random_thoughts(400, 2, seed), labels, seed=seed) for seed in range(5)]
    assert all(0.7 < each.majority < 0.9 for each in found)
    assert len({each.majority for each in found}) > 1
    everything = read(random_thoughts(40, 2, 0), torch.ones(40, dtype=torch.long))
    assert (everything.majority, everything.accuracy, everything.above_control) == (1.0, 1.0, 0.0)


def test_the_same_seed_gives_the_same_figures_and_another_one_others():
    thoughts, labels = planted(100, 6, 3, 0, size=1.0)
    state = torch.get_rng_state()
    figures = [asdict(read(thoughts, labels, seed=seed)) for seed in (0, 0, 1, 2)]
    assert figures[0] == figures[1]
    assert figures[0] not in figures[2:]
    assert torch.equal(torch.get_rng_state(), state), "chance of the process is left alone"


def test_the_scale_of_the_thoughts_changes_nothing():
    thoughts, labels = planted(120, 6, 3, 3, size=1.5)
    assert read(thoughts * 1024, labels) == read(thoughts, labels)  # a power of two rounds nothing
