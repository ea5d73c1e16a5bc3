"""One plain pass over a prompt with its thoughts in place is the pass of the model that thinks."""

import numpy as np
import pytest
import torch
from tests.conftest import TOKENS, tiny_model
from tests.laws.rows import random_rows

from unspoken.evaluation.recorded import record
from unspoken.inspection.filled import decoder_layers, filled
from unspoken.records import IGNORED, StagedExample

ARCHS = ["gpt2", "llama", "qwen2", "gemma2"]
WRITTEN = np.array([5, 11, 7], dtype=np.int32)


@pytest.fixture(params=ARCHS, scope="module")
def model(request):
    return tiny_model(request.param, width=16)


@pytest.fixture(scope="module")
def prompts():
    rows = random_rows(5, 0, 1, 3, 4)
    asked = [row.labels == IGNORED for row in rows]
    return [
        StagedExample(row.id, row.input_ids[kept], row.labels[kept], row.num_thoughts, row.first_thought)
        for row, kept in zip(rows, asked, strict=True)
    ]


@pytest.fixture
def thoughts(model, prompts):
    return record(model, prompts, [""] * len(prompts), batch_size=3).thoughts


@torch.no_grad()
def test_the_logits_are_those_of_the_model_with_its_own_thoughts(model, prompts, thoughts):
    for prompt, own in zip(prompts, thoughts, strict=True):
        ids = torch.from_numpy(prompt.input_ids).long()[None]
        torch.testing.assert_close(
            model(inputs_embeds=filled(model, prompt, own)).logits, model(input_ids=ids).logits, atol=1e-5, rtol=1e-4
        )


@torch.no_grad()
def test_what_was_written_stands_behind_the_prompt(model, prompts, thoughts):
    for prompt, own in zip(prompts, thoughts, strict=True):
        ids = torch.from_numpy(np.concatenate([prompt.input_ids, WRITTEN])).long()[None]
        found = model(inputs_embeds=filled(model, prompt, own, WRITTEN)).logits
        torch.testing.assert_close(found, model(input_ids=ids).logits, atol=1e-5, rtol=1e-4)


@torch.no_grad()
def test_other_thoughts_give_other_logits(model, prompts, thoughts):
    prompt, own = prompts[2], thoughts[2]
    last = [model(inputs_embeds=filled(model, prompt, each)).logits[0, -1] for each in (own, own.flip(0))]
    assert not torch.allclose(*last, atol=1e-3)


def test_only_the_slots_hold_thoughts_and_the_table_stays_as_it_was(model, prompts):
    table = model.get_input_embeddings().weight
    before = table.detach().clone()
    given = torch.randn(4, 16, generator=torch.Generator().manual_seed(1))
    found = filled(model, prompts[3], given, WRITTEN)
    ids = [*prompts[3].input_ids.tolist(), *WRITTEN.tolist()]
    assert found.shape == (1, len(ids), 16)
    slots = [column for column, token in enumerate(ids) if token == TOKENS.latent]
    assert slots == list(range(prompts[3].first_thought, prompts[3].first_thought + 4))
    assert torch.equal(found[0, slots], given)
    for column, token in enumerate(ids):
        if column not in slots:
            plain = model.get_input_embeddings()(torch.tensor([token])).detach()[0]
            assert torch.equal(found[0, column], plain)
    assert not found.requires_grad
    assert torch.equal(table, before)


@torch.no_grad()
def test_the_blocks_are_found_in_the_order_in_which_they_run(prompts, thoughts, model):
    blocks = decoder_layers(model)
    seen = []
    handles = [
        block.register_forward_hook(lambda module, inputs, output, place=place: seen.append(place))
        for place, block in enumerate(blocks)
    ]
    model(inputs_embeds=filled(model, prompts[1], thoughts[1]))
    for handle in handles:
        handle.remove()
    assert seen == [0, 1]


def test_no_blocks_are_found_where_no_list_has_as_many(model):
    settings = model.config.text_config
    settings.num_hidden_layers = 3
    try:
        assert decoder_layers(model) is None
    finally:
        settings.num_hidden_layers = 2
