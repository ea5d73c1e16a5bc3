"""What the last block leaves out of a prompt is read by nobody: logits and thoughts are those of finishing all."""

import pytest
import torch

from tests.conftest import TOKENS, tiny_model
from tests.laws.rows import batch_of, random_rows
from unspoken.model.last_block import feeding_forward_at, last_feed_forward
from unspoken.model.scratch import ARCHITECTURES
from unspoken.thoughts import SOURCES

SETTINGS = {"window": {"weights": [0.6, 0.3, 0.1]}}


def prompt(*arguments):
    batch = batch_of(random_rows(*arguments))
    del batch["labels"]
    return batch


def same(model, batch, kept):
    columns = slice(-kept, None) if isinstance(kept, int) else kept
    found = []
    for chosen in (kept, 0):
        torch.manual_seed(0)
        found.append(model(**batch, logits_to_keep=chosen))
    few, every = found
    torch.testing.assert_close(few.logits, every.logits[:, columns], atol=2e-5, rtol=1e-4)
    torch.testing.assert_close(few.thoughts, every.thoughts, atol=2e-5, rtol=1e-4)


@pytest.mark.parametrize("arch", ARCHITECTURES)
@pytest.mark.parametrize("schedule", [None, {"name": "jacobi", "iterations": 2}], ids=["sequential", "jacobi"])
@pytest.mark.parametrize("kept", [1, 3, torch.tensor([0, 4, 5])], ids=str)
def test_logits_of_some_columns_are_those_of_all(arch, schedule, kept):
    same(tiny_model(arch, schedule=schedule), prompt(4, 2, 3, 1), kept)


@pytest.mark.parametrize("name", sorted(SOURCES))
def test_it_is_the_same_for_every_source(name):
    model = tiny_model("gpt2", source={"name": name, **SETTINGS.get(name, {})}).eval()
    same(model, prompt(5, 2, 3, 1), 1)


def test_a_prompt_is_finished_at_its_end_and_before_its_slots():
    model, batch, seen = tiny_model("gpt2"), prompt(2, 3, 3, 3), []
    model.model.language_model.h[-1].mlp.c_fc.register_forward_hook(lambda *called: seen.append(called[2].size(1)))
    model.generate(**batch, max_new_tokens=3, min_new_tokens=3, do_sample=False, pad_token_id=0)
    slots = (batch["input_ids"] == TOKENS.latent).any(dim=0)
    assert sum(seen) == int(slots.sum()) + 1 + 2


def test_a_layer_that_routes_to_experts_and_a_compiled_decoder_are_left_alone():
    model = tiny_model("llama")
    decoder = model.model.language_model
    assert last_feed_forward(decoder) is decoder.layers[-1].mlp
    decoder.config.num_experts = 4
    assert last_feed_forward(decoder) is None
    del decoder.config.num_experts
    decoder.compile()
    with feeding_forward_at(decoder, [1], 3):
        assert not decoder.layers[-1].mlp._forward_hooks
