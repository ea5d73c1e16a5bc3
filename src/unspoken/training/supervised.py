"""`unspoken train`: from a recipe to a run directory, once through the curriculum. Read it from top to bottom."""

from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from random import Random
from typing import Any, TypeAlias

import torch
from transformers import AutoModelForCausalLM, PreTrainedTokenizerBase, TrainingArguments
from transformers.trainer_callback import PrinterCallback, ProgressCallback

from unspoken import files
from unspoken.config import TrainSettings
from unspoken.data.collate import collate
from unspoken.data.loader import Batches, StagedDataset
from unspoken.data.tokenizer import thought_tokens
from unspoken.device import rank, seed_everything, shares_parameters, world_size
from unspoken.errors import RecipeError
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
from unspoken.records import Batch, StagedExample, TokenizedExample
from unspoken.run_directory import CHECKPOINTS, METRICS, save_model
from unspoken.training.begin import SCHEDULERS, begin, freeze_decoder, refuse_rows_without_next_image, with_adapters
from unspoken.training.callbacks import Guard, MetricsLog, ProgressBar, Stages, Stop, Validation
from unspoken.training.health import HealthWarnings, warn
from unspoken.training.signals import Stopped, StopRequest, stop_requests
from unspoken.training.trainer import SupervisedTrainer
from unspoken.training.validation import validate


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

    dataset = StagedDataset(rows.tokenized, _layout(recipe, tokenizer), settings.seed)
    batching = split_batch(settings, world_size())
    parts = batching.processes * batching.accumulation
    batches = Batches(dataset, [longest(row) for row in rows.tokenized], settings.batch_size, parts, settings.seed)
    steps_per_epoch = len(batches) // parts

    def stage_of(epoch: int) -> int:
        return recipe.method.stage(settings.first_epoch + epoch)

    def describe(epoch: int) -> dict[str, Any]:
        return {"epoch": settings.first_epoch + epoch, "stage": stage_of(epoch)}

    bar = ProgressBar(describe, steps_per_epoch, f"{recipe.task.name} {recipe.method.name}")
    trainer: SupervisedTrainer = make_trainer(
        Prepared(recipe, model, tokenizer, rows, validation, lambda step: _epoch_of(step, steps_per_epoch), stage_of),
        run=out,
        model=trainable,
        processing_class=tokenizer,
        args=arguments(recipe, out, batching),
        batches=batches,
        collator=_collator(recipe, tokenizer),
        validate=lambda: validate(
            recipe, model, tokenizer, validation, stage_of(_epoch_of(trainer.state.global_step, steps_per_epoch))
        ),
        keep_checkpoints=settings.keep_checkpoints,
        callbacks=[
            Stages(stage_of, steps_per_epoch, settings.reset_optimizer),
            Validation(settings.validate_every, steps_per_epoch, save_last=settings.save != "improvement"),
            Guard(),
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
        raise Stopped(request.exit_code)
    if trainer.is_world_process_zero():
        _finish(recipe, out, trainer, model, tokenizer, stage_of(_epoch_of(trainer.state.global_step, steps_per_epoch)))
    return out


def _learning(model: LatentForCausalLM) -> list[str]:
    """The parts beside the decoder that have something to learn."""
    parts = {
        "thought_source": model.model.thought_source,
        "image_slots": model.model.image_slots,
        "embedding_heads": model.embedding_heads,
    }
    return [name for name, part in parts.items() if part is not None and list(part.parameters())]


def _layout(recipe: Recipe, tokenizer: PreTrainedTokenizerBase) -> Any:
    method, tokens, first = recipe.method, thought_tokens(tokenizer), recipe.train.first_epoch

    def layout(row: TokenizedExample, epoch: int, rng: Random) -> StagedExample:
        return method.layout(row, method.stage(first + epoch), tokens, rng)

    return layout


def _collator(recipe: Recipe, tokenizer: PreTrainedTokenizerBase) -> Any:
    # every process must then run as many passes as the others
    columns = recipe.method.most_thoughts(recipe.method.final_stage) if shares_parameters() else 0
    latent = thought_tokens(tokenizer).latent
    return partial(_collate, pad_id=tokenizer.pad_token_id, latent_id=latent, thought_columns=columns)


def _collate(rows: list[StagedExample], **kwargs: Any) -> Batch:
    return collate(rows, **kwargs)


def arguments(recipe: Recipe, out: Path, batching: Batching, best: str = "accuracy") -> TrainingArguments:
    """What the library is told of a recipe; `best` is the validation figure by which the best epoch is chosen."""
    settings = recipe.train
    save = {"epoch": "epoch", "improvement": "best", "end": "no"}[settings.save]
    return TrainingArguments(
        output_dir=str(out / CHECKPOINTS),
        num_train_epochs=settings.epochs - settings.first_epoch,
        per_device_train_batch_size=batching.micro,
        gradient_accumulation_steps=batching.accumulation,
        learning_rate=settings.learning_rate,
        lr_scheduler_type=SCHEDULERS[settings.lr_schedule],
        warmup_steps=settings.warmup_steps,
        weight_decay=settings.weight_decay,
        adam_beta1=settings.betas[0],
        adam_beta2=settings.betas[1],
        max_grad_norm=settings.max_grad_norm,
        seed=settings.seed,
        data_seed=settings.seed,
        bf16=settings.precision == "bf16",
        fp16=settings.precision == "fp16",
        logging_steps=settings.log_every,
        logging_nan_inf_filter=False,
        save_strategy=save,
        eval_strategy="no",
        metric_for_best_model=best,
        greater_is_better=True,
        dataloader_num_workers=settings.workers,
        ddp_find_unused_parameters=False,
        use_cpu=not torch.accelerator.is_available(),  # without this, processes on a CPU would not find each other
        remove_unused_columns=False,
        report_to=settings.report_to,
        disable_tqdm=True,
        **settings.trainer,
    )


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
