"""Generation: batched and cached equals one row at a time without a cache."""

import json

import numpy as np
import pytest
import torch
from transformers import AutoModelForCausalLM

from tests.conftest import TOKENS, tiny_model
from tests.laws.rows import batch_of, random_rows
from unspoken.data.stage import stage
from unspoken.model import LatentConfig, LatentForCausalLM
from unspoken.model.scratch import ARCHITECTURES, new_decoder
from unspoken.records import TokenizedExample

FAMILIES = ["gpt2", "llama", "qwen2"]


def prompts(seed, counts=(0, 3, 1, 4)):
    rng = np.random.default_rng(seed)
    return [asking(rng.integers(1, 37, size=rng.integers(3, 9)).astype(np.int32), count) for count in counts]


def asking(question, count):
    example = TokenizedExample(str(count), question[:0], (), (question,), (), question[:0])
    return stage(example, question, count, [], TOKENS, markers=True)


def generate(model, rows, **kwargs):
    batch = batch_of(rows, align=False)
    ids, mask = batch["input_ids"], batch["attention_mask"]
    output = model.generate(input_ids=ids, attention_mask=mask, max_new_tokens=8, eos_token_id=99, **kwargs)
    return output[:, ids.size(1) :]


def greedy_by_definition(model, row, steps):
    """Each token is the argmax of a full forward over prompt, thoughts and the tokens before it."""
    ids, suppressed = torch.tensor(row.input_ids, dtype=torch.long)[None], model.generation_config.suppress_tokens
    for _ in range(steps):
        logits = model(input_ids=ids, logits_to_keep=1).logits[:, -1]
        logits[:, suppressed] = -torch.inf
        ids = torch.cat([ids, logits.argmax(dim=-1, keepdim=True)], dim=1)
    return ids[0, -steps:]


@pytest.mark.parametrize("arch", FAMILIES)
@pytest.mark.parametrize("source", [{"name": "last_hidden"}, {"name": "window", "weights": [0.6, 0.3, 0.1]}])
def test_batched_greedy_equals_the_definition(arch, source):
    model, rows = tiny_model(arch, source=source), prompts(1)
    tokens = generate(model, rows, do_sample=False)
    for index, row in enumerate(rows):
        assert tokens[index].tolist() == greedy_by_definition(model, row, 8).tolist()


@pytest.mark.parametrize("arch", FAMILIES)
def test_batched_beam_search_equals_beam_search_of_each_row(arch):
    model, rows = tiny_model(arch), prompts(2)
    together = generate(model, rows, num_beams=3, do_sample=False)
    for index, row in enumerate(rows):
        assert together[index].tolist() == generate(model, [row], num_beams=3, do_sample=False)[0].tolist()


def test_jacobi_with_enough_iterations_generates_what_sequential_does():
    rows = prompts(3)
    exact = generate(tiny_model("llama"), rows, do_sample=False)
    jacobi = generate(tiny_model("llama", schedule={"name": "jacobi", "iterations": 4}), rows, do_sample=False)
    assert jacobi.tolist() == exact.tolist()


@pytest.mark.parametrize("arch", ARCHITECTURES)
@pytest.mark.parametrize("schedule", [None, {"name": "jacobi", "iterations": 2}], ids=["sequential", "jacobi"])
def test_a_static_cache_writes_what_a_dynamic_one_does(arch, schedule):
    model, rows = tiny_model(arch, schedule=schedule), prompts(1)
    dynamic = generate(model, rows, do_sample=False)
    assert generate(model, rows, do_sample=False, cache_implementation="static").tolist() == dynamic.tolist()


def test_sampling_returns_several_answers_and_no_thought_tokens():
    model, rows = tiny_model(), prompts(4)
    torch.manual_seed(0)
    tokens = generate(model, rows, do_sample=True, num_return_sequences=5, temperature=2.0)
    assert tokens.shape[0] == 5 * len(rows)
    assert len({tuple(row) for row in tokens[:5].tolist()}) > 1
    assert not torch.isin(tokens, torch.tensor([TOKENS.latent, TOKENS.start, TOKENS.end])).any()


