"""The supervised loop, in this process and on tiny models: what it computes, what it keeps, and what it refuses."""

import copy
import json
import math
import os
import pickle
import shutil
import signal
import subprocess
import sys
from random import Random

import numpy as np
import pytest
import torch
import transformers.trainer
from peft import PeftModel
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM, TrainerCallback, TrainingArguments

from unspoken.answer import ask
from unspoken.data.collate import collate
from unspoken.data.loader import StagedDataset
from unspoken.data.tokenize import tokenize
from unspoken.data.tokenizer import thought_tokens
from unspoken.errors import CheckpointError, NonFiniteError, RecipeError
from unspoken.files import is_sealed, read_json, read_json_lines, sha256, write_json_lines
from unspoken.prepare import build_model, load_model
from unspoken.recipe import resolve
from unspoken.recipe.batching import split_batch
from unspoken.recipe.strict_yaml import to_yaml
from unspoken.run_directory import open_run
from unspoken.thoughts import build_source
from unspoken.training import supervised
from unspoken.training.checkpoint import checkpoints, newest_valid, step_of
from unspoken.training.signals import Stopped
from unspoken.training.supervised import train

STEPS = 3  # optimizer steps an epoch: 34 rows in batches of 16
RECIPE = {
    "task": {"name": "hops", "symbols": 6, "hops": 3, "train_rows": 34, "validation_rows": 8, "test_rows": 2},
    "model": {"layers": 1, "heads": 2, "width": 16, "max_positions": 32},
    "method": {
        "name": "coconut",
        "max_stage": 2,
        "epochs_per_stage": 1,
        "mix": 0.3,
        "redraw": True,
        "pad_thoughts": False,
    },
    "train": {"epochs": 3, "batch_size": 16, "learning_rate": 0.003, "log_every": 1, "reset_optimizer": "stage"},
}


def values(**sections):
    """The sections of the recipe with some settings changed."""
    changed = copy.deepcopy(RECIPE)
    for section, settings in sections.items():
        changed[section] = {**changed.get(section, {}), **settings}
    return changed


def recipe(**sections):
    return resolve(values(**sections), "test")


def weights(run):
    return load_file(run / "model.safetensors")


def same(one, other):
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


def metrics(run, key="loss"):
    """The lines of training, or those with another key."""
    return [line for line in read_json_lines(run / "metrics.jsonl") if key in line]


def saved_steps(run):
    return [step_of(path) for path in checkpoints(run)]


@pytest.fixture
def during(monkeypatch):
    """Adds a callback to every training of this test; without one, takes it away again."""
    original = transformers.trainer.DEFAULT_CALLBACKS

    def during(callback=None):
        added = [] if callback is None else [callback]
        monkeypatch.setattr(transformers.trainer, "DEFAULT_CALLBACKS", [*original, *added])

    return during


class AtStep(TrainerCallback):
    """Acts once, before the step after `done` steps (`begin`) or right after the step (`end`)."""

    def __init__(self, done, action, when="begin"):
        self.done, self.action, self.when, self.acted = done, action, when, False

    def on_step_begin(self, args, state, control, **kwargs):
        self._act("begin", state, kwargs)

    def on_step_end(self, args, state, control, **kwargs):
        self._act("end", state, kwargs)

    def _act(self, when, state, kwargs):
        if when == self.when and state.global_step == self.done and not self.acted:
            self.acted = True
            self.action(kwargs["model"])


def stop_after(step, number=signal.SIGTERM):
    return AtStep(step, lambda model: os.kill(os.getpid(), number), "end")


def stopped_after(step, chosen, out, during, number=signal.SIGTERM):
    """A run that a signal stopped after a step."""
    during(stop_after(step, number))
    with pytest.raises(Stopped) as stop:
        train(chosen, out)
    during()
    assert stop.value.code == 128 + number
    return out


# ---- what a step computes


def test_a_step_of_four_micro_batches_is_the_step_of_one_batch(tmp_path):
    # Adam divides by the root of the second moment: where a gradient is nothing but rounding, which differs, it makes
    # steps of up to the learning rate of it; a small one keeps them under 1e-6 and all others far above
    runs = [
        train(
            recipe(train={"learning_rate": 5e-5, "micro_batch_size": size, "save": "end", "validate_every": 9}),
            tmp_path / str(size),
        )
        for size in (16, 4)
    ]
    whole, cut = map(weights, runs)
    begin = build_model(recipe(), open_run(runs[0]).tokenizer).state_dict()
    assert max((whole[name] - begin[name]).abs().max() for name in whole) > 1e-4
    for name in whole:
        torch.testing.assert_close(cut[name], whole[name], rtol=0, atol=1e-6, msg=name)
    for one, other in zip(*map(metrics, runs), strict=True):
        assert one["loss"] == pytest.approx(other["loss"], rel=1e-5)


