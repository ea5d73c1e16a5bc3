"""Same seed, same batches: bit by bit, whatever loads them and however a step is cut."""

from functools import partial

import pytest
import torch

from tests.conftest import TOKENS
from unspoken.data.collate import collate
from unspoken.data.loader import Batches, StagedDataset, data_loader
from unspoken.data.tokenize import tokenize
from unspoken.data.tokenizer import thought_tokens, word_tokenizer
from unspoken.methods.coconut import Coconut
from unspoken.methods.superposition import Superposition
from unspoken.prepare import longest
from unspoken.recipe import resolve
from unspoken.tasks.hops import Hops
from unspoken.tasks.prosqa import ProsQA
from unspoken.training.supervised import train

TASK = Hops(symbols=6, hops=3, train_rows=23, validation_rows=1, test_rows=1)
METHOD = Coconut(max_stage=3, epochs_per_stage=1, mix=0.4, redraw=True, pad_thoughts=False)


def dataset_and_batches(*, seed, parts=2):
    tokenizer = word_tokenizer(TASK.words())
    rows = tokenize(TASK.examples("train")[0], TASK.text, tokenizer)
    tokens = thought_tokens(tokenizer)

    def layout(row, epoch, rng):
        return METHOD.layout(row, METHOD.stage(epoch), tokens, rng)

    dataset = StagedDataset(rows, layout, seed)
    return dataset, Batches(dataset, [len(row.answer) for row in rows], 8, parts, seed)


def epochs(*, seed, workers=0, parts=2, count=4):
    """The batches of a few epochs, as the training loop sees them."""
    dataset, batches = dataset_and_batches(seed=seed, parts=parts)
    join = partial(collate, pad_id=0, latent_id=TOKENS.latent)
    loader = data_loader(batches, join, workers=workers)
    seen = []
    for epoch in range(count):
        dataset.set_epoch(epoch)
        seen.append(list(loader))
    return seen


def equal(one, other):
    return len(one) == len(other) and all(
        first.keys() == second.keys() and all(torch.equal(first[name], second[name]) for name in first)
        for first, second in zip(one, other, strict=True)
    )


@pytest.mark.parametrize("workers", [1, 2])
def test_any_number_of_loader_workers_gives_the_same_batches(workers):
    for alone, loaded in zip(epochs(seed=3), epochs(seed=3, workers=workers), strict=True):
        assert len(alone) == 6  # 23 rows in steps of 8, two parts each
        assert equal(alone, loaded)


def test_the_random_state_of_the_process_has_no_say():
    torch.manual_seed(0)
    first = epochs(seed=3)
    torch.manual_seed(1)
    assert all(equal(one, other) for one, other in zip(first, epochs(seed=3), strict=True))


def test_the_number_of_workers_leaves_the_random_state_of_training_alone():
    """Dropout draws from it: a run with workers is to lose the same units as a run without."""
    states = []
    for workers in (0, 1, 2):
        torch.manual_seed(0)
        epochs(seed=3, workers=workers)
        states.append(torch.get_rng_state())
    assert torch.equal(states[0], states[1])
    assert torch.equal(states[0], states[2])


def test_epochs_and_seeds_give_other_batches():
    first, second = epochs(seed=3, count=2)
    assert not equal(first, second)
    assert not equal(first, epochs(seed=4)[0])


def rows_of(step):
    """The real rows of the micro-batches of a step, as (tokens, labels), without their padding."""
    rows = []
    for batch in step:
        for ids, mask, labels in zip(batch["input_ids"], batch["attention_mask"], batch["labels"], strict=True):
            if (labels != -100).any():
                rows.append((ids[mask.bool()].tolist(), labels[mask.bool()].tolist()))
    return sorted(rows)


@pytest.mark.parametrize("parts", [1, 4, 8])
def test_the_rows_of_a_step_and_their_layouts_are_the_same_however_it_is_cut(parts):
    for whole, cut in zip(epochs(seed=5, parts=2), epochs(seed=5, parts=parts), strict=True):
        for step in range(3):
            expected, found = whole[2 * step : 2 * step + 2], cut[parts * step : parts * step + parts]
            assert rows_of(found) == rows_of(expected)


def test_an_epoch_that_is_read_again_is_the_same_epoch():
    """A resumed run moves to its epoch at once."""
    dataset, batches = dataset_and_batches(seed=6)
    dataset.set_epoch(1)
    read_at_once = [dataset[index].input_ids.tolist() for rows in batches for index in rows]
    dataset, batches = dataset_and_batches(seed=6)
    for epoch in (0, 1):
        dataset.set_epoch(epoch)
        read_in_turn = [dataset[index].input_ids.tolist() for rows in batches for index in rows]
    assert read_at_once == read_in_turn


def test_little_of_a_batch_is_padding():
    """Graphs from 84 to 195 tokens: what packing several into a row could save."""
    task = ProsQA(rendering="symbols", min_hops=3, max_hops=4, train_rows=2048, validation_rows=1, test_rows=1)
    tokenizer = word_tokenizer(task.words())
    method, tokens = Superposition(), thought_tokens(tokenizer)
    rows = tokenize(task.examples("train")[0], task.text, tokenizer)
    dataset = StagedDataset(rows, lambda row, epoch, rng: method.layout(row, 3, tokens, rng), seed=0)
    lengths = [longest(row) for row in rows]

    def padding(batches):
        masks = [
            collate([dataset[row] for row in batch], pad_id=0, latent_id=tokens.latent)["attention_mask"]
            for batch in batches
        ]
        return 1 - sum(mask.sum().item() for mask in masks) / sum(mask.numel() for mask in masks)

    assert padding(Batches(dataset, lengths, 64, 1, seed=0)) < 0.04
    assert padding(torch.arange(2048).view(-1, 64).tolist()) > 0.2


def test_a_training_is_the_same_with_loader_workers(tmp_path):
    """Through everything that the libraries put around the loader: curriculum, order, dropout and weights."""
    sections = {
        "task": {"name": "hops", "symbols": 4, "hops": 2, "train_rows": 16, "validation_rows": 2, "test_rows": 2},
        "model": {"layers": 1, "heads": 2, "width": 16, "max_positions": 32, "dropout": 0.1},
        "method": {"name": "coconut", "max_stage": 1, "epochs_per_stage": 1, "redraw": True},
        "evaluate": {"max_new_tokens": 2},
    }
    weights = []
    for workers in (0, 2):
        train_settings = {"epochs": 3, "batch_size": 8, "save": "end", "workers": workers}
        run = train(resolve({**sections, "train": train_settings}, "test"), tmp_path / str(workers))
        weights.append((run / "model.safetensors").read_bytes())
    assert weights[0] == weights[1]
