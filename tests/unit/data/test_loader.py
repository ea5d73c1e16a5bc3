"""Which rows share a batch, on which process, in which epoch."""

from itertools import chain, pairwise

import numpy as np
import pytest
from tests.conftest import TOKENS
from tests.unit.data.build import tokenized

from unspoken.data.loader import POOL, Batches, StagedDataset, one_reasoning
from unspoken.methods.coconut import Coconut
from unspoken.methods.cot import CoT
from unspoken.records import IGNORED


def dataset_of(count, *, seed=0, method=None):
    method = method or Coconut(redraw=True, mix=0.5)
    rows = [
        tokenized(f"row {i}", premises=[[1, i % 30 + 1], [2, 5], [3]], questions=[[7], [8]], steps=[[10 + i % 20]] * 3)
        for i in range(count)
    ]
    return StagedDataset(rows, lambda row, epoch, rng: method.layout(row, epoch, TOKENS, rng), seed)


def batches_of(count, batch_size, parts, *, seed=0, epoch=0, lengths=None):
    dataset = dataset_of(count)
    dataset.set_epoch(epoch)
    lengths = np.random.default_rng(0).integers(5, 60, size=count) if lengths is None else lengths
    return Batches(dataset, lengths, batch_size, parts, seed)


def steps_of(batches):
    """The real rows of each optimizer step, micro-batch by micro-batch."""
    micro = list(batches)
    return [micro[start : start + batches.parts] for start in range(0, len(micro), batches.parts)]


def real(rows):
    return [row for row in rows if row >= 0]


GRID = [
    (count, batch_size, parts)
    for count in (1, 2, 5, 7, 12, 33, 100, 32 * 4 + 3, 32 * 4 * 2)
    for batch_size in (1, 2, 4, 8)
    for parts in (1, 2, 3, 4)
    if parts <= batch_size
]


@pytest.mark.parametrize(("count", "batch_size", "parts"), GRID)
def test_every_row_is_drawn_exactly_once_an_epoch(count, batch_size, parts):
    batches = batches_of(count, batch_size, parts)
    drawn = real(chain.from_iterable(batches))
    assert sorted(drawn) == list(range(count))


