"""The loop that learns from rewards: what an update does, what is logged, what is refused, and that it resumes."""

import json
import shutil

import numpy as np
import pytest
import torch

from unspoken import files
from unspoken.data.tokenizer import thought_tokens
from unspoken.errors import CheckpointError, RecipeError
from unspoken.evaluation.evaluate import evaluate
from unspoken.prepare import build_model, build_tokenizer, read_examples, tokenize_rows
from unspoken.recipe import resolve
from unspoken.run_directory import open_run
from unspoken.training import learner as learning
from unspoken.training import reinforce, rewards
from unspoken.training.checkpoint import checkpoints
from unspoken.training.learner import Learner
from unspoken.training.train import train

MODEL = "tests/models/hops-coconut"


def recipe_of(method, thoughts=None, **train_settings):
    return resolve(
        {
            "task": {"name": "hops", "symbols": 8, "hops": 4, "train_rows": 24, "validation_rows": 12},
            "model": {"path": MODEL},
            "method": {"num_thoughts": 4, "markers": False, "trajectories": 4, **method},
            "thoughts": thoughts or {"name": "gaussian", "scale": 0.5},
            "train": {"epochs": 2, "batch_size": 8, "learning_rate": 1e-3, "log_every": 1, **train_settings},
            "evaluate": {"controls": []},
        },
        "test",
    )


def learner_of(recipe):
    examples, ledger = read_examples(recipe.task, "train")
    tokenizer = build_tokenizer(recipe, examples)
    model = build_model(recipe, tokenizer).eval()
    rows = tokenize_rows(recipe, examples, ledger, tokenizer, model)
    prompts = [recipe.method.prompt(row, 0, thought_tokens(tokenizer)) for row in rows.tokenized]
    return Learner(recipe, model, updates=6), rows, prompts, tokenizer


def lines_of(run):
    return [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]


def without_time(line):
    return {key: value for key, value in line.items() if key not in ("seconds", "train_runtime")}


@pytest.mark.parametrize(
    ("method", "thoughts"),
    [
        ({"name": "ppo", "passes": 2, "minibatches": 2}, {"name": "gaussian", "scale": 0.5, "critic": True}),
        ({"name": "grpo"}, {"name": "gaussian", "scale": 0.5, "halt_after": 1}),
        ({"name": "rloo", "repulsion": 0.1}, {"name": "gaussian", "scale": 0.5, "action": "noise", "identities": 4}),
    ],
    ids=["ppo", "grpo", "rloo"],
)
def test_a_run_learns_logs_and_is_an_ordinary_run_afterwards(tmp_path, capsys, method, thoughts):
    recipe = recipe_of(method, thoughts)
    run = train(recipe, tmp_path / "run")
    told = [line for line in capsys.readouterr().err.splitlines() if line.startswith("unspoken: hops")]
    begins = [f"unspoken: hops {method['name']}: update {step}, reward" for step in ("3/6, epoch 0", "6/6, epoch 1")]
    assert len(told) == 2
    assert all(line.startswith(begin) and ", best accuracy " in line for line, begin in zip(told, begins, strict=True))
    lines = lines_of(run)
    updates = [line for line in lines if "reward" in line]
    assert [line["step"] for line in updates] == [1, 2, 3, 4, 5, 6]
    assert all(0 <= line["reward_exact"] <= 1 for line in updates)
    assert [line["step"] for line in lines if "eval_accuracy" in line] == [3, 6]
    opened = open_run(run)
    before = open_run(MODEL).model.state_dict()
    changed = [
        name for name, value in opened.model.state_dict().items() if not torch.equal(value, before.get(name, value))
    ]
    assert len(changed) > 10
    results = evaluate(run, overrides=["controls=[zero]"])
    assert results["n"] == 12
    assert results["method"] == method["name"]


def test_before_the_first_step_nothing_has_moved():
    learner, rows, prompts, tokenizer = learner_of(recipe_of({"name": "grpo"}))
    figures = learner.update(0, rows, prompts[:8], list(range(8)), tokenizer)
    assert figures["approx_kl"] == pytest.approx(0.0, abs=1e-6)
    assert figures["clip_fraction"] == 0.0