def test_bf16_trains_beside_full_precision(tmp_path):
    """Autocast with weights in fp32; it works on a processor, too."""
    full, half = (train(recipe(train={"precision": name, "save": "end"}), tmp_path / name) for name in ("fp32", "bf16"))
    losses = [line["loss"] for line in metrics(full)], [line["loss"] for line in metrics(half)]
    assert losses[0] != losses[1]
    assert losses[1] == pytest.approx(losses[0], rel=0.02)
    for name, value in weights(half).items():
        assert value.dtype == torch.float32, name
        assert torch.isfinite(value).all(), name


@pytest.mark.skipif(torch.accelerator.is_available(), reason="with a GPU, fp16 works")
def test_fp16_is_refused_without_a_gpu_instead_of_training_in_full_precision(tmp_path):
    with pytest.raises(RecipeError, match="fp16 needs a GPU, and there is none; set bf16 or fp32"):
        train(recipe(train={"precision": "fp16"}), tmp_path / "run")
    assert not (tmp_path / "run").exists()


# ---- adapters


def change(before, after, name):
    return after[name] - before[name]


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    """A trained model with a source that has parameters."""
    chosen = recipe(thoughts={"name": "projection"}, train={"save": "end", "learning_rate": 0.02})
    return train(chosen, tmp_path_factory.mktemp("base") / "run")


def lora(base, **sections):
    settings = {"path": str(base), "lora": {"rank": 2, "alpha": 8.0}}
    settings_of_training = {"learning_rate": 0.02, "save": "end", **sections.pop("train", {})}
    return recipe(model=settings, thoughts={"name": "projection"}, train=settings_of_training, **sections)


def adapted_model(chosen, run, checkpoint):
    """The model as it was trained: the base with the adapters of a checkpoint in front of its layers."""
    with_adapters = build_model(chosen, open_run(run).tokenizer)
    return PeftModel.from_pretrained(with_adapters, checkpoint).eval()


def some_batch(run):
    """Rows of a run's own validation set at its stage, with their targets."""
    tokens = thought_tokens(run.tokenizer)
    rows = tokenize(run.recipe.task.examples("validation")[0], run.recipe.task.text, run.tokenizer)
    staged = [run.recipe.method.layout(row, run.stage, tokens, Random(row.id)) for row in rows]
    return collate(staged, pad_id=run.tokenizer.pad_token_id)


@pytest.mark.filterwarnings("ignore:fan_in_fan_out")
def test_adapters_the_source_and_the_thought_tokens_are_all_that_is_trained(base, tmp_path):
    run = train(lora(base), tmp_path / "run")
    before, after = weights(base), weights(run)
    assert before.keys() == after.keys()
    assert not (run / "adapter_config.json").exists()
    table = "model.language_model.wte.weight"
    new = sorted(open_run(run).tokenizer.convert_tokens_to_ids(["<|start-latent|>", "<|latent|>", "<|end-latent|>"]))
    for name in before:
        moved = change(before, after, name)
        if "thought_source" in name:
            assert moved.abs().max() > 1e-3, name
        elif name == table:
            rows = moved.abs().amax(dim=1)
            # a latent slot holds a thought, never its own embedding
            assert set(rows.nonzero().flatten().tolist()) <= set(new)
            assert rows[new].max() > 1e-3
        elif ".c_" in name and name.endswith("weight"):
            assert 1 <= torch.linalg.matrix_rank(moved, atol=1e-5) <= 2, name
        else:
            assert torch.equal(moved, torch.zeros_like(moved)), name


