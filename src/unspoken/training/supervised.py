"""`unspoken train`: from a recipe to a run directory, once through the curriculum. Read it from top to bottom."""

import logging
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from random import Random
from typing import Any, TypeAlias

import torch
from transformers import AutoModelForCausalLM, PreTrainedTokenizerBase, TrainerState, TrainingArguments
from transformers.integrations import get_available_reporting_integrations, get_reporting_integration_callbacks
from transformers.trainer_callback import PrinterCallback, ProgressCallback

from unspoken import files
from unspoken.config import EmbeddingHeadsSettings, TrainSettings
from unspoken.data.collate import collate
from unspoken.data.loader import Batches, StagedDataset
from unspoken.data.tokenizer import thought_tokens
from unspoken.device import rank, seed_everything, shares_parameters, world_size
from unspoken.errors import CheckpointError, RecipeError
from unspoken.methods import Method
from unspoken.model import LatentForCausalLM
from unspoken.prepare import (
    Rows,
    build_model,
    build_tokenizer,
    longest,
    read_examples,
    tokenize_rows,
    write_chat_template,
)
from unspoken.recipe import Recipe
from unspoken.recipe.batching import Batching, split_batch
from unspoken.records import Batch, StagedExample, ThoughtTokens, TokenizedExample
from unspoken.run_directory import CHECKPOINTS, METRICS, save_model
from unspoken.training.begin import SCHEDULERS, begin, freeze_decoder, refuse_rows_without_next_image, with_adapters
from unspoken.training.callbacks import Guard, MetricsLog, ProgressBar, Stages, Stop, Validation
from unspoken.training.checkpoint import stopped
from unspoken.training.health import HealthWarnings, warn
from unspoken.training.signals import StopRequest, stop_requests
from unspoken.training.trainer import SupervisedTrainer
from unspoken.training.validation import validate

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, eq=False)
class Prepared:
    """What is known before the first step, for trainers that ask for more than batches.

    Attributes:
        recipe: How to train.
        model: What is trained, without what may be wrapped around it.
        tokenizer: Its own.
        rows: The training rows.
        validation: The validation rows.
        epoch_of: Epoch of an optimizer step, the first of which is 1.
        stage_of: Stage of an epoch.
    """

    recipe: Recipe
    model: LatentForCausalLM
    tokenizer: PreTrainedTokenizerBase
    rows: Rows
    validation: Rows
    epoch_of: Callable[[int], int]
    stage_of: Callable[[int], int]


MakeTrainer: TypeAlias = Callable[..., SupervisedTrainer]
"""From what is `Prepared` and the arguments of a trainer, by name, to a trainer."""


def plain(prepared: Prepared, **kwargs: Any) -> SupervisedTrainer:
    """The trainer of the supervised loss alone."""
    return SupervisedTrainer(**kwargs)


def train(recipe: Recipe, out: Path | str, *, resume: bool = False, make_trainer: MakeTrainer = plain) -> Path:
    """See `unspoken.training.train.train`."""
    refuse_fp16_without_a_gpu(recipe.train)
    refuse_absent_tracker(recipe.train.report_to)
    refuse_rows_apart(recipe.model.embedding_heads)
    out = Path(out)
    with files.locked(out) if rank() == 0 else nullcontext(), stop_requests() as request:
        return _train(recipe, out, resume, request, make_trainer)


def refuse_fp16_without_a_gpu(settings: TrainSettings) -> None:
    """The library would train in fp32 without a word.

    Raises:
        RecipeError: The precision is fp16 and there is no GPU.
    """
    if settings.precision == "fp16" and not torch.accelerator.is_available():
        raise RecipeError("train.precision", ["fp16 needs a GPU, and there is none; set bf16 or fp32"])


def refuse_absent_tracker(name: str) -> None:
    """The library would only say so when everything is loaded and the run is written down.

    Raises:
        RecipeError: There is no such experiment tracker, or it is not installed.
    """
    try:
        trackers = get_reporting_integration_callbacks(name)
        if name not in ("all", *get_available_reporting_integrations()):
            for tracker in trackers:
                tracker()  # says how to install it
    except (ValueError, ImportError, RuntimeError) as error:
        raise RecipeError("train.report_to", [f"{name!r}: {error} Or set none"]) from error


def refuse_rows_apart(heads: EmbeddingHeadsSettings | None) -> None:
    """A loss that compares the rows of a step would compare fewer of them in each of several processes.

    Raises:
        RecipeError: There is such a loss, and there are several processes.
    """
    if heads is not None and heads.compares_rows and world_size() > 1:
        text = f"info_nce compares all rows of a step, and {world_size()} processes see a part each"
        raise RecipeError("model.embedding_heads", [f"{text}; start one process, or choose cosine"])