def test_a_second_pass_over_what_was_drawn_has_moved_and_a_limit_ends_it():
    figures = []
    for settings in ({}, {"passes": 4}, {"passes": 4, "max_kl": 1e-9}):
        learner, rows, prompts, tokenizer = learner_of(recipe_of({"name": "rloo", **settings}))
        figures.append(learner.update(0, rows, prompts[:8], list(range(8)), tokenizer)["approx_kl"])
        steps = learner.optimizer.state_dict()["state"][0]["step"]
        figures.append(float(steps))
    assert figures[1::2] == [1.0, 4.0, 2.0]
    assert figures[2] > figures[4] > 1e-6


def test_only_the_policy_learns_when_the_language_model_is_frozen():
    thoughts = {"name": "gaussian", "scale": 0.5, "learn_scale": True, "halt_after": 1}
    learner, rows, prompts, tokenizer = learner_of(recipe_of({"name": "rloo", "language_model": "freeze"}, thoughts))
    before = {name: value.clone() for name, value in learner.model.state_dict().items()}
    learner.update(0, rows, prompts[:8], list(range(8)), tokenizer)
    changed = {name for name, value in learner.model.state_dict().items() if not torch.equal(value, before[name])}
    assert changed == {
        "model.thought_source.log_scale",
        "model.thought_source.halting.weight",
        "model.thought_source.halting.bias",
    }


def test_the_policy_has_its_own_learning_rate():
    thoughts = {"name": "gaussian", "halt_after": 1}
    learner, *_ = learner_of(recipe_of({"name": "grpo", "policy_learning_rate": 0.1}, thoughts))
    assert {group["lr"]: len(group["params"]) for group in learner.optimizer.param_groups}[0.1] == 2


def test_the_temperature_reaches_its_end_at_the_last_update():
    learner, *_ = learner_of(recipe_of({"name": "grpo", "temperature": 1.5, "final_temperature": 0.5}))
    assert [learner._temperature(number) for number in (0, 5)] == [1.5, 0.5]


def test_micro_batches_add_up_to_the_same_step():
    gradients = []
    for micro in (None, 8):
        recipe = recipe_of({"name": "grpo", "repulsion": 0.1}, micro_batch_size=micro)
        learner, rows, prompts, tokenizer = learner_of(recipe)
        learner.update(0, rows, prompts[:8], list(range(8)), tokenizer)
        gradients.append({name: each.grad for name, each in learner.trained.items()})
    for name, gradient in gradients[0].items():
        torch.testing.assert_close(gradient, gradients[1][name], rtol=1e-3, atol=1e-6)


def test_no_gold_token_reaches_a_thought(monkeypatch):
    """The answers are exchanged for others: what is drawn stays the same to the last bit, only the pay changes."""
    from dataclasses import replace

    drawn = []
    real = learning.rollout
    monkeypatch.setattr(learning, "rollout", lambda *args, **kwargs: drawn.append(real(*args, **kwargs)) or drawn[-1])
    learner, rows, prompts, tokenizer = learner_of(recipe_of({"name": "grpo"}))
    state = {name: value.clone() for name, value in learner.model.state_dict().items()}
    first = learner.update(0, rows, prompts[:8], list(range(8)), tokenizer)
    learner.model.load_state_dict(state)
    lied = [replace(example, answer="z", steps=("z",)) for example in rows.examples]
    second = learner.update(0, replace(rows, examples=lied), prompts[:8], list(range(8)), tokenizer)
    assert torch.equal(drawn[0].thoughts, drawn[1].thoughts)
    assert torch.equal(drawn[0].tokens, drawn[1].tokens)
    assert (first["reward"] > 0.5, second["reward"]) == (True, 0.0)


