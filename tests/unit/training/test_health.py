"""The health of thoughts while training: the figures are those of the plain definition, and watching changes no bit."""

import logging
from types import SimpleNamespace

import pytest
import torch
from peft import LoraConfig, get_peft_model
from tests.conftest import tiny_model
from tests.laws.rows import batch_of, random_rows

from unspoken.files import read_json_lines
from unspoken.model import LatentModel
from unspoken.recipe import resolve
from unspoken.thoughts.geometry import effective_rank, mean_cosine
from unspoken.training.health import (
    IN_A_ROW,
    RANKED,
    Filling,
    HealthWarnings,
    ailments,
    health,
    lost,
    warn,
    watched,
)
from unspoken.training.supervised import train

COUNTS = (2, 0, 3, 3, 1)


def loss_of(model, batch):
    return model(**{key: batch[key] for key in ("input_ids", "attention_mask", "position_ids", "labels")}).loss


@pytest.fixture
def batch():
    return batch_of(random_rows(5, *COUNTS))


@pytest.mark.parametrize("schedule", [None, {"name": "jacobi", "iterations": 2}])
@pytest.mark.parametrize("source", [None, {"name": "pause"}, {"name": "window", "size": 2}])
def test_watching_changes_neither_the_loss_nor_a_gradient(batch, source, schedule):
    model = tiny_model(source=source, schedule=schedule)
    loss = loss_of(model, batch)
    loss.backward()
    plain = [None if each.grad is None else each.grad.clone() for each in model.parameters()]
    model.zero_grad()
    with watched(model):
        again = loss_of(model, batch)
        again.backward()
    assert torch.equal(loss, again)
    for before, parameter in zip(plain, model.parameters(), strict=True):
        assert (before is None and parameter.grad is None) or torch.equal(before, parameter.grad)
    assert not model.model.thought_source._forward_hooks


@pytest.mark.parametrize("checkpointed", [False, True])
def test_figures_are_those_of_the_plain_definition(batch, checkpointed):
    model = tiny_model(checkpoint_passes=checkpointed)
    with watched(model) as fillings:
        loss_of(model, batch).backward()
    found = health(model, fillings)

    with torch.no_grad():
        output = model.model(**{key: batch[key] for key in ("input_ids", "attention_mask", "position_ids")})
    by_rank = {}
    for thoughts, mask in zip(output.thoughts, output.thought_mask, strict=True):
        for rank, thought in enumerate(thoughts[mask]):
            by_rank.setdefault(rank, []).append(thought)
    clouds = [torch.stack(by_rank[rank]) for rank in range(max(COUNTS))]
    assert [len(cloud) for cloud in clouds] == [4, 3, 2]
    norm = sum(float(cloud.norm(dim=-1).mean()) for cloud in clouds) / 3
    table = model.get_input_embeddings().weight.detach()
    assert found["thought_norm"] == pytest.approx(norm, rel=1e-5)
    assert found["thought_norm_ratio"] == pytest.approx(norm / float(table.norm(dim=-1).mean()), rel=1e-5)
    assert found["thought_cosine"] == pytest.approx(sum(mean_cosine(cloud) for cloud in clouds) / 3, rel=1e-4)
    assert found["thought_rank"] == pytest.approx(sum(effective_rank(cloud) for cloud in clouds) / 3, rel=1e-4)


def test_the_rank_of_many_rows_is_that_of_some():
    """It would take a good part of a step."""
    thoughts = torch.randn(RANKED + 40, 1, 80, generator=torch.Generator().manual_seed(0))
    every = torch.ones(len(thoughts), 1, dtype=torch.bool)
    found = health(tiny_model(), {(3,): Filling(torch.zeros(len(thoughts), 1, dtype=torch.long), every, thoughts)})
    assert found["thought_rank"] == effective_rank(thoughts[:RANKED, 0])
    assert found["thought_cosine"] == pytest.approx(mean_cosine(thoughts[:, 0]))


def test_the_gradient_of_a_thought_is_that_of_nudging_it(batch):
    """Beside a central difference of the loss along the gradient's own direction."""
    model = tiny_model()

    class Nudged(torch.nn.Module):
        def __init__(self, source, column, nudge):
            super().__init__()
            self.source, self.column, self.nudge = source, column, nudge
            self.reads_states = True
            self.reads_window = False

        def forward(self, history):
            thoughts = self.source(history)
            return thoughts + self.nudge if list(history.columns) == [self.column] else thoughts

    with watched(model) as fillings:
        loss_of(model, batch).backward()
    for columns, filling in fillings.items():
        gradient = filling.gradient
        direction = gradient / gradient.norm()

        def loss_at(step, column=columns[0], direction=direction):
            with (
                torch.no_grad(),
                model.model.thinking_with(Nudged(model.model.thought_source, column, step * direction)),
            ):
                return float(loss_of(model, batch))

        slope = (loss_at(1e-2) - loss_at(-1e-2)) / 2e-2
        assert slope == pytest.approx(float(gradient.norm()), rel=1e-2)
    assert len(fillings) == max(COUNTS)


def test_a_batch_without_thoughts_has_no_figures():
    model = tiny_model()
    with watched(model) as fillings:
        loss_of(model, batch_of(random_rows(5, 0, 0))).backward()
    assert health(model, fillings) == {}


def test_one_row_has_no_cosine_and_no_rank():
    model = tiny_model()
    with watched(model) as fillings:
        loss_of(model, batch_of(random_rows(5, 2))).backward()
    assert sorted(health(model, fillings)) == [
        "thought_gradient_1", "thought_gradient_2", "thought_norm", "thought_norm_ratio",
    ]  # fmt: skip


