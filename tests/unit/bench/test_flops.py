"""Operations are those that PyTorch counts, and shares are of the right peak."""

import pytest
import torch
from tests.conftest import TOKENS, tiny_model
from torch.utils.flop_counter import FlopCounterMode

from unspoken.bench.flops import PEAKS, linear_weights, peak_of, share_of_peak, training_flops
from unspoken.model.last_block import last_feed_forward
from unspoken.records import IGNORED, Batch

SLOTS = (5, 6, 8)


def rows(padding=0):
    """Three rows with slots in the same columns and two labels each, the first with padding in front."""
    ids = torch.randint(1, 30, (3, 12), generator=torch.Generator().manual_seed(0))
    ids[:, list(SLOTS)] = TOKENS.latent
    mask = torch.ones_like(ids)
    mask[0, :padding] = 0
    labels = torch.full_like(ids, IGNORED)
    labels[:, -2:] = ids[:, -2:]
    return Batch(input_ids=ids, attention_mask=mask, position_ids=torch.arange(12).expand(3, -1), labels=labels)


@pytest.mark.parametrize("arch", ["gpt2", "llama"])
@pytest.mark.parametrize("source", ["last_hidden", "pause"])
def test_the_operations_are_those_that_the_library_counts(arch, source):
    model = tiny_model(arch, source={"name": source}).train()
    model.model.language_model.set_attn_implementation("eager")
    batch = rows()
    with FlopCounterMode(display=False) as counter:
        model(**batch).loss.backward()
    # the embeddings of slots and the first keys have gradients, too; nothing else is left out by the library
    assert training_flops(model, batch) == counter.get_total_flops()


def test_a_thought_more_costs_as_much_as_a_word_more():
    model, batch = tiny_model(), rows()
    words = {**batch, "input_ids": batch["input_ids"].masked_fill(batch["input_ids"] == TOKENS.latent, 3)}
    decoder = model.model.language_model
    attention = 3 * 3 * 4 * 2 * 16 * (12 * 12 - (5 * 5 + 1 * 6 + 2 * 8 + 4 * 12))  # one pass covers the whole square
    finished = 3 * 3 * 6 * linear_weights(last_feed_forward(decoder))  # the states in front of the slots
    assert training_flops(model, words) - training_flops(model, batch) == attention - finished


def test_states_that_are_not_read_are_not_finished():
    model, batch = tiny_model(), rows()
    every = {**batch, "labels": batch["input_ids"]}
    more = 6 * linear_weights(last_feed_forward(model.model.language_model)) * 3 * (12 - 1 - 5)
    head = 6 * 3 * (11 - 2) * model.get_output_embeddings().weight.numel()
    assert training_flops(model, every) - training_flops(model, batch) == more + head


def test_padding_is_no_work():
    model = tiny_model()
    full, padded = (training_flops(model, rows(padding)) for padding in (0, 3))
    attention = 3 * 4 * 2 * 16 * ((5 * 5 + 6 + 2 * 8 + 4 * 12) - (2 * 2 + 3 + 2 * 5 + 4 * 9))
    decoder = model.model.language_model
    unfinished = linear_weights(last_feed_forward(decoder))
    assert full - padded == 3 * 6 * (linear_weights(decoder) - unfinished) + attention


def test_jacobi_is_refused():
    model = tiny_model(schedule={"name": "jacobi", "iterations": 2})
    with pytest.raises(ValueError, match="more than once"):
        training_flops(model, rows())


@pytest.mark.parametrize(
    ("name", "key"),
    [
        ("NVIDIA H200", "H200"),
        ("NVIDIA H200 NVL", "H200 NVL"),
        ("NVIDIA GH200 480GB", "GH200"),
        ("NVIDIA L40S", "L40S"),
        ("NVIDIA L4", "L4"),
        ("NVIDIA A100-SXM4-80GB", "A100"),
    ],
)
def test_a_peak_is_found_by_the_name_of_the_device(name, key):
    assert peak_of(name) == PEAKS[key]


def test_an_unknown_peak_gives_no_share():
    assert peak_of("another device") is None
    assert peak_of("NVIDIA L40") is None
    assert peak_of(None) is None
    assert share_of_peak(1.0, 1.0, None) is None
    assert share_of_peak(5e12, 2.0, 10e12) == 0.25