@pytest.mark.filterwarnings("ignore:fan_in_fan_out")
def test_the_model_left_behind_needs_no_adapters_and_answers_like_the_adapted_one(base, tmp_path, monkeypatch):
    chosen = lora(base)
    run = train(chosen, tmp_path / "run")
    opened = open_run(run)
    batch = some_batch(opened)
    adapted = adapted_model(chosen, run, newest_valid(run))
    monkeypatch.setitem(sys.modules, "peft", None)
    merged = AutoModelForCausalLM.from_pretrained(run).eval()
    with torch.no_grad():
        expected, found = adapted(**batch, logits_to_keep=0), merged(**batch, logits_to_keep=0)
    assert not torch.allclose(found.logits, load_model(base)(**batch, logits_to_keep=0).logits, atol=1e-2)
    torch.testing.assert_close(found.logits, expected.logits, atol=1e-4, rtol=1e-4)
    example = opened.recipe.task.examples("validation")[0][0]
    question = " ".join([*example.premises, example.question])
    expected = ask(opened, question)
    assert len(expected.thoughts) == opened.stage


@pytest.mark.filterwarnings("ignore:fan_in_fan_out")
def test_adapters_resume_to_the_same_bits(base, tmp_path, during):
    chosen = lora(base, train={"save": "epoch"})
    whole = train(chosen, tmp_path / "whole")
    cut = stopped_after(4, chosen, tmp_path / "cut", during)
    train(chosen, cut, resume=True)
    assert same(weights(whole), weights(cut))


# ---- what is saved


def damage_last_epoch(epochs):
    """Sets all that is trained to zero for the last epoch, whose accuracy is then none that could be the best."""

    def zero(model):
        with torch.no_grad():
            for parameter in model.parameters():
                if parameter.requires_grad:
                    parameter.zero_()

    return AtStep((epochs - 1) * STEPS, zero)


def improving_steps(run):
    """The validated steps whose accuracy is better than all before it in the same stage, by the log."""
    best, found = {}, []
    for line in metrics(run, "eval_accuracy"):
        if line["eval_accuracy"] > best.get(line["stage"], -1.0):
            best[line["stage"]] = line["eval_accuracy"]
            found.append((line["step"], line["stage"]))
    return found


def best_step(run):
    """The best validated step of the last stage, by the log."""
    return improving_steps(run)[-1][0]


TWO_STAGES = {"epochs_per_stage": 3, "max_stage": 1}


@pytest.mark.parametrize("save", ["improvement", "epoch"])
def test_the_model_left_behind_is_the_best_validated_of_the_last_stage(save, tmp_path, during):
    chosen = recipe(method=TWO_STAGES, train={"epochs": 6, "save": save})
    during(damage_last_epoch(6))
    run = train(chosen, tmp_path / "run")
    improving = [step for step, _ in improving_steps(run)]
    last, best = 6 * STEPS, best_step(run)
    assert 3 * STEPS < best < last
    assert saved_steps(run) == (improving if save == "improvement" else [3, 6, 9, 12, 15, 18])
    assert len(improving) < 6
    assert same(weights(run), load_file(run / "checkpoints" / f"checkpoint-{best}" / "model.safetensors"))
    summary = read_json(run / "run.json")
    assert (summary["step"], summary["last_step"], summary["stage"]) == (best, last, 1)
    accuracies = {line["step"]: line["eval_accuracy"] for line in metrics(run, "eval_accuracy")}
    assert summary["best_validation_accuracy"] == accuracies[best]


@pytest.mark.filterwarnings("ignore:fan_in_fan_out")
def test_the_best_adapters_are_those_that_are_merged(base, tmp_path, during):
    chosen = lora(base, method=TWO_STAGES, train={"epochs": 6, "save": "improvement"})
    during(damage_last_epoch(6))
    run = train(chosen, tmp_path / "run")
    best = best_step(run)
    assert best < 6 * STEPS
    during()
    batch = some_batch(open_run(run))
    adapted = adapted_model(chosen, run, run / "checkpoints" / f"checkpoint-{best}")
    with torch.no_grad():
        expected, found = adapted(**batch, logits_to_keep=0), load_model(run)(**batch, logits_to_keep=0)
    torch.testing.assert_close(found.logits, expected.logits, atol=1e-4, rtol=1e-4)


def test_a_run_that_saves_at_its_end_has_one_checkpoint_and_leaves_the_last_model(tmp_path, during):
    during(damage_last_epoch(3))
    run = train(recipe(train={"save": "end"}), tmp_path / "run")
    assert saved_steps(run) == [9]
    assert read_json(run / "run.json")["step"] == 9
    assert same(weights(run), load_file(run / "checkpoints" / "checkpoint-9" / "model.safetensors"))