def test_a_model_with_adapters_is_watched_too(batch):
    adapted = get_peft_model(tiny_model(), LoraConfig(target_modules="all-linear", fan_in_fan_out=True))
    with watched(adapted) as fillings:
        loss_of(adapted, batch).backward()
    assert health(adapted, fillings)["thought_norm"] > 0
    assert any(isinstance(each, LatentModel) for each in adapted.modules())


def line(step=1, **figures):
    return {"step": step, "thought_norm": 1.0, "thought_norm_ratio": 1.0, "thought_cosine": 0.5, **figures}


def named(lines, reads_states=True):
    return [name for name, _ in ailments(lines, reads_states)]


def test_healthy_thoughts_give_no_warning():
    assert named([line()] * IN_A_ROW) == []


def test_thoughts_that_are_all_the_same_give_a_warning_unless_they_are_constants_by_intention():
    same = [line(thought_cosine=1.0)] * IN_A_ROW
    assert named(same) == ["collapsed"]
    assert named(same, reads_states=False) == []
    assert named(same[1:]) == []
    assert named([line(), *same[1:]]) == []


def test_lengths_beyond_all_reason_give_a_warning():
    assert named([line(thought_norm_ratio=1e4)] * IN_A_ROW) == ["norm"]
    assert named([line(thought_norm_ratio=1e-4)] * IN_A_ROW) == ["norm"]


def test_a_thought_that_no_gradient_reaches_is_named():
    (found,) = ailments([line(thought_gradient_1=0.0, thought_gradient_2=0.1)] * IN_A_ROW, True)
    assert found[0] == "gradient"
    assert "thought 1:" in found[1]


def validated(accuracy, low, high, step=1):
    return {"step": step, "eval_accuracy": accuracy, "eval_accuracy_low": low, "eval_accuracy_high": high}


def test_a_stage_that_loses_accuracy_is_named_only_where_the_intervals_are_apart():
    good, bad = validated(0.9, 0.85, 0.94), validated(0.4, 0.33, 0.47)
    assert lost(1, good, 2, bad).startswith("validation accuracy fell from 0.900 at stage 1 to 0.400 at stage 2")
    assert lost(1, good, 2, validated(0.8, 0.7, 0.86)) is None
    assert lost(1, bad, 2, good) is None


def test_every_warning_is_said_once_a_stage_and_a_lost_stage_when_it_has_ended():
    said = []
    callback = HealthWarnings(lambda step: (step - 1) // 10, True, lambda step, text: said.append((step, text)))
    state = SimpleNamespace(log_history=[], global_step=0, max_steps=30, is_world_process_zero=True)
    for step in range(1, 31):
        state.global_step = step
        state.log_history.append(line(step, thought_cosine=1.0 if step <= 20 else 0.5))
        callback.on_log(None, state, None)
        if step % 5 == 0:
            accuracy = {0: 0.9, 1: 0.4, 2: 0.2}[(step - 1) // 10]
            state.log_history.append(validated(accuracy, accuracy - 0.05, accuracy + 0.05, step))
            callback.on_evaluate(None, state, None)
    assert [(step, text.split(":")[0]) for step, text in said] == [
        (5, "stage 0"),
        (15, "stage 1"),
        (20, "validation accuracy fell from 0.900 at stage 0 to 0.400 at stage 1"),
        (30, "validation accuracy fell from 0.400 at stage 1 to 0.200 at stage 2"),
    ]


def test_a_warning_reaches_the_log_and_the_metrics(tmp_path, caplog):
    with caplog.at_level(logging.WARNING, logger="unspoken"):
        warn(tmp_path / "metrics.jsonl", lambda step: {"epoch": 0, "stage": 1})(7, "look here")
    assert caplog.messages == ["look here"]
    assert read_json_lines(tmp_path / "metrics.jsonl") == [{"step": 7, "warning": "look here", "epoch": 0, "stage": 1}]


TINY = {
    "task": {"name": "hops", "symbols": 6, "hops": 3, "train_rows": 34, "validation_rows": 8, "test_rows": 2},
    "model": {"layers": 1, "heads": 2, "width": 16, "max_positions": 32},
    "method": {"name": "coconut", "max_stage": 2, "epochs_per_stage": 1},
}


def run_of(path, **settings):
    training = {"epochs": 3, "batch_size": 16, "learning_rate": 0.003, "log_every": 1, **settings}
    return train(resolve({**TINY, "train": training}, "test"), path)


def test_training_that_is_watched_at_every_step_ends_in_the_same_bits(tmp_path):
    one, other = run_of(tmp_path / "one"), run_of(tmp_path / "other", log_every=1000)
    assert (one / "model.safetensors").read_bytes() == (other / "model.safetensors").read_bytes()
    lines = read_json_lines(one / "metrics.jsonl")
    thinking = [each for each in lines if "thought_norm" in each]
    assert {each["stage"] for each in thinking} == {1, 2}
    assert "thought_gradient_2" in thinking[-1]
    assert "thought_gradient_2" not in thinking[0]
    assert not any("thought_norm" in each for each in read_json_lines(other / "metrics.jsonl"))


def test_accumulated_micro_batches_are_described_by_the_last_one(tmp_path):
    run = run_of(tmp_path / "run", micro_batch_size=8)
    assert all(
        "thought_norm" in each for each in read_json_lines(run / "metrics.jsonl") if "loss" in each and each["stage"]
    )
