"""What happens between the steps of a run: stages, guards, stopping, logs, progress."""

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import torch
from rich.console import Console
from rich.progress import Progress, TaskID, TextColumn
from torch import Tensor
from torch.distributed.tensor import DTensor
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from unspoken import files
from unspoken.device import any_rank
from unspoken.errors import NonFiniteError
from unspoken.progress import count_columns, progress_line, width_of_count
from unspoken.training.signals import StopRequest

RUNTIME = "train_runtime"
"""In the last line of a run: its seconds, over all its parts."""


class Stages(TrainerCallback):
    """Restarts the optimizer and the search for the best epoch where the recipe says so.

    Args:
        stage_of: Stage of an epoch of this run.
        steps_per_epoch: Optimizer steps an epoch.
        reset: When Adam forgets its moments.
    """

    def __init__(
        self, stage_of: Callable[[int], int], steps_per_epoch: int, reset: Literal["never", "stage", "epoch"]
    ) -> None:
        self.stage_of, self.steps_per_epoch, self.reset = stage_of, steps_per_epoch, reset

    def on_epoch_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """A resumed epoch has begun before: it keeps what it had."""
        epoch = state.global_step // self.steps_per_epoch
        if state.global_step % self.steps_per_epoch or epoch == 0:
            return
        new_stage = self.stage_of(epoch) != self.stage_of(epoch - 1)
        if new_stage:
            # accuracies of different stages do not compare: the best epoch is sought anew
            state.best_metric = state.best_global_step = None
        if self.reset == "epoch" or (self.reset == "stage" and new_stage):
            optimizer = kwargs["optimizer"]
            getattr(optimizer, "optimizer", optimizer).state = defaultdict(dict)