@pytest.mark.parametrize("keep", [1, 2, 3])
def test_of_the_checkpoints_the_newest_and_the_best_are_kept(keep, tmp_path, during):
    during(damage_last_epoch(6))
    run = train(recipe(method=TWO_STAGES, train={"epochs": 6, "keep_checkpoints": keep}), tmp_path / "run")
    best, newest = best_step(run), 6 * STEPS
    others = [step for step in (3, 6, 9, 12, 15) if step != best]
    assert saved_steps(run) == sorted({best, newest, *others[len(others) - max(keep - 2, 0) :]})
    assert all(is_sealed(path) for path in checkpoints(run))
    assert read_json(run / "run.json")["step"] == best


def test_checkpoints_open_with_the_auto_class(tmp_path):
    run = train(recipe(), tmp_path / "run")
    opened = open_run(run)
    batch = some_batch(opened)
    losses = []
    for path in checkpoints(run):
        model = AutoModelForCausalLM.from_pretrained(path).eval()
        assert type(model) is type(opened.model)
        losses.append(model(**batch).loss.item())
    assert losses[-1] == opened.model(**batch).loss.item()
    assert len(set(losses)) == 3


# ---- resuming

DROPOUT = {"dropout": 0.1}
"""Its random numbers must go on where they stopped."""


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    return train(recipe(model=DROPOUT), tmp_path_factory.mktemp("whole") / "run")


def assert_same_run(run, whole):
    """Same bits, and the same log except for the time that a process took."""
    assert sha256(run / "model.safetensors") == sha256(whole / "model.safetensors")
    timed = ("train_runtime", "train_samples_per_second", "train_steps_per_second", "train_loss")

    def lines(path):
        rows = read_json_lines(path / "metrics.jsonl")
        return [{key: value for key, value in row.items() if key not in timed} for row in rows]

    assert lines(run) == lines(whole)