def test_streaming_yields_the_tokens_of_generate():
    model, row = tiny_model(), prompts(5)[1]
    expected = generate(model, [row], do_sample=False)[0].tolist()

    class Collect:
        def __init__(self):
            self.seen = []

        def put(self, value):
            self.seen += value.flatten().tolist()

        def end(self):
            pass

    streamer = Collect()
    generate(model, [row], do_sample=False, streamer=streamer)
    assert streamer.seen[-8:] == expected


@pytest.mark.parametrize("arch", FAMILIES)
@pytest.mark.parametrize("source", [{"name": "window", "weights": "learned"}, {"name": "projection"}])
def test_a_saved_model_opens_with_the_auto_class_and_answers_the_same(arch, source, tmp_path):
    model, rows = tiny_model(arch, source=source, schedule={"name": "jacobi", "iterations": 2}), prompts(6)
    model.save_pretrained(tmp_path)
    reopened = AutoModelForCausalLM.from_pretrained(tmp_path)
    assert type(reopened) is type(model)
    assert generate(reopened, rows, do_sample=False).tolist() == generate(model, rows, do_sample=False).tolist()
    for name, tensor in model.state_dict().items():
        torch.testing.assert_close(reopened.state_dict()[name], tensor, rtol=0, atol=0, msg=name)


@pytest.mark.parametrize("arch", ["gpt2", "llama", "qwen2"])
def test_a_model_whose_vocabulary_has_grown_opens_with_all_of_it(arch, tmp_path):
    model, rows = tiny_model(arch), prompts(6)
    model.resize_token_embeddings(50)
    assert model.config.vocab_size == 50
    model.save_pretrained(tmp_path)
    reopened = AutoModelForCausalLM.from_pretrained(tmp_path)
    assert reopened.config.vocab_size == len(reopened.lm_head.weight) == 50
    assert generate(reopened, rows, do_sample=False).tolist() == generate(model, rows, do_sample=False).tolist()


def test_a_file_that_holds_an_older_size_of_the_vocabulary_opens(tmp_path):
    model = tiny_model("llama")
    model.resize_token_embeddings(50)
    model.save_pretrained(tmp_path)
    file = tmp_path / "config.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), "vocab_size": 40}))
    assert len(AutoModelForCausalLM.from_pretrained(tmp_path).lm_head.weight) == 50


def test_the_bias_of_a_head_is_saved_and_opened_with_it(tmp_path):
    decoder = new_decoder("phi", layers=1, heads=2, width=16, vocab_size=40, eos_token_id=0, pad_token_id=0)
    with torch.no_grad():
        decoder.lm_head.bias.normal_(generator=torch.Generator().manual_seed(0))
    config = LatentConfig(decoder.config, TOKENS.latent, TOKENS.start, TOKENS.end)
    model = LatentForCausalLM.from_decoder(decoder, config).eval()
    model.save_pretrained(tmp_path)
    reopened = AutoModelForCausalLM.from_pretrained(tmp_path)
    ids = torch.tensor([[3, 4, 5]])
    assert torch.equal(reopened(ids).logits, model(ids).logits)
    assert torch.equal(reopened.lm_head.bias, decoder.lm_head.bias)


def test_a_thought_token_may_be_the_first_of_the_vocabulary():
    decoder = new_decoder("gpt2", layers=1, heads=2, width=16, vocab_size=20)
    model = LatentForCausalLM.from_decoder(decoder, LatentConfig(decoder.config, 0, 1, 2))
    assert model.generation_config.suppress_tokens == [0, 1, 2]
    assert LatentConfig(decoder.config, latent_token_id=5).thought_token_ids == [5]


def test_tied_weights_stay_tied_after_reload_and_resize(tmp_path):
    model = tiny_model("gpt2")
    model.resize_token_embeddings(44)
    model.save_pretrained(tmp_path)
    reopened = AutoModelForCausalLM.from_pretrained(tmp_path)
    assert reopened.lm_head.weight is reopened.get_input_embeddings().weight
    assert reopened.lm_head.weight.shape == (44, 16)
    batch = batch_of(random_rows(0, 3))
    torch.testing.assert_close(reopened(**batch).loss, model(**batch).loss, rtol=0, atol=0)
