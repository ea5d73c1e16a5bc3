"""Weights of the released code begin a run here: before and after the thought tokens were added to them."""

import pytest
import torch
from transformers import GPT2Config, GPT2LMHeadModel

from unspoken.errors import CheckpointError
from unspoken.prepare import build_model, build_tokenizer
from unspoken.recipe import resolve


def gpt2(vocabulary):
    return GPT2LMHeadModel(GPT2Config(n_layer=1, n_head=2, n_embd=16, vocab_size=vocabulary, n_positions=64))


def build(folder, shared_data, file):
    gpt2(50257).save_pretrained(folder / "base")
    recipe = resolve(
        {
            "task": {"name": "custom", "train": "rows.json"},
            "model": {
                "path": str(folder / "base"),
                "tokenizer": str(shared_data / "gpt2-tokenizer"),
                "weights": str(folder / file),
            },
            "method": {"name": "coconut"},
        },
        "test",
    )
    tokenizer = build_tokenizer(recipe, [])
    return build_model(recipe, tokenizer), tokenizer


def test_a_chain_of_thought_checkpoint_gets_thought_tokens_that_copy_its_marker(tmp_path, shared_data):
    released = gpt2(50257)
    torch.save(released.state_dict(), tmp_path / "checkpoint_3")
    model, tokenizer = build(tmp_path, shared_data, "checkpoint_3")
    assert torch.equal(model.lm_head.weight[:50257], released.transformer.wte.weight)
    assert torch.equal(model.model.language_model.h[0].mlp.c_fc.weight, released.transformer.h[0].mlp.c_fc.weight)
    marker = model.lm_head.weight[tokenizer.convert_tokens_to_ids("<<")]
    assert all(torch.equal(row, marker) for row in model.lm_head.weight[50257:])


def test_a_coconut_checkpoint_keeps_the_thought_tokens_it_learned(tmp_path, shared_data):
    released = gpt2(50260)
    state = {f"base_causallm.{key}": value for key, value in released.state_dict().items()}
    torch.save({**state, "embedding.weight": released.transformer.wte.weight.detach()}, tmp_path / "checkpoint_9")
    model, _ = build(tmp_path, shared_data, "checkpoint_9")
    assert torch.equal(model.lm_head.weight, released.transformer.wte.weight)


def test_weights_of_another_shape_are_refused(tmp_path, shared_data):
    other = GPT2LMHeadModel(GPT2Config(n_layer=1, n_head=2, n_embd=32, vocab_size=50257, n_positions=64))
    torch.save(other.state_dict(), tmp_path / "checkpoint_3")
    with pytest.raises(CheckpointError, match=r"set model\.path to the model it was"):
        build(tmp_path, shared_data, "checkpoint_3")