def _train(recipe: Recipe, out: Path, resume: bool, request: StopRequest, make_trainer: MakeTrainer = plain) -> Path:
    settings = recipe.train
    examples, ledger = read_examples(recipe.task, "train")
    held_out = read_examples(recipe.task, "validation")  # a mistake in it is found before a model is loaded
    tokenizer = build_tokenizer(recipe, examples)
    seed_everything(settings.seed)
    model = build_model(recipe, tokenizer)
    rows = tokenize_rows(recipe, examples, ledger, tokenizer, model)
    validation = tokenize_rows(recipe, *held_out, tokenizer, model)
    if recipe.model.embedding_heads is not None:
        refuse_rows_without_next_image(rows, "training")
        refuse_rows_without_next_image(validation, "validation")
    checkpoint = begin(recipe, out, resume, rows, validation, tokenizer)
    if not recipe.model.train_decoder:
        freeze_decoder(model)
    trainable = with_adapters(model, recipe.model.lora, _learning(model)) if recipe.model.lora else model

    dataset = StagedDataset(rows.tokenized, layout_of(recipe, tokenizer), settings.seed)
    batching = split_batch(settings, world_size())
    parts = batching.processes * batching.accumulation
    batches = Batches(dataset, [longest(row) for row in rows.tokenized], settings.batch_size, parts, settings.seed)
    steps_per_epoch = len(batches) // parts

    def stage_of(epoch: int) -> int:
        return recipe.method.stage(settings.first_epoch + epoch)

    def describe(epoch: int) -> dict[str, Any]:
        return {"epoch": settings.first_epoch + epoch, "stage": stage_of(epoch)}

    guard = Guard()
    bar = ProgressBar(describe, steps_per_epoch, f"{recipe.task.name} {recipe.method.name}")
    trainer: SupervisedTrainer = make_trainer(
        Prepared(recipe, model, tokenizer, rows, validation, lambda step: _epoch_of(step, steps_per_epoch), stage_of),
        run=out,
        model=trainable,
        processing_class=tokenizer,
        args=arguments(recipe, out, batching, ddp_find_unused_parameters=may_go_unused(model)),
        batches=batches,
        collator=_collator(recipe, tokenizer),
        validate=lambda: validate(
            recipe, model, tokenizer, validation, stage_of(_epoch_of(trainer.state.global_step, steps_per_epoch))
        ),
        keep_checkpoints=settings.keep_checkpoints,
        guard=guard,
        callbacks=[
            Stages(stage_of, steps_per_epoch, settings.reset_optimizer),
            Validation(settings.validate_every, steps_per_epoch, save_last=settings.save != "improvement"),
            guard,
            Stop(request),
            MetricsLog(out / METRICS, describe, steps_per_epoch),
            HealthWarnings(
                lambda step: stage_of(_epoch_of(step, steps_per_epoch)),
                model.model.thought_source.reads_states,
                warn(out / METRICS, lambda step: describe(_epoch_of(step, steps_per_epoch))),
            ),
            bar,
        ],
    )
    for printer in (PrinterCallback, ProgressCallback):
        trainer.remove_callback(printer)
    try:
        trainer.train(resume_from_checkpoint=str(checkpoint) if checkpoint else None)
    finally:
        bar.close()
    if request.signal:
        raise stopped(out, request)
    refuse_unfinished(trainer.state, out)
    if trainer.is_world_process_zero():
        _finish(recipe, out, trainer, model, tokenizer, stage_of(_epoch_of(trainer.state.global_step, steps_per_epoch)))
    return out


def refuse_unfinished(state: TrainerState, run: Path) -> None:
    """A run that something else cut short is not finished, and must not look as if it were.

    Raises:
        CheckpointError: Steps are left to do.
    """
    if state.global_step < state.max_steps:
        raise CheckpointError(
            f"{run}: training ended after step {state.global_step} of {state.max_steps}, and no signal was the reason; "
            "remove what ends it early from train.trainer, and continue with --resume"
        )


def _learning(model: LatentForCausalLM) -> list[str]:
    """The parts beside the decoder that have something to learn."""
    parts = {
        "thought_source": model.model.thought_source,
        "image_slots": model.model.image_slots,
        "embedding_heads": model.embedding_heads,
    }
    return [name for name, part in parts.items() if part is not None and list(part.parameters())]


def may_go_unused(model: LatentForCausalLM) -> bool:
    """Whether something that learns may rest in a step: a source without thoughts, layers of an encoder none reads."""
    parts = [part for part in (model.model.thought_source, model.model.image_slots) if part is not None]
    return any(parameter.requires_grad for part in parts for parameter in part.parameters())