class Validation(TrainerCallback):
    """Asks for a validation every few epochs and after the last one, and for a last checkpoint.

    Args:
        every: Epochs between validations.
        steps_per_epoch: Optimizer steps an epoch.
        save_last: Whether the end of training is a checkpoint even if nothing improved.
    """

    def __init__(self, every: int, steps_per_epoch: int, save_last: bool) -> None:
        self.every, self.steps_per_epoch, self.save_last = every, steps_per_epoch, save_last

    def on_epoch_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """See the class."""
        if state.global_step % self.steps_per_epoch:
            return  # a signal cut the epoch short
        last = state.global_step >= state.max_steps
        control.should_evaluate = last or (state.global_step // self.steps_per_epoch) % self.every == 0
        told_to_stop = control.should_evaluate and control.should_training_stop
        # the checkpoint of a signal in this very step was written before: it knows nothing of this validation
        if told_to_stop or (last and self.save_last):
            control.should_save = True


class Guard(TrainerCallback):
    """Stops before anything that is not finite reaches the optimizer: one look a step, for a GPU waits for each.

    Attributes:
        losses: Of the micro-batches of the step so far.
    """

    def __init__(self) -> None:
        self.losses: list[Tensor] = []

    def watch(self, loss: Tensor) -> None:
        """Look at the loss of a micro-batch, too, before the next step."""
        self.losses.append(loss)

    def on_pre_optimizer_step(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Every rank sees the same reduced gradient, so every rank stops.

        Raises:
            NonFiniteError: A loss or the gradient holds NaN or infinity.
        """
        losses, self.losses = self.losses, []
        gradients = [parameter.grad for parameter in kwargs["model"].parameters() if parameter.grad is not None]
        looked_at = [torch.stack(losses)] if losses else []
        if not args.fp16:  # with it the gradient scaler skips such steps itself and lowers its scale
            looked_at.append(torch.stack(torch._foreach_norm(gradients)))
        if looked_at and not torch.stack([_is_finite(each) for each in looked_at]).all():
            raise NonFiniteError(_what_is_not_finite(losses, state.global_step + 1))


def _is_finite(numbers: Tensor) -> Tensor:
    """Whether all are, on their device; of numbers that processes share (FSDP), on each of these."""
    answer = torch.isfinite(numbers).all()
    return answer.full_tensor() if isinstance(answer, DTensor) else answer


def _what_is_not_finite(losses: Sequence[Tensor], step: int) -> str:
    """A sentence about the loss, if it is that, or about the gradient."""
    wrong = [float(loss) for loss in losses if not torch.isfinite(loss)]
    what = f"the loss of step {step} is {wrong[0]}" if wrong else f"the gradient of step {step} is not finite"
    return f"{what}; nothing was updated"


class Stop(TrainerCallback):
    """Saves and stops after the step in which a signal came.

    Args:
        request: Set by the signal handler.
    """

    def __init__(self, request: StopRequest) -> None:
        self.request = request

    def on_step_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        """See the class."""
        if any_rank(bool(self.request.signal), args.device):
            control.should_save = control.should_training_stop = True


class MetricsLog(TrainerCallback):
    """Appends every logged number to `metrics.jsonl`; a resumed run first forgets the steps it will do again.

    The line in which the library sums up a part of a run is kept until that of the next part takes its place, with the
    time of both: in the end there is one.

    Args:
        path: The file.
        describe: Stage and the like at an epoch, for every line.
    """

    def __init__(self, path: Path, describe: Callable[[int], dict[str, Any]], steps_per_epoch: int) -> None:
        self.path, self.describe, self.steps_per_epoch = path, describe, steps_per_epoch

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """See the class."""
        state.logging_steps = args.logging_steps  # the library takes those of the checkpoint
        if state.is_world_process_zero and self.path.is_file():
            rows = files.read_json_lines(self.path, torn=True)
            files.write_json_lines(self.path, still_true(rows, state.global_step))

    def on_log(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        logs: dict[str, Any] | None = None,
        **kwargs: Any,
    ) -> None:
        """See the class."""
        if state.is_world_process_zero and logs:
            epoch = max(state.global_step - 1, 0) // self.steps_per_epoch
            line = {"step": state.global_step, **logs, **self.describe(epoch)}
            if RUNTIME in line:
                sum_up(self.path, line)
            else:
                files.append_json_line(self.path, line)


def still_true(rows: Sequence[dict[str, Any]], done: int) -> list[dict[str, Any]]:
    """The lines that a run which goes on after so many steps keeps; the time that was spent was spent anyway."""
    return [row for row in rows if row["step"] <= done or RUNTIME in row]


def sum_up(path: Path, line: Mapping[str, Any]) -> None:
    """End the log of a part of a run with its summary, which takes over the time of the parts before it.

    Args:
        path: `metrics.jsonl`.
        line: The summary, with the seconds of this part.
    """
    rows = files.read_json_lines(path) if path.is_file() else []
    seconds = line[RUNTIME] + sum(row.get(RUNTIME, 0.0) for row in rows)
    # the library counts the steps of all parts, and divides by the seconds of the last one
    slower = line[RUNTIME] / seconds if seconds else 1.0
    rates = {key: value * slower for key, value in line.items() if key.endswith("_per_second")}
    files.write_json_lines(path, [*(row for row in rows if RUNTIME not in row), {**line, **rates, RUNTIME: seconds}])


class ProgressBar(TrainerCallback):
    """On stderr, how far, at which stage, with which loss and accuracy: a bar, or without a terminal a line an epoch.

    Args:
        describe: As in `MetricsLog`.
        steps_per_epoch: Optimizer steps an epoch.
        title: What is being trained.
    """

    def __init__(self, describe: Callable[[int], dict[str, Any]], steps_per_epoch: int, title: str) -> None:
        self.describe, self.steps_per_epoch, self.title = describe, steps_per_epoch, title
        self.shown: dict[str, str] = {}
        self.progress: Progress | None = None
        self.task = TaskID(0)
        self.told = 0

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Draw the bar."""
        self.told, console = state.global_step, Console(stderr=True)
        if not (state.is_world_process_zero and console.is_terminal):
            return
        columns = (TextColumn("{task.description}"), *count_columns(width_of_count(state.max_steps)))
        self.progress = Progress(*columns, TextColumn("{task.fields[shown]}"), console=console)
        self.task = self.progress.add_task(self.title, total=state.max_steps, completed=state.global_step, shown="")
        self.progress.start()

    def on_step_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        """Move the bar."""
        if self.progress:
            self.progress.update(self.task, completed=state.global_step)

    def on_log(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        logs: dict[str, Any] | None = None,
        **kwargs: Any,
    ) -> None:
        """Show the newest numbers."""
        if not logs:
            return
        self._describe(state)
        for key, name in (("loss", "loss"), ("eval_accuracy", "accuracy"), ("eval_recall_1", "R@1")):
            if key in logs:
                self.shown[name] = f"{logs[key]:.3f}"
        if self.progress:
            self.progress.update(self.task, shown=" ".join(f"{key} {value}" for key, value in self.shown.items()))

    def on_epoch_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Tell of the epoch before, which has been validated by now."""
        self._tell(state)

    def on_train_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Leave the last state on the screen."""
        self._tell(state)
        self.close()

    def _describe(self, state: TrainerState) -> None:
        epoch = max(state.global_step - 1, 0) // self.steps_per_epoch
        self.shown |= {key: str(value) for key, value in self.describe(epoch).items()}

    def _tell(self, state: TrainerState) -> None:
        """A line about the steps since the last one, if there are any."""
        if state.global_step > self.told and state.is_world_process_zero:
            self.told = state.global_step
            self._describe(state)
            progress_line(f"{self.title}: step", state.global_step, state.max_steps, self.shown)

    def close(self) -> None:
        """Give the terminal back, also after an error."""
        if self.progress:
            self.progress.stop()
            self.progress = None