def test_what_the_gold_answer_gains_by_thoughts_is_measured():
    recipe = recipe_of(
        {"name": "grpo", "rewards": {"exact": 0.0, "gold_gain": 1.0}}, {"name": "gaussian", "scale": 0.01}
    )
    learner, rows, prompts, tokenizer = learner_of(recipe)
    figures = learner.update(0, rows, prompts[:8], list(range(8)), tokenizer)
    model = learner_of(recipe)[0].model
    gains = []
    for index in range(8):
        values = []
        for prompt in (prompts[index], recipe.method.prompt(rows.tokenized[index], 0, thought_tokens(tokenizer), 0)):
            ids = torch.tensor(np.concatenate([prompt.input_ids, rows.tokenized[index].answer]), dtype=torch.long)
            logits = model(ids[None]).logits[0]
            logits[:, model.generation_config.suppress_tokens] = -torch.inf
            log_probs = logits.log_softmax(-1)
            start = len(prompt.input_ids)
            values.append(sum(float(log_probs[place - 1, ids[place]].detach()) for place in range(start, len(ids))))
        gains.append(values[0] - values[1])
    assert figures["reward_gold_gain"] == pytest.approx(np.mean(gains), rel=0.1)


@pytest.mark.parametrize("name", ["ppo", "grpo"])
def test_a_resumed_run_ends_in_the_same_bits(tmp_path, name):
    thoughts = {"name": "gaussian", "scale": 0.5, "halt_after": 1, **({"critic": True} if name == "ppo" else {})}
    recipe = recipe_of({"name": name}, thoughts)
    whole = train(recipe, tmp_path / "whole")
    partial = tmp_path / "partial"
    shutil.copytree(whole, partial)
    for path in [partial / "run.json", partial / "model.safetensors", partial / "checkpoints" / "checkpoint-6"]:
        files.remove(path)
    train(recipe, partial, resume=True)
    assert files.sha256(whole / "model.safetensors") == files.sha256(partial / "model.safetensors")
    assert [without_time(line) for line in lines_of(whole)] == [without_time(line) for line in lines_of(partial)]


def test_the_end_is_saved_so_that_a_kill_behind_it_loses_nothing(tmp_path, monkeypatch):
    def killed(*args):
        raise KeyboardInterrupt

    recipe, run = recipe_of({"name": "grpo"}, save="end"), tmp_path / "run"
    with monkeypatch.context() as patch:
        patch.setattr(reinforce, "_finish", killed)
        with pytest.raises(KeyboardInterrupt):
            train(recipe, run)
    assert [path.name for path in checkpoints(run)] == ["checkpoint-6"]
    monkeypatch.setattr(Learner, "update", None)
    train(recipe, run, resume=True)
    assert files.read_json(run / "run.json")["last_step"] == 6


def test_the_time_of_all_parts_is_in_the_last_line(tmp_path):
    recipe, run = recipe_of({"name": "grpo"}), tmp_path / "run"
    train(recipe, run)
    lines = lines_of(run)
    first = lines[-1]["train_runtime"]
    assert first > sum(line.get("seconds", 0.0) for line in lines) > 0
    files.remove(run / "checkpoints" / "checkpoint-6")
    train(recipe, run, resume=True)
    (last,) = [line for line in lines_of(run) if "train_runtime" in line]
    assert (last["step"], last["epoch"]) == (6, 1)
    assert last["train_runtime"] > first


def test_a_checkpoint_of_another_recipe_is_refused(tmp_path):
    run = train(recipe_of({"name": "grpo"}, epochs=1), tmp_path / "run")
    learner, *_ = learner_of(recipe_of({"name": "grpo"}, {"name": "gaussian", "halt_after": 1}))
    with pytest.raises(CheckpointError, match="does not fit the model: it is of another recipe"):
        learner.put_back(run / "checkpoints" / "checkpoint-3" / "trained.safetensors")