@pytest.mark.parametrize(("count", "batch_size", "parts"), GRID)
def test_a_step_is_parts_micro_batches_of_equal_size_and_only_one_step_is_short(count, batch_size, parts):
    batches = batches_of(count, batch_size, parts)
    steps = steps_of(batches)
    assert len(list(batches)) == len(batches) == len(steps) * parts
    sizes = [sum(len(real(micro)) for micro in step) for step in steps]
    rest = [count % batch_size] if count % batch_size else []
    assert sorted(sizes) == rest + [batch_size] * (count // batch_size)
    for step in steps:
        counts = [len(real(micro)) for micro in step]
        assert max(counts) - min(counts) <= 1


@pytest.mark.parametrize(("count", "batch_size"), [(37, 12), (5, 12), (24, 12), (121, 4)])
def test_the_rows_of_a_step_are_the_same_however_it_is_cut(count, batch_size):
    wanted = [sorted(real(chain.from_iterable(step))) for step in steps_of(batches_of(count, batch_size, 1))]
    for parts in (2, 3, 4, 6, 12):
        cut = [sorted(real(chain.from_iterable(step))) for step in steps_of(batches_of(count, batch_size, parts))]
        assert cut == wanted


def test_processes_times_accumulation_reads_the_same_rows_in_the_same_order_as_accumulation_alone():
    """Two processes that take micro-batches in turn, two each a step, see what one process sees in four."""
    alone = list(batches_of(64, 8, 4))
    first, second = alone[0::2], alone[1::2]
    for step in range(8):
        together = first[2 * step : 2 * step + 2] + second[2 * step : 2 * step + 2]
        assert sorted(chain.from_iterable(together)) == sorted(chain.from_iterable(alone[4 * step : 4 * step + 4]))


def test_the_empty_parts_of_a_short_last_batch_hold_a_row_of_it_that_trains_nothing():
    batches = batches_of(5, 4, 4)
    short = next(step for step in steps_of(batches) if sum(len(real(micro)) for micro in step) == 1)
    (row,) = real(chain.from_iterable(short))
    assert sorted(short) == [[-1 - row]] * 3 + [[row]]
    for (index,) in short:
        staged = batches.dataset[index]
        assert (staged.labels != IGNORED).any() == (index >= 0)


def test_the_order_is_a_function_of_seed_and_epoch_and_of_nothing_else():
    def order(seed, epoch):
        return list(batches_of(50, 4, 2, seed=seed, epoch=epoch))

    assert order(1, 2) == order(1, 2)
    assert order(1, 2) != order(1, 3)
    assert order(1, 2) != order(2, 2)
    assert order(1, 2) != order(2, 1)


def test_reading_the_order_twice_gives_it_twice():
    batches = batches_of(50, 4, 2)
    assert list(batches) == list(batches)


def test_the_epoch_of_the_dataset_moves_the_order():
    batches = batches_of(50, 4, 1)
    before = list(batches)
    batches.dataset.set_epoch(1)
    assert list(batches) != before


def test_rows_of_a_batch_are_about_equally_long():
    lengths = np.random.default_rng(1).integers(10, 500, size=8 * POOL * 4)

    def padding(batches):
        padded = sum(len(rows) * max(lengths[row] for row in rows) for rows in batches)
        return 1 - lengths.sum() / padded

    sorted_together = padding(batches_of(len(lengths), 8, 1, lengths=lengths))
    shuffled = np.random.default_rng(2).permutation(len(lengths)).reshape(-1, 8).tolist()
    assert padding(shuffled) > 0.3
    # a pool of 32 batches is sorted: neighbours differ by about 490 / 32 of 255 tokens
    assert sorted_together < 0.05


def test_batches_of_short_and_of_long_rows_are_mixed():
    lengths = np.arange(8 * POOL) + 10
    means = [lengths[rows].mean() for rows in batches_of(len(lengths), 8, 1, lengths=lengths)]
    assert means != sorted(means)
    # of 31 neighbours in a random order about half rise: 15.5 with sigma 1.6
    assert 9 <= sum(after > before for before, after in pairwise(means)) <= 22


def test_the_rows_that_fill_no_batch_are_not_always_the_longest():
    lengths = np.arange(9)
    left_over = set()
    for epoch in range(40):
        left_over |= {rows[0] for rows in batches_of(9, 4, 1, epoch=epoch, lengths=lengths) if len(rows) == 1}
    assert len(left_over) >= 7  # of 9 rows in 40 draws; missing 3 or more has probability below 1e-3


def test_a_layout_depends_on_seed_epoch_and_row_whatever_was_drawn_before():
    dataset, other = dataset_of(20), dataset_of(20)
    dataset.set_epoch(3), other.set_epoch(3)
    forwards = [dataset[i].input_ids.tolist() for i in range(20)]
    backwards = [other[i].input_ids.tolist() for i in reversed(range(20))][::-1]
    assert forwards == backwards


def test_another_seed_or_epoch_draws_other_layouts():
    def layouts(seed, epoch):
        dataset = dataset_of(20, seed=seed, method=Coconut(redraw=True, max_stage=9))
        dataset.set_epoch(epoch)
        # the stage follows the epoch; compare the questions, which chance alone changes
        return [staged.input_ids[:6].tolist() for staged in map(dataset.__getitem__, range(20))]

    assert layouts(0, 1) != layouts(1, 1)
    assert layouts(0, 1) != layouts(0, 2)


@pytest.mark.parametrize("row", [0, 1, 19])
def test_a_negative_index_is_the_row_with_nothing_to_train(row):
    dataset = dataset_of(20)
    with_labels, without = dataset[row], dataset[-1 - row]
    assert without.id == f"row {row}"
    assert without.input_ids.tolist() == with_labels.input_ids.tolist()
    assert without.labels.tolist() == [IGNORED] * len(with_labels.labels)
    assert (without.num_thoughts, without.first_thought) == (with_labels.num_thoughts, with_labels.first_thought)
    assert (with_labels.labels != IGNORED).any()


# ---- one of several reasonings

REASONINGS = [[[10], [11, 12]], [[13]], [[14], [15], [16]]]


def reasoned(number):
    steps, *others = REASONINGS
    return tokenized(f"row {number}", steps=steps, other_steps=others)


def reasoning_of(row):
    return REASONINGS.index([step.tolist() for step in row.steps])


def test_each_round_of_epochs_holds_every_reasoning_once():
    rounds = set()
    for number in range(60):
        chosen = [reasoning_of(one_reasoning(reasoned(number), epoch, seed=0)) for epoch in range(12)]
        for start in range(0, 12, 3):
            assert sorted(chosen[start : start + 3]) == [0, 1, 2]
            rounds.add(tuple(chosen[start : start + 3]))
    assert len(rounds) == 6, "in every order"


def test_the_reasoning_depends_on_seed_epoch_and_id_alone():
    def chosen(seed, ids):
        return [reasoning_of(one_reasoning(reasoned(number), epoch, seed)) for number in ids for epoch in range(6)]

    ids = list(range(30))
    assert chosen(0, ids) == chosen(0, ids)
    assert chosen(0, ids) != chosen(1, ids)
    assert chosen(0, [7]) == chosen(0, ids)[42:48]
    first = [reasoning_of(one_reasoning(reasoned(number), 0, 0)) for number in range(300)]
    assert all(70 <= first.count(place) <= 130 for place in range(3))  # 100 expected, standard deviation 8.2


def test_a_row_is_laid_out_with_the_reasoning_of_the_epoch_and_others_are_as_before():
    rows = [reasoned(0), tokenized("row 1")]
    dataset = StagedDataset(rows, lambda row, epoch, rng: CoT().layout(row, 0, TOKENS, rng), seed=3)
    written = []
    for epoch in range(3):
        dataset.set_epoch(epoch)
        labels = dataset[0].labels
        expected = one_reasoning(rows[0], epoch, 3)
        assert labels[labels != IGNORED].tolist() == [*chain(*(step.tolist() for step in expected.steps)), 30, 31, 0]
        assert dataset[-1].input_ids.tolist() == dataset[0].input_ids.tolist()
        written.append(reasoning_of(expected))
        assert dataset[1].input_ids.tolist() == [1, 2, 3, 10, 11, 12, 13, 14, 15, 30, 31, 0]
    assert sorted(written) == [0, 1, 2]


def test_a_prompt_knows_the_first_reasoning_alone():
    method = Coconut(pad_thoughts=False)
    assert method.prompt(reasoned(0), 6, TOKENS).num_thoughts == len(REASONINGS[0])
