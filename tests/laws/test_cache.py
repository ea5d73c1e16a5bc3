"""The growing cache equals a cache that concatenates: outputs, gradients, and both a second time."""

import pytest
import torch
from transformers import DynamicCache

from tests.conftest import tiny_model
from tests.laws.rows import batch_of, random_rows
from unspoken.model.cache import GrowingLayer, growing_cache


def attend(cache, pieces, probes):
    """Something that depends on all keys and values of every update, in the order of the updates."""
    total = torch.zeros(())
    for (keys, values), probe in zip(pieces, probes, strict=True):
        all_keys, all_values = cache.update(keys * (1 + total), values, 0)
        scores = (all_keys * probe).sum(dim=-1).softmax(dim=-1)
        total = total + (scores.unsqueeze(-1) * all_values).sum().tanh()
    return total


@pytest.mark.parametrize("lengths", [(5,), (4, 1, 1, 3), (1, 1)])
def test_growing_equals_concatenation(lengths):
    generator = torch.Generator().manual_seed(0)
    pieces = [
        tuple(torch.randn(2, 3, n, 4, generator=generator, requires_grad=True) for _ in range(2)) for n in lengths
    ]
    probes = [torch.randn(2, 3, 1, 4, generator=generator) for _ in lengths]
    leaves = [tensor for piece in pieces for tensor in piece]
    expected = attend(DynamicCache(), pieces, probes)
    expected_gradients = torch.autograd.grad(expected, leaves)
    total = attend(growing_cache(sum(lengths)), pieces, probes)
    torch.testing.assert_close(total, expected)
    for _ in range(2):
        gradients = torch.autograd.grad(total, leaves, retain_graph=True)
        for gradient, wanted in zip(gradients, expected_gradients, strict=True):
            torch.testing.assert_close(gradient, wanted)


@pytest.mark.parametrize("room", [0, 1, 5, 100])
def test_it_may_be_cropped_and_its_rows_rearranged_between_updates(room):
    generator = torch.Generator().manual_seed(room)

    def new(rows, columns):
        return torch.randn(rows, 3, columns, 4, generator=generator)

    growing, concatenating = growing_cache(room), DynamicCache()
    steps = [
        lambda cache: cache.crop(-2),
        lambda cache: cache.reorder_cache(torch.tensor([1, 0])),
        lambda cache: cache.batch_repeat_interleave(2),
        lambda cache: cache.batch_select_indices(torch.tensor([0, 3, 1])),
        lambda cache: cache.crop(-1),
    ]
    rows = [2, 2, 2, 4, 3, 3]
    for step, count in zip([None, *steps], rows, strict=True):
        for columns in (3, 1, 1):
            piece = new(count, columns)
            if step is not None:
                for cache in (growing, concatenating):
                    step(cache)
                step = None
            found, wanted = growing.update(piece, -piece, 0), concatenating.update(piece, -piece, 0)
            assert growing.get_seq_length() == concatenating.get_seq_length()
            for ours, theirs in zip(found, wanted, strict=True):
                assert torch.equal(ours, theirs)


@pytest.mark.parametrize("arch", ["gpt2", "llama", "qwen2", "gemma2"])
@pytest.mark.parametrize("sampling", [False, True])
def test_generation_writes_to_a_growing_cache_and_says_what_a_concatenating_one_says(arch, sampling):
    model, batch = tiny_model(arch).eval(), batch_of(random_rows(1, 4, 2, 0))
    prompt = {key: batch[key] for key in ("input_ids", "attention_mask")}
    outputs = []
    for given in ({}, {"past_key_values": DynamicCache()}):
        torch.manual_seed(0)
        outputs.append(
            model.generate(
                **prompt, **given, max_new_tokens=9, do_sample=sampling, return_dict_in_generate=True, pad_token_id=0
            )
        )
    growing = [type(layer) is GrowingLayer for layer in outputs[0].past_key_values.layers]
    # a sliding window keeps few columns, which is worth more than not copying them
    assert all(growing) if arch != "gemma2" else not any(growing)
    assert torch.equal(outputs[0].sequences, outputs[1].sequences)


@pytest.mark.parametrize("arch", ["gpt2", "llama", "qwen2", "gemma2"])
def test_gradients_of_the_pass_loop_equal_those_through_a_concatenating_cache(arch):
    model, batch = tiny_model(arch), batch_of(random_rows(1, 4, 2, 0))
    results = []
    for cache in (None, DynamicCache()):
        model.zero_grad()
        loss = model(**batch, past_key_values=cache).loss
        loss.backward()
        results.append((loss, [parameter.grad.clone() for parameter in model.parameters()]))
    torch.testing.assert_close(results[0][0], results[1][0])
    for growing, concatenating in zip(results[0][1], results[1][1], strict=True):
        torch.testing.assert_close(growing, concatenating, atol=1e-6, rtol=1e-4)


def gradients_of(model):
    return {name: each.grad.clone() for name, each in model.named_parameters() if each.grad is not None}


def same(found, expected):
    assert found.keys() == expected.keys()
    for name, gradient in found.items():
        torch.testing.assert_close(gradient, expected[name], atol=1e-6, rtol=1e-4)


@pytest.mark.parametrize("part", ["thought_source", "h.1.mlp", "thoughts"])
@pytest.mark.parametrize("checkpointed", [False, True])
def test_a_backward_pass_for_some_tensors_leaves_nothing_to_the_next(part, checkpointed):
    model, batch = tiny_model("gpt2", source={"name": "projection"}).train(), batch_of(random_rows(1, 3, 3, 2))
    model.model.checkpoint_passes = checkpointed
    model(**batch).loss.backward()
    expected = gradients_of(model)
    model.zero_grad()
    output = model(**batch)
    some = [each for name, each in model.named_parameters() if part in name] or [output.thoughts]
    torch.autograd.grad(output.loss, some, retain_graph=True, allow_unused=True)
    output.loss.backward()
    same(gradients_of(model), expected)


def test_a_frozen_decoder_gives_its_thought_source_the_same_gradients_twice():
    model, batch = tiny_model("gpt2", source={"name": "projection"}).train(), batch_of(random_rows(1, 3, 3, 2))
    for name, parameter in model.named_parameters():
        parameter.requires_grad_("thought_source" in name)
    loss = model(**batch).loss
    loss.backward(retain_graph=True)
    expected = gradients_of(model)
    assert expected
    model.zero_grad()
    loss.backward()
    same(gradients_of(model), expected)


def test_the_gradients_of_two_losses_of_one_run_add_up():
    model, batch = tiny_model("gpt2", source={"name": "projection"}).train(), batch_of(random_rows(1, 3, 3, 2))
    for name, parameter in model.named_parameters():
        parameter.requires_grad_("thought_source" in name)
    logits = model(**batch, logits_to_keep=0).logits
    losses = [logits.logsumexp(dim=-1).mean(), logits[:, -1].square().mean()]
    sum(losses).backward(retain_graph=True)
    expected = gradients_of(model)
    model.zero_grad()
    losses[0].backward(retain_graph=True)
    losses[1].backward()
    same(gradients_of(model), expected)
