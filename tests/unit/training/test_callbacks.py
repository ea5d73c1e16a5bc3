"""What happens between the steps of a run, callback by callback."""

import math
import os
import re
import signal

import pytest
import torch
from accelerate import Accelerator
from transformers import TrainerControl, TrainerState, TrainingArguments

from unspoken import files
from unspoken.errors import NonFiniteError
from unspoken.methods.icot import ICoT
from unspoken.training.callbacks import Guard, MetricsLog, ProgressBar, Stages, Stop, Validation
from unspoken.training.signals import stop_requests

STEPS = 3  # optimizer steps an epoch


@pytest.fixture(scope="module")
def args(tmp_path_factory):
    return TrainingArguments(output_dir=str(tmp_path_factory.mktemp("out")), use_cpu=True, report_to="none")


def state_at(step, *, max_steps=30, first=True, **kwargs):
    return TrainerState(global_step=step, max_steps=max_steps, is_world_process_zero=first, **kwargs)


# ---- stages


def model_and_optimizer(*, steps=3):
    """A model of two weights after a few steps of Adam, which has moments by then."""
    model = torch.nn.Linear(2, 1, bias=False)
    torch.nn.init.constant_(model.weight, 0.5)
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.1)
    for number in range(steps):
        step(model, optimizer, number)
    return model, optimizer


def step(model, optimizer, number):
    optimizer.zero_grad()
    (model(torch.tensor([[1.0, 10.0 * number - 5.0]])) ** 2).sum().backward()
    optimizer.step()


def forgets(callback, args, epoch, *, offset=0):
    """Whether Adam has no moments after the callback at the beginning of an epoch."""
    _, optimizer = model_and_optimizer()
    callback.on_epoch_begin(args, state_at(epoch * STEPS + offset), TrainerControl(), optimizer=optimizer)
    return len(optimizer.state) == 0


def epochs_with_a_restart(reset, stage_of, args, epochs=8):
    callback = Stages(stage_of, STEPS, reset)
    return [epoch for epoch in range(epochs) if forgets(callback, args, epoch)]


