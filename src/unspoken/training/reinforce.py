"""Learning from rewards, from a recipe to a run directory. Read it from top to bottom.

An update draws `method.trajectories` for each of `train.batch_size` questions and learns from them (`learner.py`); an
epoch asks every question once. A resumed run draws what an uninterrupted one would.
"""

from collections.abc import Mapping
from contextlib import closing, nullcontext
from dataclasses import asdict, dataclass
from io import BytesIO
from pathlib import Path
from time import perf_counter

import numpy as np
import torch
from safetensors.torch import save
from transformers import PreTrainedTokenizerBase

from unspoken import files
from unspoken.data.tokenizer import thought_tokens
from unspoken.device import (
    any_rank,
    barrier,
    best_device,
    join_processes,
    rank,
    seed_everything,
    shares_parameters,
    world_size,
)
from unspoken.errors import RecipeError
from unspoken.methods.reinforcement import Reinforcement
from unspoken.model import LatentForCausalLM
from unspoken.prepare import Rows, build_model, build_tokenizer, read_examples, tokenize_rows
from unspoken.progress import progress_bar, progress_line
from unspoken.recipe import Recipe
from unspoken.run_directory import CHECKPOINTS, METRICS, save_model
from unspoken.training.begin import begin, with_adapters
from unspoken.training.callbacks import RUNTIME, still_true, sum_up
from unspoken.training.checkpoint import PREFIX, rotate, step_of, stopped
from unspoken.training.learner import Learner
from unspoken.training.signals import StopRequest, stop_requests
from unspoken.training.validation import validate

TRAINED, OPTIMIZER, STATE = "trained.safetensors", "optimizer.pt", "state.json"


def train(recipe: Recipe, out: Path | str, *, resume: bool = False) -> Path:
    """See `unspoken.training.train.train`."""
    if recipe.train.precision == "fp16":
        raise RecipeError("train.precision", ["fp16 would need scaled losses, which rewards do not go with; set bf16"])
    if shares_parameters():
        raise RecipeError(
            "ACCELERATE_USE_FSDP", ["learning from rewards needs whole parameters in each process; start without FSDP"]
        )
    out = Path(out)
    join_processes()
    with files.locked(out) if rank() == 0 else nullcontext(), stop_requests() as request:
        return _train(recipe, out, resume, request)


def _train(recipe: Recipe, out: Path, resume: bool, request: StopRequest) -> Path:
    method, settings = recipe.method, recipe.train
    assert isinstance(method, Reinforcement), "other methods have other loops"
    examples, ledger = read_examples(recipe.task, "train")
    held_out = read_examples(recipe.task, "validation")  # a mistake in it is found before a model is loaded
    tokenizer = build_tokenizer(recipe, examples)
    seed_everything(settings.seed)
    model = build_model(recipe, tokenizer)
    rows = tokenize_rows(recipe, examples, ledger, tokenizer, model)
    validation = tokenize_rows(recipe, *held_out, tokenizer, model)
    checkpoint = begin(recipe, out, resume, rows, validation, tokenizer)
    wrapped = with_adapters(model, recipe.model.lora) if recipe.model.lora else None
    model.to(best_device()).eval()

    learner = Learner(recipe, model, updates=settings.epochs * _updates_per_epoch(recipe, rows))
    state = _State()
    if checkpoint:
        state = _load(checkpoint, learner)
    tokens = thought_tokens(tokenizer)
    prompts = [method.prompt(row, 0, tokens) for row in rows.tokenized]
    if rank() == 0 and (out / METRICS).is_file():
        rows_before = files.read_json_lines(out / METRICS, torn=True)
        files.write_json_lines(out / METRICS, still_true(rows_before, state.done))
    started, title = perf_counter(), f"{recipe.task.name} {method.name}"
    with closing(learner), progress_bar("updates") as advance:
        while state.done < learner.updates:
            epoch, began = state.done // _updates_per_epoch(recipe, rows), perf_counter()
            chosen = _questions(recipe, rows, state.done)
            figures = learner.update(state.done, rows, [prompts[index] for index in chosen], chosen, tokenizer)
            state.done += 1
            advance(title, state.done, learner.updates)
            if state.done % settings.log_every == 0 or state.done == learner.updates:
                _log(out, state.done, epoch, figures | {"seconds": perf_counter() - began})
            ends = state.done % _updates_per_epoch(recipe, rows) == 0
            last = state.done == learner.updates
            if ends and ((epoch + 1) % settings.validate_every == 0 or last):
                _validate(recipe, out, model, tokenizer, validation, state, epoch)
            if ends:
                _tell(title, state, learner.updates, epoch, figures["reward"])
            stops = any_rank(bool(request.signal), model.device)
            improved = ends and state.best_step == state.done
            if stops or {"epoch": ends, "improvement": improved, "end": last}[settings.save]:
                _save(out, learner, state, settings.keep_checkpoints)
            if stops:
                _sum_up(out, recipe, rows, state, perf_counter() - started)
                raise stopped(out, request)
    if rank() == 0:
        step = _choose(out, learner, state)
        _sum_up(out, recipe, rows, state, perf_counter() - started)
        _finish(out, step, state, wrapped.merge_and_unload() if wrapped is not None else model, tokenizer)
    barrier()
    return out