def assert_whole_log(run):
    """Every step once with its epoch and stage, one validation an epoch, one line at the end."""
    by_step = [(line["step"], line["epoch"], line["stage"]) for line in metrics(run)]
    assert by_step == [(step, (step - 1) // STEPS, (step - 1) // STEPS) for step in range(1, 10)]
    assert [(line["step"], line["stage"]) for line in metrics(run, "eval_accuracy")] == [(3, 0), (6, 1), (9, 2)]
    assert [line["step"] for line in metrics(run, "train_runtime")] == [9]
    assert "train_runtime" in read_json_lines(run / "metrics.jsonl")[-1]


def test_the_log_holds_every_step_and_every_validation_once(whole):
    assert_whole_log(whole)


@pytest.mark.parametrize("step", [1, 3, 4, 8, 9])
def test_a_run_that_was_told_to_stop_resumes_to_the_same_bits_and_the_same_log(step, whole, tmp_path, during):
    run = stopped_after(step, recipe(model=DROPOUT), tmp_path / "run", during)
    assert newest_valid(run).name == f"checkpoint-{step}"
    assert not (run / "run.json").exists()
    train(recipe(model=DROPOUT), run, resume=True)
    assert_same_run(run, whole)
    assert_whole_log(run)


def test_a_validation_in_the_step_of_a_signal_counts_after_resuming(tmp_path, during):
    """The last step of an epoch is validated after its checkpoint; what was best must not be forgotten."""
    chosen = recipe(method=TWO_STAGES, train={"epochs": 6, "save": "end"})
    run = stopped_after(12, chosen, tmp_path / "run", during)
    (validated,) = [line for line in metrics(run, "eval_accuracy") if line["step"] == 12]
    state = read_json(run / "checkpoints" / "checkpoint-12" / "trainer_state.json")
    assert state["best_metric"] == validated["eval_accuracy"]
    assert state["log_history"][-1]["eval_accuracy"] == validated["eval_accuracy"]


def test_the_time_of_a_resumed_run_is_that_of_all_its_parts(tmp_path, during):
    run = stopped_after(4, recipe(), tmp_path / "run", during)
    (line,) = metrics(run, "train_runtime")
    line["train_runtime"] = 1000.0
    kept = [row for row in read_json_lines(run / "metrics.jsonl") if "train_runtime" not in row]
    write_json_lines(run / "metrics.jsonl", [*kept, line])
    train(recipe(), run, resume=True)
    (line,) = metrics(run, "train_runtime")
    assert 1000.0 < line["train_runtime"] < 1500.0
    assert_whole_log(run)


def test_a_run_that_was_stopped_twice_resumes_to_the_same_bits(whole, tmp_path, during):
    run = stopped_after(2, recipe(model=DROPOUT), tmp_path / "run", during)
    during(stop_after(5))
    with pytest.raises(Stopped):
        train(recipe(model=DROPOUT), run, resume=True)
    during()
    train(recipe(model=DROPOUT), run, resume=True)
    assert_same_run(run, whole)


def test_a_finished_run_is_resumed_to_itself(tmp_path):
    run = train(recipe(), tmp_path / "run")
    before = {path.name: sha256(path) for path in run.iterdir() if path.is_file() and path.name != "metrics.jsonl"}
    saved = saved_steps(run)
    train(recipe(), run, resume=True)
    after = {path.name: sha256(path) for path in run.iterdir() if path.is_file() and path.name != "metrics.jsonl"}
    assert after == before
    assert saved_steps(run) == saved
    assert_whole_log(run)


def test_with_improvements_alone_a_finished_run_is_resumed_to_itself(tmp_path, during):
    chosen = recipe(method=TWO_STAGES, train={"epochs": 6, "save": "improvement"})
    during(damage_last_epoch(6))
    run = train(chosen, tmp_path / "run")
    during()
    before, best = weights(run), best_step(run)
    train(chosen, run, resume=True)
    # without the damage the epochs after the best one go otherwise, so only what came before it is compared
    assert same(load_file(run / "checkpoints" / f"checkpoint-{best}" / "model.safetensors"), before)
    assert [line["step"] for line in metrics(run)] == list(range(1, 19))


def test_a_damaged_newest_checkpoint_is_passed_over(whole, tmp_path, during):
    run = stopped_after(7, recipe(model=DROPOUT), tmp_path / "run", during)
    (run / "checkpoints" / "checkpoint-7" / "optimizer.pt").write_bytes(b"damaged")
    assert newest_valid(run).name == "checkpoint-6"
    train(recipe(model=DROPOUT), run, resume=True)
    assert_same_run(run, whole)


def test_a_run_whose_checkpoints_are_all_damaged_keeps_its_log_and_is_not_begun_anew(tmp_path, during):
    run = stopped_after(4, recipe(), tmp_path / "run", during)
    for path in checkpoints(run):
        (path / "optimizer.pt").write_bytes(b"damaged")
    before = sha256(run / "metrics.jsonl")
    with pytest.raises(CheckpointError, match=r"holds no valid checkpoint:\n.*checkpoint-4/optimizer\.pt"):
        train(recipe(), run, resume=True)
    assert sha256(run / "metrics.jsonl") == before


@pytest.mark.parametrize("text", ["{}", "[]", "{", ""])
def test_settings_that_cannot_be_read_are_named(text, tmp_path, during):
    run = stopped_after(1, recipe(), tmp_path / "run", during)
    (run / "resolved.json").write_text(text)
    with pytest.raises(CheckpointError, match=r"resolved\.json cannot be read .*; put back a copy of it"):
        train(recipe(), run, resume=True)


def test_a_run_that_died_before_its_first_checkpoint_begins_again(whole, tmp_path, during):
    def die(model):
        raise ZeroDivisionError("died")

    during(AtStep(2, die))
    run = tmp_path / "run"
    with pytest.raises(ZeroDivisionError):
        train(recipe(model=DROPOUT), run)
    during()
    assert [line["step"] for line in metrics(run)] == [1, 2]
    train(recipe(model=DROPOUT), run, resume=True)
    assert_same_run(run, whole)


PROGRAM = """
import os, signal, sys
import transformers.trainer
from transformers import TrainerCallback
from unspoken.cli import main

class Stop(TrainerCallback):
    def on_step_begin(self, args, state, control, **kwargs):
        if state.global_step == 4:
            os.kill(os.getpid(), getattr(signal, sys.argv[1]))

transformers.trainer.DEFAULT_CALLBACKS = [*transformers.trainer.DEFAULT_CALLBACKS, Stop]
sys.exit(main(sys.argv[2:]))
"""


def test_the_command_ends_with_143_or_130_and_is_resumed_by_another_process(whole, tmp_path, capfd):
    (tmp_path / "recipe.yaml").write_text(to_yaml(values(model=DROPOUT)))
    processes = {}
    for name in ("SIGTERM", "SIGINT"):
        arguments = ["train", str(tmp_path / "recipe.yaml"), "--out", str(tmp_path / name)]
        processes[name] = subprocess.Popen(
            [sys.executable, "-c", PROGRAM, name, *arguments], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
    for name, code in (("SIGTERM", 143), ("SIGINT", 130)):
        out, err = processes[name].communicate(timeout=600)
        assert (processes[name].returncode, out) == (code, ""), err
        assert "Traceback" not in err
        assert f"{tmp_path / name}: checkpoint-5 is saved; continue with --resume" in err
        assert "hops coconut: step 3/9, epoch 0, stage 0, loss" in err
        assert "Writing model shards" not in err
        assert newest_valid(tmp_path / name).name == "checkpoint-5"
        train(recipe(model=DROPOUT), tmp_path / name, resume=True)
        assert_same_run(tmp_path / name, whole)


# ---- what may not be resumed


def test_every_difference_in_the_settings_is_listed(whole):
    other = recipe(
        model=DROPOUT, method={"max_stage": 3}, train={"seed": 4, "learning_rate": 0.1}, thoughts={"name": "pause"}
    )
    with pytest.raises(CheckpointError) as error:
        train(other, whole, resume=True)
    first, *listed, last = str(error.value).split("\n")
    assert first == f"{whole} was started with other settings or data:"
    assert [line.strip() for line in listed] == [
        "recipe.method.max_stage: was 2, is now 3",
        "recipe.schedule.name: was 'sequential', is now 'single'",
        "recipe.thoughts.name: was 'last_hidden', is now 'pause'",
        "recipe.train.learning_rate: was 0.003, is now 0.1",
        "recipe.train.seed: was 0, is now 4",
    ]
    assert last == "resume with the old ones, or choose another --out"


def test_a_start_that_failed_before_its_first_step_is_no_run(whole, tmp_path, during):
    def die(model):
        raise ZeroDivisionError("died")

    run = tmp_path / "run"
    for resume in (False, True):
        during(AtStep(0, die))
        with pytest.raises(ZeroDivisionError):
            train(recipe(train={"seed": 1}), run)
        during()
        assert (run / "resolved.json").is_file()
        train(recipe(model=DROPOUT), run, resume=resume)
        assert_same_run(run, whole)
        shutil.rmtree(run)


def test_a_resumed_run_may_be_logged_otherwise(whole, tmp_path, during):
    run = stopped_after(4, recipe(model=DROPOUT), tmp_path / "run", during)
    other = recipe(model=DROPOUT, train={"log_every": 2, "workers": 1, "keep_checkpoints": 9})
    train(other, run, resume=True)
    assert sha256(run / "model.safetensors") == sha256(whole / "model.safetensors")
    assert [line["step"] for line in metrics(run)] == [1, 2, 3, 4, 6, 8]


@pytest.mark.parametrize(
    ("name", "said"), [("wandbb", "wandbb is not supported, only"), ("clearml", "requires 'clearml")]
)
def test_a_tracker_that_is_not_there_is_refused_before_anything_is_written(name, said, tmp_path):
    with pytest.raises(RecipeError, match=rf"train\.report_to has 1 problem\n  '{name}': .*{said}"):
        train(recipe(train={"report_to": name}), tmp_path / "run")
    assert not (tmp_path / "run").exists()


def rows(count, answer="yes"):
    return [
        {"question": f"is {word} ?", "steps": ["so it is"], "answer": answer} for word in "abcdefghijklmnop"[:count]
    ]


def custom(folder):
    for split, count in (("train", 8), ("validation", 4)):
        (folder / f"{split}.json").write_text(json.dumps(rows(count)))
    return resolve(
        {
            **values(train={"epochs": 1, "save": "end"}),
            "task": {"name": "custom", "train": f"{folder}/train.json", "validation": f"{folder}/validation.json"},
        },
        "test",
    )


@pytest.mark.parametrize(
    ("split", "changed", "keys"),
    [
        ("train", rows(8)[::-1], {"data.train", "tokenizer"}),
        ("train", rows(7), {"data.train", "tokenizer"}),
        ("train", [*rows(7), {**rows(8)[7], "answer": "it"}], {"data.train"}),
        ("validation", rows(3), {"data.validation"}),
        ("validation", [*rows(3), {**rows(4)[3], "steps": []}], {"data.validation"}),
    ],
)
def test_other_data_and_another_vocabulary_are_listed(split, changed, keys, tmp_path):
    chosen = custom(tmp_path)
    run = train(chosen, tmp_path / "run")
    before = sha256(run / "resolved.json")
    (tmp_path / f"{split}.json").write_text(json.dumps(changed))
    with pytest.raises(CheckpointError) as error:
        train(chosen, run, resume=True)
    listed = [line.strip() for line in str(error.value).split("\n")[1:-1]]
    assert {line.partition(":")[0] for line in listed} == keys
    assert all(" was '" in line and ", is now '" in line for line in listed)
    assert sha256(run / "resolved.json") == before


def test_a_run_is_neither_overwritten_nor_resumed_from_nothing(whole, tmp_path):
    with pytest.raises(CheckpointError, match="already holds a run; continue it with --resume"):
        train(recipe(model=DROPOUT), whole)
    with pytest.raises(CheckpointError, match="holds no run to resume"):
        train(recipe(), tmp_path / "new", resume=True)


def test_a_second_trainer_on_a_directory_is_refused(tmp_path, during):
    run, refused = tmp_path / "run", []

    def try_too(model):
        during()
        for resume in (False, True):
            with pytest.raises(CheckpointError, match="in use by another process; wait for it or choose another --out"):
                train(recipe(), run, resume=resume)
            refused.append(resume)

    during(AtStep(4, try_too))
    train(recipe(), run)
    assert refused == [False, True]
    assert_whole_log(run)
    train(recipe(), run, resume=True)


# ---- numbers that are none


def poison_weights(model):
    with torch.no_grad():
        next(parameter for name, parameter in model.named_parameters() if "c_fc" in name)[0, 0] = math.nan


def poison_gradient(model):
    parameter = next(parameter for name, parameter in model.named_parameters() if "c_fc" in name)
    parameter.register_hook(lambda gradient: gradient * math.nan)


class Moments(TrainerCallback):
    """Notes at each step how many steps Adam remembers of each weight."""

    def __init__(self):
        self.counts = []

    def on_step_end(self, args, state, control, **kwargs):
        optimizer = kwargs["optimizer"]
        states = getattr(optimizer, "optimizer", optimizer).state.values()
        (count,) = {int(moments["step"]) for moments in states}
        self.counts.append(count)


@pytest.mark.parametrize("max_grad_norm", [0.0, 1.0])
@pytest.mark.parametrize(("poison", "what"), [(poison_weights, "loss"), (poison_gradient, "gradient")])
def test_what_is_not_finite_stops_the_run_before_anything_moved(poison, what, max_grad_norm, whole, tmp_path, during):
    seen = {}

    def spoil(model):
        poison(model)
        seen["model"], seen["before"] = model, {name: value.clone() for name, value in model.state_dict().items()}

    settings = {"max_grad_norm": max_grad_norm}
    run = tmp_path / "run"
    during(AtStep(4, spoil))
    with pytest.raises(NonFiniteError, match=f"the {what} of step 5 is .*; nothing was updated"):
        train(recipe(model=DROPOUT, train=settings), run)
    during()
    for name, value in seen["model"].state_dict().items():
        assert torch.equal(value.nan_to_num(nan=7.0), seen["before"][name].nan_to_num(nan=7.0)), name
    assert newest_valid(run).name == "checkpoint-3"
    assert [line["step"] for line in metrics(run)] == [1, 2, 3, 4]
    assert not (run / "run.json").exists()
    train(recipe(model=DROPOUT, train=settings), run, resume=True)
    if max_grad_norm == 0.0:
        assert_same_run(run, whole)


# ---- devices and processes


def test_one_process_trains_on_one_gpu_and_says_that_the_others_wait(tmp_path, monkeypatch, caplog):
    class WithFour(TrainingArguments):
        @property
        def n_gpu(self):
            return getattr(self, "_n_gpu", 0) or 4

    monkeypatch.setattr(supervised, "TrainingArguments", WithFour)
    told = supervised.arguments(recipe(), tmp_path, split_batch(recipe().train, 1))
    assert told.n_gpu == 1
    (warning,) = [each.getMessage() for each in caplog.records if each.name == supervised.__name__]
    assert "4 GPUs are here, and one process trains on the first of them" in warning
    assert "torchrun --nproc-per-node=4" in warning


def test_a_layout_can_be_told_to_a_process_that_is_started_anew(whole):
    opened = open_run(whole)
    rows = tokenize(opened.recipe.task.examples("train")[0], opened.recipe.task.text, opened.tokenizer)
    layout = supervised.layout_of(opened.recipe, opened.tokenizer)
    dataset = StagedDataset(rows, layout, 0)
    told = pickle.loads(pickle.dumps(layout))
    for epoch in (0, 2):
        dataset.set_epoch(epoch)
        again = StagedDataset(rows, told, 0)
        again.set_epoch(epoch)
        assert np.array_equal(dataset[3].input_ids, again[3].input_ids)


# ---- what ends too early


def test_a_run_that_ends_early_without_a_signal_is_not_finished(tmp_path, during):
    class EndEarly(TrainerCallback):
        def on_step_end(self, args, state, control, **kwargs):
            control.should_training_stop = state.global_step == 4

    during(EndEarly())
    with pytest.raises(CheckpointError, match="training ended after step 4 of 9, and no signal was the reason"):
        train(recipe(), tmp_path / "run")
    assert not (tmp_path / "run" / "run.json").exists()


# ---- stages


RESETS = {
    "never": [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12],
    "stage": [1, 2, 3, 4, 5, 6, 1, 2, 3, 4, 5, 6],
    "epoch": [1, 2, 3, 1, 2, 3, 1, 2, 3, 1, 2, 3],
}


@pytest.mark.parametrize("reset", RESETS)
def test_adam_forgets_when_the_recipe_says_so_also_in_a_resumed_run(reset, tmp_path, during):
    chosen = recipe(
        method={"epochs_per_stage": 2},
        train={"epochs": 4, "reset_optimizer": reset, "save": "end", "validate_every": 9},
    )
    for step in (None, 6, 8):  # never stopped, at the boundary of epoch and stage, in mid-epoch
        out, moments = tmp_path / str(step), Moments()
        if step is not None:
            stopped_after(step, chosen, out, during)
        during(moments)
        train(chosen, out, resume=step is not None)
        assert moments.counts == RESETS[reset][step or 0 :]
        assert same(weights(out), weights(tmp_path / "None"))


def test_the_first_epoch_skips_the_stages_before_it(tmp_path):
    chosen = recipe(method={"epochs_per_stage": 2}, train={"epochs": 6, "first_epoch": 3, "save": "end"})
    run = train(chosen, tmp_path / "run")
    assert [(line["step"], line["epoch"], line["stage"]) for line in metrics(run)] == [
        (1, 3, 1), (2, 3, 1), (3, 3, 1), (4, 4, 2), (5, 4, 2), (6, 4, 2), (7, 5, 2), (8, 5, 2), (9, 5, 2),
    ]  # fmt: skip
    assert read_json(run / "run.json")["stage"] == 2


def test_the_last_validation_is_logged_once_whatever_the_interval(tmp_path):
    run = train(recipe(train={"epochs": 5, "validate_every": 2, "save": "end"}), tmp_path / "run")
    assert [(line["step"], line["stage"]) for line in metrics(run, "eval_accuracy")] == [(6, 1), (12, 3), (15, 3)]


# ---- beginning with a trained model

PLAIN = {"mix": 0.0, "redraw": False, "pad_thoughts": True}


def loss_of(model, chosen, tokenizer, stage):
    """The mean loss over all training rows at a stage."""
    tokens = thought_tokens(tokenizer)
    rows = tokenize(chosen.task.examples("train")[0], chosen.task.text, tokenizer)
    staged = [chosen.method.layout(row, stage, tokens, Random(0)) for row in rows]
    with torch.no_grad():
        return model(**collate(staged, pad_id=tokenizer.pad_token_id)).loss.item()


@pytest.mark.parametrize("source", ["last_hidden", "projection"])
@pytest.mark.parametrize("continued", [None, {"name": "window", "size": 2}, {"name": "pause"}])
def test_a_run_continues_from_the_weights_of_an_earlier_one_also_with_another_source(source, continued, tmp_path):
    thoughts = {"name": source}
    first = train(recipe(method=PLAIN, thoughts=thoughts, train={"learning_rate": 0.02, "save": "end"}), tmp_path / "a")
    earlier = open_run(first)
    chosen = recipe(
        model={"path": str(first)},
        method=PLAIN,
        thoughts=continued or thoughts,
        train={"first_epoch": 2, "batch_size": 34, "save": "end"},
    )
    second = train(chosen, tmp_path / "b")
    new_source = earlier.model.model.thought_source if continued is None else build_source(continued, 16)
    with earlier.model.model.thinking_with(new_source):
        expected = loss_of(earlier.model, chosen, earlier.tokenizer, 2)
    assert metrics(second)[0]["loss"] == pytest.approx(expected, rel=1e-5)
    assert open_run(second).model.config.thought_source == (continued or thoughts)