def layout_of(recipe: Recipe, tokenizer: PreTrainedTokenizerBase) -> Any:
    """From a row, an epoch of this run and chance to what is read and learned; other processes can be told of it."""
    return partial(
        _layout, method=recipe.method, tokens=thought_tokens(tokenizer), first_epoch=recipe.train.first_epoch
    )


def _layout(
    row: TokenizedExample, epoch: int, rng: Random, *, method: Method, tokens: ThoughtTokens, first_epoch: int
) -> StagedExample:
    return method.layout(row, method.stage(first_epoch + epoch), tokens, rng)


def _collator(recipe: Recipe, tokenizer: PreTrainedTokenizerBase) -> Any:
    # every process must then run as many passes as the others
    columns = recipe.method.most_thoughts(recipe.method.final_stage) if shares_parameters() else 0
    latent = thought_tokens(tokenizer).latent
    return partial(_collate, pad_id=tokenizer.pad_token_id, latent_id=latent, thought_columns=columns)


def _collate(rows: list[StagedExample], **kwargs: Any) -> Batch:
    return collate(rows, **kwargs)


def arguments(recipe: Recipe, out: Path, batching: Batching, best: str = "accuracy", **more: Any) -> TrainingArguments:
    """What the library is told of a recipe.

    Args:
        recipe: The recipe; what `train.trainer` holds of it is told last.
        out: The run directory.
        batching: How a step is cut.
        best: The validation figure by which the best epoch is chosen.
        **more: Fields that depend on the model.
    """
    settings = recipe.train
    save = {"epoch": "epoch", "improvement": "best", "end": "no"}[settings.save]
    ours: dict[str, Any] = {
        "output_dir": str(out / CHECKPOINTS),
        "num_train_epochs": settings.epochs - settings.first_epoch,
        "per_device_train_batch_size": batching.micro,
        "gradient_accumulation_steps": batching.accumulation,
        "learning_rate": settings.learning_rate,
        "lr_scheduler_type": SCHEDULERS[settings.lr_schedule],
        "warmup_steps": settings.warmup_steps,
        "weight_decay": settings.weight_decay,
        "adam_beta1": settings.betas[0],
        "adam_beta2": settings.betas[1],
        "max_grad_norm": settings.max_grad_norm,
        "seed": settings.seed,
        "data_seed": settings.seed,
        "bf16": settings.precision == "bf16",
        "fp16": settings.precision == "fp16",
        "logging_steps": settings.log_every,
        "logging_nan_inf_filter": False,
        "save_strategy": save,
        "eval_strategy": "no",
        "metric_for_best_model": best,
        "greater_is_better": True,
        "dataloader_num_workers": settings.workers,
        "use_cpu": not torch.accelerator.is_available(),  # without this, processes on a CPU would not find each other
        "remove_unused_columns": False,
        "report_to": settings.report_to,
        "disable_tqdm": True,
        **more,
    }
    return on_one_device(TrainingArguments(**{**ours, **settings.trainer}))


def on_one_device(arguments: TrainingArguments) -> TrainingArguments:
    """One process trains on one device: on all it sees, the library would cut batches in a way that loses the outputs.

    Args:
        arguments: Told so, in place.
    """
    if arguments.n_gpu > 1:
        logger.warning(
            "%d GPUs are here, and one process trains on the first of them; start it with torchrun "
            "--nproc-per-node=%d to use all",
            arguments.n_gpu,
            arguments.n_gpu,
        )
        arguments._n_gpu = 1
    return arguments


def _epoch_of(step: int, steps_per_epoch: int) -> int:
    """The epoch of a step, both counted as the library does: the first step is 1, the first epoch 0."""
    return max(step - 1, 0) // steps_per_epoch


def _finish(
    recipe: Recipe,
    out: Path,
    trainer: SupervisedTrainer,
    model: LatentForCausalLM,
    tokenizer: PreTrainedTokenizerBase,
    stage: int,
) -> None:
    """Leave the best model of the last stage in the run directory; without its checkpoint, the last one."""
    best, last = trainer.state.best_global_step, trainer.state.global_step
    checkpoint = out / CHECKPOINTS / f"checkpoint-{best}"
    chosen = best if best is not None and best != last and checkpoint.is_dir() else last
    if chosen != last:
        files.verify(checkpoint)
    if recipe.model.lora:
        if chosen != last:
            trainer.model.load_adapter(checkpoint, trainer.model.active_adapter, is_trainable=False)
        model = trainer.model.merge_and_unload()
    elif chosen != last:
        model = AutoModelForCausalLM.from_pretrained(checkpoint)
    summary = {
        "stage": stage,
        "step": chosen,
        "last_step": last,
        "best_validation_accuracy": trainer.state.best_metric,
        "num_parameters": sum(parameter.numel() for parameter in model.parameters()),
    }
    write_chat_template(tokenizer, recipe, stage)
    save_model(out, model, tokenizer, summary)