def test_the_optimizer_restarts_never_at_each_stage_or_at_each_epoch(args):
    def stage_of(epoch):
        return min(epoch // 2, 2)

    assert epochs_with_a_restart("never", stage_of, args) == []
    assert epochs_with_a_restart("stage", stage_of, args) == [2, 4]
    assert epochs_with_a_restart("epoch", stage_of, args) == [1, 2, 3, 4, 5, 6, 7]


def test_with_icot_it_restarts_whenever_more_tokens_are_removed(args):
    method = ICoT(remove_per_epoch=8, full_epochs=1, max_tokens=20)
    assert epochs_with_a_restart("stage", method.stage, args) == [2, 3, 4]


@pytest.mark.parametrize("reset", ["never", "stage", "epoch"])
@pytest.mark.parametrize("offset", [1, 2])
def test_an_epoch_that_a_resumed_run_finishes_has_begun_before(args, reset, offset):
    assert not forgets(Stages(lambda epoch: epoch, STEPS, reset), args, 2, offset=offset)


def test_after_a_restart_adam_steps_as_a_new_one(args):
    model, optimizer = model_and_optimizer()
    other = torch.nn.Linear(2, 1, bias=False)
    other.load_state_dict(model.state_dict())
    new = torch.optim.AdamW(other.parameters(), lr=0.1)
    Stages(lambda epoch: epoch, STEPS, "stage").on_epoch_begin(
        args, state_at(STEPS), TrainerControl(), optimizer=optimizer
    )
    for number in range(3, 6):
        step(model, optimizer, number)
        step(other, new, number)
        assert torch.equal(model.weight, other.weight)
    untouched, moments = model_and_optimizer()
    for number in range(3, 6):
        step(untouched, moments, number)
    assert not torch.allclose(untouched.weight, model.weight)


def test_an_optimizer_that_accelerate_wrapped_restarts_too(args):
    _, optimizer = model_and_optimizer()
    wrapped = Accelerator(cpu=True).prepare(optimizer)
    assert wrapped is not optimizer
    Stages(lambda epoch: epoch, STEPS, "stage").on_epoch_begin(
        args, state_at(STEPS), TrainerControl(), optimizer=wrapped
    )
    assert len(optimizer.state) == 0
    assert len(wrapped.state) == 0


@pytest.mark.parametrize("reset", ["never", "stage", "epoch"])
def test_the_best_epoch_is_sought_anew_at_each_stage_whatever_the_optimizer_does(args, reset):
    _, optimizer = model_and_optimizer()
    callback = Stages(lambda epoch: epoch // 2, STEPS, reset)
    for epoch, kept in [(0, True), (1, True), (2, False), (3, True), (4, False)]:
        state = state_at(epoch * STEPS, best_metric=0.7, best_global_step=3)
        callback.on_epoch_begin(args, state, TrainerControl(), optimizer=optimizer)
        assert (state.best_metric, state.best_global_step) == ((0.7, 3) if kept else (None, None)), epoch


# ---- validation


def asks(callback, args, step, max_steps=15):
    control = TrainerControl()
    callback.on_epoch_end(args, state_at(step, max_steps=max_steps), control)
    return control.should_evaluate, control.should_save


def test_validation_comes_every_few_epochs_and_after_the_last_one(args):
    callback = Validation(2, STEPS, save_last=False)
    ends = [asks(callback, args, step)[0] for step in (3, 6, 9, 12, 15)]
    assert ends == [False, True, False, True, True]


def test_the_end_of_training_is_a_checkpoint_when_asked_for(args):
    for save_last in (True, False):
        callback = Validation(1, STEPS, save_last)
        assert [asks(callback, args, step)[1] for step in (3, 12, 15)] == [False, False, save_last]


@pytest.mark.parametrize("save_last", [True, False])
def test_a_validation_behind_a_signal_is_saved_with_what_it_found(args, save_last):
    """The checkpoint of the signal was written before it."""
    callback = Validation(2, STEPS, save_last)
    for step, saved in ((3, False), (6, True)):
        control = TrainerControl(should_training_stop=True)
        callback.on_epoch_end(args, state_at(step), control)
        assert (control.should_evaluate, control.should_save) == (saved, saved)


@pytest.mark.parametrize("step", [1, 4, 14])
def test_an_epoch_that_a_signal_cut_short_is_not_validated(args, step):
    assert asks(Validation(1, STEPS, True), args, step) == (False, False)


# ---- guard


def with_gradients(*gradients):
    model = torch.nn.Module()
    for index, gradient in enumerate(gradients):
        parameter = torch.nn.Parameter(torch.zeros(2))
        parameter.grad = None if gradient is None else torch.tensor(gradient)
        model.register_parameter(f"p{index}", parameter)
    return model


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("place", [0, 1, 2])
def test_a_gradient_that_is_not_finite_stops_before_the_step_and_names_it(args, bad, place):
    gradients = [[1.0, 2.0], [0.0, 0.0], [3.0, 4.0]]
    gradients[place][1] = bad
    with pytest.raises(NonFiniteError, match="gradient of step 8 is not finite; nothing was updated"):
        Guard().on_pre_optimizer_step(args, state_at(7), TrainerControl(), model=with_gradients(*gradients, None))


def test_a_finite_gradient_passes_however_large(args):
    model = with_gradients([1e18, -1e18], None, [0.0, 1e-30])
    Guard().on_pre_optimizer_step(args, state_at(0), TrainerControl(), model=model)


def test_with_half_precision_the_scaler_sees_to_it(args, monkeypatch):
    monkeypatch.setattr(args, "fp16", True)
    Guard().on_pre_optimizer_step(args, state_at(0), TrainerControl(), model=with_gradients([math.inf, 0.0]))


@pytest.mark.parametrize("half", [False, True])
def test_a_loss_that_is_not_finite_is_named_at_the_end_of_its_step_and_forgotten_after(args, monkeypatch, half):
    monkeypatch.setattr(args, "fp16", half)
    guard, model = Guard(), with_gradients([1.0, 2.0])
    for loss in (0.5, math.inf, math.nan):
        guard.watch(torch.tensor(loss))
    with pytest.raises(NonFiniteError, match="the loss of step 8 is inf; nothing was updated"):
        guard.on_pre_optimizer_step(args, state_at(7), TrainerControl(), model=model)
    guard.on_pre_optimizer_step(args, state_at(7), TrainerControl(), model=model)


def test_a_device_is_waited_for_once_a_step(args):
    guard, model = Guard(), with_gradients([1.0, 2.0], [0.0, 3.0])
    for loss in (0.5, 0.25, 0.125):
        guard.watch(torch.tensor(loss))
    with torch.profiler.profile() as profile:
        guard.on_pre_optimizer_step(args, state_at(7), TrainerControl(), model=model)
    waits = [event.count for event in profile.key_averages() if event.key == "aten::_local_scalar_dense"]
    assert waits == [1]


# ---- stop


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_after_a_signal_the_step_is_finished_saved_and_the_last_one(args, number):
    with stop_requests() as request:
        callback, control = Stop(request), TrainerControl()
        callback.on_step_end(args, state_at(1), control)
        assert (control.should_save, control.should_training_stop) == (False, False)
        os.kill(os.getpid(), number)
        callback.on_step_end(args, state_at(2), control)
        assert (control.should_save, control.should_training_stop) == (True, True)


# ---- metrics


def describe(epoch):
    return {"epoch": epoch, "stage": epoch // 2}


def log_of(path):
    return MetricsLog(path, describe, STEPS)


def test_each_line_says_step_epoch_and_stage_of_the_step_that_was_done(args, tmp_path):
    log = log_of(tmp_path / "metrics.jsonl")
    for step in (0, 1, 3, 4, 6, 7):
        log.on_log(args, state_at(step), TrainerControl(), logs={"loss": step / 2, "epoch": 99.5})
    assert files.read_json_lines(tmp_path / "metrics.jsonl") == [
        {"step": 0, "loss": 0.0, "epoch": 0, "stage": 0},
        {"step": 1, "loss": 0.5, "epoch": 0, "stage": 0},
        {"step": 3, "loss": 1.5, "epoch": 0, "stage": 0},
        {"step": 4, "loss": 2.0, "epoch": 1, "stage": 0},
        {"step": 6, "loss": 3.0, "epoch": 1, "stage": 0},
        {"step": 7, "loss": 3.5, "epoch": 2, "stage": 1},
    ]


def test_only_the_first_process_writes_and_nothing_is_nothing(args, tmp_path):
    log = log_of(tmp_path / "metrics.jsonl")
    log.on_log(args, state_at(1, first=False), TrainerControl(), logs={"loss": 1.0})
    log.on_log(args, state_at(1), TrainerControl(), logs={})
    log.on_log(args, state_at(1), TrainerControl())
    log.on_train_begin(args, state_at(0), TrainerControl())
    assert not (tmp_path / "metrics.jsonl").exists()


@pytest.mark.parametrize("torn", ["", '{"step": 5, "lo', '{"step": 5, "loss": 0.1}'])
def test_a_resumed_run_forgets_the_steps_that_it_will_do_again(args, tmp_path, torn):
    path = tmp_path / "metrics.jsonl"
    log = log_of(path)
    for step in (1, 2, 3, 4):
        log.on_log(args, state_at(step), TrainerControl(), logs={"loss": 1.0})
    with path.open("a") as file:
        file.write(torn)
    log.on_train_begin(args, state_at(2), TrainerControl())
    assert [row["step"] for row in files.read_json_lines(path)] == [1, 2]
    log.on_log(args, state_at(3), TrainerControl(), logs={"loss": 2.0})
    assert [(row["step"], row["loss"]) for row in files.read_json_lines(path)] == [(1, 1.0), (2, 1.0), (3, 2.0)]


def test_the_time_of_all_parts_of_a_run_ends_in_one_line(args, tmp_path):
    path = tmp_path / "metrics.jsonl"

    def part(first, last, seconds):
        log = log_of(path)
        log.on_train_begin(args, state_at(first), TrainerControl())
        for step in range(first + 1, last + 1):
            log.on_log(args, state_at(step), TrainerControl(), logs={"loss": 1.0})
        if seconds is not None:
            rates = {"train_steps_per_second": 12 / seconds}
            log.on_log(args, state_at(last), TrainerControl(), logs={"train_runtime": seconds, **rates})

    part(0, 3, 5.0)
    part(3, 5, None)  # killed
    part(2, 4, 2.0)
    part(4, 6, 3.0)
    rows = files.read_json_lines(path)
    assert [row["step"] for row in rows] == [1, 2, 3, 4, 5, 6, 6]
    summaries = [row for row in rows if "train_runtime" in row]
    assert summaries == [rows[-1]]
    assert summaries[0]["train_runtime"] == 10.0
    assert summaries[0]["train_steps_per_second"] == pytest.approx(1.2)


def test_the_log_of_a_run_is_only_touched_by_the_first_process(args, tmp_path):
    path = tmp_path / "metrics.jsonl"
    log_of(path).on_log(args, state_at(5), TrainerControl(), logs={"loss": 1.0})
    log_of(path).on_train_begin(args, state_at(0, first=False), TrainerControl())
    assert len(files.read_json_lines(path)) == 1


def test_a_gradient_norm_that_overflowed_does_not_make_the_log_unreadable(args, tmp_path):
    """Half precision skips such steps and goes on; a resumed run reads the log again."""
    path = tmp_path / "metrics.jsonl"
    log = log_of(path)
    log.on_log(args, state_at(1), TrainerControl(), logs={"loss": 1.0, "grad_norm": math.inf})
    log.on_log(args, state_at(2), TrainerControl(), logs={"loss": 1.0, "grad_norm": math.nan})
    log.on_train_begin(args, state_at(2), TrainerControl())
    assert [row["grad_norm"] for row in files.read_json_lines(path)] == [None, None]


# ---- progress


@pytest.fixture
def terminal(monkeypatch):
    monkeypatch.setenv("TTY_COMPATIBLE", "1")
    monkeypatch.setenv("COLUMNS", "80")


def shown_on(stderr):
    return " ".join(re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", stderr).split())


def test_the_bar_shows_steps_stage_loss_and_accuracy_on_stderr_alone(args, capsys, terminal):
    bar = ProgressBar(describe, STEPS, "hops coconut")
    bar.on_train_begin(args, state_at(0, max_steps=12), TrainerControl())
    for number in range(1, 8):
        bar.on_step_end(args, state_at(number, max_steps=12), TrainerControl())
    bar.on_log(args, state_at(7, max_steps=12), TrainerControl(), logs={"loss": 0.12349, "grad_norm": 9.0})
    bar.on_log(args, state_at(7, max_steps=12), TrainerControl(), logs={"eval_accuracy": 0.5})
    bar.on_train_end(args, state_at(7, max_steps=12), TrainerControl())
    captured = capsys.readouterr()
    assert captured.out == ""
    shown = shown_on(captured.err)
    assert "hops coconut" in shown
    assert "7/12" in shown
    assert "unspoken:" not in shown
    assert bar.shown == {"epoch": "2", "stage": "1", "loss": "0.123", "accuracy": "0.500"}


def test_on_a_narrow_terminal_the_bar_gives_way_and_not_the_numbers(args, capsys, terminal):
    bar = ProgressBar(describe, STEPS, "hops coconut")
    bar.on_train_begin(args, state_at(1032, max_steps=12000), TrainerControl())
    logs = {"loss": 0.12349, "eval_accuracy": 0.5}
    bar.on_log(args, state_at(1032, max_steps=12000), TrainerControl(), logs=logs)
    bar.close()
    assert "1032/12000 -:--:-- epoch 343 stage 171 loss" in shown_on(capsys.readouterr().err)


def test_without_a_terminal_there_is_a_line_an_epoch_with_what_its_validation_found(args, capsys):
    bar, control = ProgressBar(describe, STEPS, "hops coconut"), TrainerControl()
    bar.on_train_begin(args, state_at(3, max_steps=12), control)  # resumed
    bar.on_epoch_begin(args, state_at(3, max_steps=12), control)
    for number in (4, 5, 6):
        bar.on_step_end(args, state_at(number, max_steps=12), control)
        bar.on_log(args, state_at(number, max_steps=12), control, logs={"loss": number / 10})
    bar.on_log(args, state_at(6, max_steps=12), control, logs={"eval_accuracy": 0.5})
    bar.on_epoch_begin(args, state_at(6, max_steps=12), control)
    bar.on_step_end(args, state_at(7, max_steps=12), control)
    bar.on_train_end(args, state_at(7, max_steps=12), control)
    assert capsys.readouterr().err.splitlines() == [
        "unspoken: hops coconut: step 6/12, epoch 1, stage 0, loss 0.600, accuracy 0.500",
        "unspoken: hops coconut: step 7/12, epoch 2, stage 1, loss 0.600, accuracy 0.500",
    ]


def test_a_resumed_bar_begins_where_the_run_was(args, capsys, terminal):
    bar = ProgressBar(describe, STEPS, "run")
    bar.on_train_begin(args, state_at(5, max_steps=12), TrainerControl())
    bar.close()
    assert "5/12" in capsys.readouterr().err


def test_other_processes_have_no_bar_and_closing_twice_is_no_error(args, capsys):
    bar = ProgressBar(describe, STEPS, "run")
    state = state_at(1, first=False)
    bar.on_train_begin(args, state, TrainerControl())
    bar.on_step_end(args, state, TrainerControl())
    bar.on_log(args, state, TrainerControl(), logs={"loss": 1.0})
    bar.on_train_end(args, state, TrainerControl())
    bar.close()
    bar.close()
    assert capsys.readouterr().err == ""
