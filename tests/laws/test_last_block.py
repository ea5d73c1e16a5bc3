"""What the last block leaves out is read by nobody: losses, gradients, logits and thoughts are those of all."""

from contextlib import nullcontext
from itertools import pairwise

import pytest
import torch

from tests.conftest import TOKENS, tiny_model
from tests.laws.rows import batch_of, random_rows
from unspoken.model.last_block import feeding_forward_from, last_feed_forward
from unspoken.model.loss import first_trained_column
from unspoken.model.scratch import ARCHITECTURES
from unspoken.thoughts import SOURCES

SETTINGS = {"window": {"weights": [0.6, 0.3, 0.1]}}


def step(model, batch):
    """Loss, thoughts and gradients of a training step."""
    model.zero_grad()
    output = model(**batch)
    output.loss.backward()
    gradients = {name: each.grad.clone() for name, each in model.named_parameters() if each.grad is not None}
    return output.loss.detach(), output.thoughts, gradients


def in_full(model, batch, monkeypatch):
    """The same step with nothing left out."""
    with monkeypatch.context() as patch:
        patch.setattr("unspoken.model.passes.feeding_forward_from", lambda *_: nullcontext())
        return step(model, batch)


def same(one, other):
    torch.testing.assert_close(one[0], other[0], atol=2e-6, rtol=1e-5)
    torch.testing.assert_close(one[1], other[1], atol=2e-5, rtol=1e-4)
    assert one[2].keys() == other[2].keys()
    for name in one[2]:
        torch.testing.assert_close(
            one[2][name], other[2][name], atol=2e-6, rtol=1e-4, msg=lambda text, n=name: n + text
        )


@pytest.mark.parametrize("arch", ARCHITECTURES)
@pytest.mark.parametrize("schedule", [None, {"name": "jacobi", "iterations": 2}], ids=["sequential", "jacobi"])
@pytest.mark.parametrize("seed", range(2))
def test_a_training_step_is_the_same(arch, schedule, seed, monkeypatch):
    model = tiny_model(arch, seed=seed, schedule=schedule)
    batch = batch_of(random_rows(seed, 0, 3, 2, None, 1))
    same(step(model, batch), in_full(model, batch, monkeypatch))


@pytest.mark.parametrize("name", sorted(SOURCES))
def test_it_is_the_same_for_every_source(name, monkeypatch):
    model = tiny_model("gpt2", source={"name": name, **SETTINGS.get(name, {})})
    batch = batch_of(random_rows(5, 2, 3, 1))
    found = []
    for make in (step, lambda *both: in_full(*both, monkeypatch)):
        torch.manual_seed(0)
        found.append(make(model, batch))
    same(*found)


def test_it_is_the_same_with_recomputed_passes(monkeypatch):
    model = tiny_model("llama")
    model.model.checkpoint_passes = True
    batch = batch_of(random_rows(1, 2, 3, 1))
    same(step(model, batch), in_full(model, batch, monkeypatch))


def test_the_feed_forward_layer_of_the_last_block_sees_only_what_is_read():
    model = tiny_model("gpt2")
    batch = batch_of(random_rows(2, 3, 3, 3))
    seen = {0: 0, -1: 0}
    for index in seen:
        model.model.language_model.h[index].mlp.c_fc.register_forward_hook(
            lambda module, inputs, output, index=index: seen.update({index: seen[index] + output.size(1)})
        )
    model(**batch)
    slots = (batch["input_ids"] == TOKENS.latent).any(dim=0).nonzero().flatten().tolist()
    first = first_trained_column(batch["labels"])
    expected = 0
    for start, stop in pairwise([0, *slots, batch["input_ids"].size(1)]):
        expected += stop - max(start, min(first, stop - 1))
    assert seen == {0: batch["input_ids"].size(1), -1: expected}
    assert seen[-1] < seen[0]


def test_states_that_are_asked_for_are_all_computed():
    model = tiny_model("gpt2")
    batch = batch_of(random_rows(2, 3, 3, 3))
    logits = model(**batch, logits_to_keep=0).logits
    del batch["labels"]
    assert torch.equal(logits, model(**batch).logits)


@pytest.mark.parametrize("arch", ARCHITECTURES)
@pytest.mark.parametrize("kept", [1, 3, torch.tensor([0, 4, 5])], ids=str)
def test_logits_of_some_columns_are_those_of_all(arch, kept):
    model = tiny_model(arch)
    batch = batch_of(random_rows(4, 2, 3, 1))
    del batch["labels"]
    columns = slice(-kept, None) if isinstance(kept, int) else kept
    torch.testing.assert_close(
        model(**batch, logits_to_keep=kept).logits, model(**batch).logits[:, columns], atol=2e-5, rtol=1e-4
    )


def test_a_prompt_is_finished_at_its_end_and_before_its_slots():
    model = tiny_model("gpt2")
    batch = batch_of(random_rows(2, 3, 3, 3))
    del batch["labels"]
    seen = []
    model.model.language_model.h[-1].mlp.c_fc.register_forward_hook(lambda *called: seen.append(called[2].size(1)))
    model.generate(**batch, max_new_tokens=3, min_new_tokens=3, do_sample=False, pad_token_id=0)
    slots = (batch["input_ids"] == TOKENS.latent).any(dim=0)
    assert sum(seen) == int(slots.sum()) + 1 + 2


def test_the_first_trained_column_is_the_one_before_the_first_label():
    labels = torch.full((2, 5), -100)
    assert first_trained_column(labels) == 0, "nothing is trained: no column may be left out"
    labels[0, 3] = labels[1, 4] = 7
    assert first_trained_column(labels) == 2
    assert first_trained_column(labels[:, :1]) == 0


def test_a_layer_that_routes_to_experts_is_left_alone():
    decoder = tiny_model("llama").model.language_model
    assert last_feed_forward(decoder) is decoder.layers[-1].mlp
    decoder.config.num_experts = 4
    assert last_feed_forward(decoder) is None


@pytest.mark.parametrize("part", ["decoder", "block", "layer"])
def test_what_is_compiled_in_place_is_left_alone(part):
    """A graph would keep the hooks of the pass that it was made in, or know none."""
    decoder = tiny_model("llama").model.language_model
    block = decoder.layers[-1]
    {"decoder": decoder, "block": block, "layer": block.mlp}[part].compile()
    left_alone(decoder, block)


@pytest.mark.parametrize("part", ["block", "layer"])
def test_what_is_wrapped_by_the_compiler_is_left_alone(part):
    decoder = tiny_model("llama").model.language_model
    block = decoder.layers[-1]
    if part == "block":
        decoder.layers[-1] = torch.compile(block)
    else:
        block.mlp = torch.compile(block.mlp)
    left_alone(decoder, block)


def left_alone(decoder, block):
    assert last_feed_forward(decoder) is None
    with feeding_forward_from(decoder, 1):
        assert not block.mlp._forward_hooks