@pytest.mark.parametrize(
    ("method", "thoughts", "model", "expected"),
    [
        ({"name": "grpo"}, {"name": "last_hidden"}, {}, "last_hidden leaves nothing to chance"),
        ({"name": "ppo"}, {"name": "gaussian"}, {}, "thoughts.critic: ppo compares rewards"),
        (
            {"name": "grpo"},
            {"name": "gaussian", "critic": True},
            {},
            "thoughts.critic: nothing in grpo trains",
        ),
        (
            {"name": "grpo"},
            {"name": "gaussian"},
            {"train_decoder": False},
            "^test has 1 problem\n  model.train_decoder: it is method.language_model that says",
        ),
        (
            {"name": "grpo", "redraw": True},
            {"name": "gaussian"},
            {},
            "method.redraw: the question of a row is worded once",
        ),
        ({"name": "grpo"}, {"name": "gaussian"}, {"path": None}, "model.path: rewards say little to a model"),
    ],
)
def test_what_does_not_fit_together_is_named(method, thoughts, model, expected):
    with pytest.raises(RecipeError, match=expected):
        resolve(
            {"task": {"name": "hops"}, "model": {"path": MODEL, **model}, "method": method, "thoughts": thoughts},
            "test",
        )


def test_settings_without_effect_are_refused_all_at_once():
    with pytest.raises(RecipeError) as refused:
        recipe_of({"name": "grpo"}, workers=2, report_to="wandb", first_epoch=1, reset_optimizer="never")
    for name in ("workers", "report_to", "first_epoch", "reset_optimizer"):
        assert f"train.{name}: it has no effect on learning from rewards; take it out" in str(refused.value)


def test_what_no_gradient_reaches_is_named_before_the_first_step():
    learner, rows, prompts, tokenizer = learner_of(recipe_of({"name": "grpo"}))
    stray = torch.nn.Parameter(torch.zeros(2))
    learner.trained["stray"] = stray
    with pytest.raises(RecipeError, match="stray: no gradient reaches it from the loss of grpo"):
        learner.update(0, rows, prompts[:8], list(range(8)), tokenizer)


def test_shuffled_rewards_pay_as_much_in_total():
    recipe = recipe_of({"name": "rloo", "shuffle_rewards": True})
    learner, rows, prompts, tokenizer = learner_of(recipe)
    plain, *_ = learner_of(recipe_of({"name": "rloo"}))
    one = learner.update(0, rows, prompts[:8], list(range(8)), tokenizer)
    two = plain.update(0, rows, prompts[:8], list(range(8)), tokenizer)
    assert one["reward"] == two["reward"]
    weights = [each.model.state_dict()["lm_head.weight"] for each in (learner, plain)]
    assert not torch.equal(*weights)


def test_with_adapters_the_language_model_stays_and_the_run_is_merged(tmp_path):
    recipe = recipe_of({"name": "grpo"}, {"name": "gaussian", "scale": 0.5, "halt_after": 1}, epochs=1)
    values = recipe.model_dump(mode="json")
    values["model"]["lora"] = {"rank": 4}
    run = train(resolve(values, "test"), tmp_path / "run")
    state = open_run(run).model.state_dict()
    assert not any("lora" in name for name in state)
    before = open_run(MODEL).model.state_dict()
    name = "model.language_model.h.0.attn.c_attn.weight"
    assert not torch.equal(state[name], before[name])


def test_shards_of_parameters_are_refused_before_anything_is_written(tmp_path, monkeypatch):
    monkeypatch.setenv("ACCELERATE_USE_FSDP", "true")
    with pytest.raises(RecipeError, match="learning from rewards needs whole parameters in each process"):
        train(recipe_of({"name": "grpo"}), tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_the_process_of_math_verify_ends_with_the_training(tmp_path, monkeypatch):
    closed = []

    class Judge:
        num_failed = 3

        def judge(self, gold, text):
            return "failed"

        def close(self):
            closed.append(True)

    monkeypatch.setattr(learning, "Verifier", Judge)
    monkeypatch.setattr(rewards, "_number", lambda task, example: "1")
    recipe = recipe_of({"name": "grpo", "rewards": {"math_verify": True}}, epochs=1)
    lines = lines_of(train(recipe, tmp_path / "run"))
    assert [line["verifier_failed"] for line in lines if "reward" in line] == [3.0, 3.0, 3.0]
    assert closed == [True]
