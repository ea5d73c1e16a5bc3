"""Weights of the released code begin a run here: before and after the thought tokens were added to them."""

import json

import pytest
import torch
from transformers import GPT2Config, GPT2LMHeadModel

from unspoken.cli import main
from unspoken.data.tokenizer import load_tokenizer
from unspoken.errors import CheckpointError
from unspoken.prepare import build_model, build_tokenizer
from unspoken.recipe import resolve


def gpt2(vocabulary):
    return GPT2LMHeadModel(GPT2Config(n_layer=1, n_head=2, n_embd=16, vocab_size=vocabulary, n_positions=256))


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
    model, tokenizer = build(tmp_path, shared_data, "checkpoint_9")
    learned, table = released.transformer.wte.weight, model.lm_head.weight
    assert torch.equal(table[:50257], learned[:50257])
    # the released code adds them in this order
    places = {"<|start-latent|>": 50257, "<|end-latent|>": 50258, "<|latent|>": 50259}
    for token, place in places.items():
        assert torch.equal(table[tokenizer.convert_tokens_to_ids(token)], learned[place]), token


def test_only_eval_evaluates_a_released_checkpoint_at_the_stage_that_resume_names(tmp_path, shared_data, capsys):
    base = gpt2(50257)
    base.save_pretrained(tmp_path / "gpt2")
    load_tokenizer(str(shared_data / "gpt2-tokenizer")).save_pretrained(tmp_path / "gpt2")
    released = gpt2(50260)
    state = {f"base_causallm.{key}": value for key, value in released.state_dict().items()}
    torch.save({**state, "embedding.weight": released.transformer.wte.weight.detach()}, tmp_path / "checkpoint_9")
    rows = [{"question": "1 + 1?", "steps": ["<<1+1=2>>"], "answer": "2"}] * 3
    (tmp_path / "gsm_valid.json").write_text(json.dumps(rows))
    (tmp_path / "eval.yaml").write_text(f"""
project: coconut
save_path: {tmp_path}/out
name: gsm-eval
only_eval: True
coconut: True
cot: False
no_thoughts: False
no_cot: False
c_thought: 2
epochs_per_stage: 3
max_latent_stage: 3
pad_latent_to_max: True
uniform_prob: 0.0
model_id: {tmp_path}/gpt2
load_model_path: {tmp_path}/checkpoint_9
seed: 0
resume: 6
bf16: False
train_path: {tmp_path}/gsm_valid.json
val_path: {tmp_path}/gsm_valid.json
reset_optimizer: True
batch_size_training: 32
debug: False
gradient_accumulation_steps: 1
num_epochs: 25
lr: !!float "1e-4"
weight_decay: 0.01
""")
    assert main(["train", str(tmp_path / "eval.yaml")]) == 0, capsys.readouterr().err
    results = json.loads((tmp_path / "out" / "gsm-eval" / "results.json").read_text())
    assert results["n"] == 3
    assert results["stage"] == 2
    assert results["thoughts_per_answer"] == 4
    # once more, elsewhere, and with other weights in the place of the first
    made = (tmp_path / "out" / "gsm-eval" / "model.safetensors").stat().st_mtime_ns
    assert main(["train", str(tmp_path / "eval.yaml"), "evaluate.controls=[mean]"]) == 0, capsys.readouterr().err
    results = json.loads((tmp_path / "out" / "gsm-eval" / "results.json").read_text())
    assert list(results["controls"]) == ["mean"]
    assert (tmp_path / "out" / "gsm-eval" / "model.safetensors").stat().st_mtime_ns == made
    assert main(["train", str(tmp_path / "eval.yaml"), "--out", str(tmp_path / "mine")]) == 0
    assert (tmp_path / "mine" / "results.json").is_file()
    torch.save({**state, "embedding.weight": released.transformer.wte.weight.detach() * 2}, tmp_path / "checkpoint_9")
    assert main(["train", str(tmp_path / "eval.yaml")]) == 2
    assert "holds something other than these weights; choose another directory with --out" in capsys.readouterr().err


def test_weights_of_another_shape_are_refused(tmp_path, shared_data):
    other = GPT2LMHeadModel(GPT2Config(n_layer=1, n_head=2, n_embd=32, vocab_size=50257, n_positions=64))
    torch.save(other.state_dict(), tmp_path / "checkpoint_3")
    with pytest.raises(CheckpointError, match=r"set model\.path to the model it was"):
        build(tmp_path, shared_data, "checkpoint_3")