@dataclass(slots=True)
class _State:
    """How far a run is.

    Attributes:
        done: Updates.
        best_step: Updates after which validation was best; None before the first one.
        best_accuracy: What it was.
    """

    done: int = 0
    best_step: int | None = None
    best_accuracy: float | None = None


def _updates_per_epoch(recipe: Recipe, rows: Rows) -> int:
    """Updates that ask every question once; the last one may ask fewer."""
    return -(-len(rows.examples) // recipe.train.batch_size)


def _questions(recipe: Recipe, rows: Rows, done: int) -> list[int]:
    """The rows that this process asks about in an update."""
    epoch, place = divmod(done, _updates_per_epoch(recipe, rows))
    order = np.random.default_rng((recipe.train.seed, epoch)).permutation(len(rows.examples))
    size = recipe.train.batch_size
    share: list[int] = order[place * size : (place + 1) * size][rank() :: world_size()].tolist()
    return share or [int(order[0])]


def _log(out: Path, step: int, epoch: int, figures: Mapping[str, float]) -> None:
    if rank() == 0:
        files.append_json_line(out / METRICS, {"step": step, **figures, "epoch": epoch, "stage": 0})


def _tell(title: str, state: _State, updates: int, epoch: int, reward: float) -> None:
    """A line about an epoch, where no bar is drawn."""
    figures = {"epoch": str(epoch), "reward": f"{reward:.3f}"}
    if state.best_accuracy is not None:
        figures["best accuracy"] = f"{state.best_accuracy:.3f}"
    progress_line(f"{title}: update", state.done, updates, figures)


def _sum_up(out: Path, recipe: Recipe, rows: Rows, state: _State, seconds: float) -> None:
    """End the log of this part of the run."""
    if rank() == 0:
        epoch = max(state.done - 1, 0) // _updates_per_epoch(recipe, rows)
        sum_up(out / METRICS, {"step": state.done, RUNTIME: seconds, "epoch": epoch, "stage": 0})


def _validate(
    recipe: Recipe,
    out: Path,
    model: LatentForCausalLM,
    tokenizer: PreTrainedTokenizerBase,
    rows: Rows,
    state: _State,
    epoch: int,
) -> None:
    """Answer the validation rows without chance, and note the best update so far."""
    figures = validate(recipe, model, tokenizer, rows, 0)
    if state.best_accuracy is None or figures["accuracy"] > state.best_accuracy:
        state.best_step, state.best_accuracy = state.done, figures["accuracy"]
    _log(out, state.done, epoch, {f"eval_{name}": value for name, value in figures.items()})


def _save(out: Path, learner: Learner, state: _State, keep: int | None) -> None:
    """A sealed checkpoint of what is trained, on the first process."""
    if rank() == 0:
        partial = out / CHECKPOINTS / ".partial"
        files.remove(partial)
        partial.mkdir(parents=True)
        files.write_bytes(partial / TRAINED, save(learner.tensors()))
        buffer = BytesIO()
        torch.save({"optimizer": learner.optimizer.state_dict(), "scheduler": learner.scheduler.state_dict()}, buffer)
        files.write_bytes(partial / OPTIMIZER, buffer.getvalue())
        files.write_json(partial / STATE, asdict(state))
        files.seal(partial)
        files.publish(partial, out / CHECKPOINTS / f"{PREFIX}{state.done}")
        if keep is not None:
            rotate(out, keep, state.best_step)
    barrier()


def _load(checkpoint: Path, learner: Learner) -> _State:
    """Put a checkpoint back.

    Raises:
        CheckpointError: It does not fit.
    """
    learner.put_back(checkpoint / TRAINED)
    states = torch.load(checkpoint / OPTIMIZER, map_location=learner.model.device, weights_only=True)
    learner.optimizer.load_state_dict(states["optimizer"])
    learner.scheduler.load_state_dict(states["scheduler"])
    return _State(**files.read_json(checkpoint / STATE))


def _choose(out: Path, learner: Learner, state: _State) -> int:
    """Go back to the best update if its checkpoint is there; the update that was chosen."""
    checkpoint = out / CHECKPOINTS / f"{PREFIX}{state.best_step}"
    if state.best_step in (None, state.done) or not checkpoint.is_dir():
        return state.done
    files.verify(checkpoint)
    learner.put_back(checkpoint / TRAINED)
    return step_of(checkpoint)


def _finish(out: Path, step: int, state: _State, model: LatentForCausalLM, tokenizer: PreTrainedTokenizerBase) -> None:
    """Leave the model in the run directory."""
    summary = {
        "stage": 0,
        "step": step,
        "last_step": state.done,
        "best_validation_accuracy": state.best_accuracy,
        "num_parameters": sum(parameter.numel() for parameter in model.parameters()),
    }
    save_model(out, model, tokenizer, summary)
