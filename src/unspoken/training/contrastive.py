"""Contrastive training: from pairs of image and caption to a CLIP. Read it from top to bottom.

Order of rows, checkpoints, signals and resuming are those of `unspoken.training.supervised`; the loss is CLIP's own,
over the pairs of a step, and validation is retrieval.
"""

from contextlib import nullcontext
from functools import partial
from math import log
from pathlib import Path
from typing import Any

import torch
from transformers import (
    CLIPModel,
    TrainerCallback,
    TrainerControl,
    TrainerState,
    TrainingArguments,
)
from transformers.trainer_callback import PrinterCallback, ProgressCallback

from unspoken import files
from unspoken.data.collate import collate
from unspoken.data.loader import Batches, StagedDataset
from unspoken.device import rank, seed_everything, world_size
from unspoken.errors import RecipeError
from unspoken.evaluation.retrieval import DIRECTIONS, measure
from unspoken.pairs import build_caption_tokenizer, build_clip, method_of, read_pairs
from unspoken.prepare import Rows, read_examples
from unspoken.recipe import Recipe
from unspoken.recipe.batching import split_batch
from unspoken.records import StagedExample
from unspoken.run_directory import CHECKPOINTS, METRICS, save_model
from unspoken.training.begin import begin
from unspoken.training.callbacks import Guard, MetricsLog, ProgressBar, Stages, Stop, Validation
from unspoken.training.checkpoint import stopped
from unspoken.training.signals import StopRequest, stop_requests
from unspoken.training.supervised import (
    arguments,
    layout_of,
    refuse_absent_tracker,
    refuse_fp16_without_a_gpu,
    refuse_unfinished,
)
from unspoken.training.trainer import SealingTrainer
from unspoken.vision.clip import MAX_SCALE, Clip

BEST = "recall_1"
"""By which validation figure the best epoch is chosen: both directions' share of partners in the first place."""


def train(recipe: Recipe, out: Path | str, *, resume: bool = False) -> Path:
    """See `unspoken.training.train.train`."""
    refuse_fp16_without_a_gpu(recipe.train)
    refuse_absent_tracker(recipe.train.report_to)
    if world_size() > 1:
        text = f"the loss compares all pairs of a step, and {world_size()} processes see a part each; start one process"
        raise RecipeError("contrastive training", [text])
    out = Path(out)
    with files.locked(out) if rank() == 0 else nullcontext(), stop_requests() as request:
        return _train(recipe, out, resume, request)


def _train(recipe: Recipe, out: Path, resume: bool, request: StopRequest) -> Path:
    method, settings = method_of(recipe), recipe.train
    examples, ledger = read_examples(recipe.task, "train")
    pairs = method.pairs(examples)
    tokenizer = build_caption_tokenizer(recipe, pairs)
    seed_everything(settings.seed)
    clip = build_clip(recipe, tokenizer)
    rows = read_pairs(pairs, ledger, clip, recipe.task.image_root)
    held_out, held_out_ledger = read_examples(recipe.task, "validation")
    limit = settings.validation_rows or len(held_out)
    validation = read_pairs(method.pairs(held_out[:limit]), held_out_ledger, clip, recipe.task.image_root)
    checkpoint = begin(recipe, out, resume, rows, validation, tokenizer)

    dataset = StagedDataset(rows.tokenized, layout_of(recipe, tokenizer), settings.seed)
    # pairs of equal rank: captions of one length in a step would be told apart by less than those of a whole data set
    batches = Batches(dataset, [1] * len(rows.tokenized), settings.batch_size, 1, settings.seed)
    steps_per_epoch = len(batches)

    def describe(epoch: int) -> dict[str, Any]:
        return {"epoch": settings.first_epoch + epoch, "stage": 0}

    guard = Guard()
    bar = ProgressBar(describe, steps_per_epoch, f"{recipe.task.name} {method.name}")
    trainer = SealingTrainer(
        run=out,
        model=clip.model,
        processing_class=tokenizer,
        args=arguments(recipe, out, split_batch(settings, 1), best=BEST),
        batches=batches,
        collator=partial(_collate, pad_id=tokenizer.pad_token_id),
        validate=lambda: _validate(clip, validation, method.candidates),
        keep_checkpoints=settings.keep_checkpoints,
        guard=guard,
        callbacks=[
            Stages(method.stage, steps_per_epoch, settings.reset_optimizer),
            Validation(settings.validate_every, steps_per_epoch, save_last=settings.save != "improvement"),
            guard,
            ScaleBound(),
            Stop(request),
            MetricsLog(out / METRICS, describe, steps_per_epoch),
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
    _finish(out, trainer, clip)
    return out


class ScaleBound(TrainerCallback):
    """Keeps the learned temperature at 0.01 or above, as CLIP's authors do."""

    def on_optimizer_step(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """See the class."""
        with torch.no_grad():
            kwargs["model"].logit_scale.clamp_(max=log(MAX_SCALE))


def _collate(rows: list[StagedExample], *, pad_id: int) -> dict[str, Any]:
    """What `CLIPModel` takes; captions without thoughts are padded on the right."""
    batch = collate(rows, pad_id=pad_id)
    return {
        "input_ids": batch["input_ids"],
        "attention_mask": batch["attention_mask"],
        "pixel_values": batch["images"][:, 0],
        "return_loss": True,
    }


def _validate(clip: Clip, rows: Rows, candidates: int) -> dict[str, float]:
    """The figures of `retrieval` by flat names."""
    training = clip.model.training
    clip.model.eval()
    found = measure(clip, rows, candidates)
    clip.model.train(training)
    flat = {"recall_1": found["recall_1"], "chance_1": found["chance_1"], "n": found["n"]}
    for direction in DIRECTIONS:
        figures = found[direction]
        flat |= {f"{direction}_1": figures["recall_1"], f"{direction}_5": figures["recall_5"]}
        flat[f"{direction}_1_low"], flat[f"{direction}_1_high"] = figures["interval_1"]
    return flat


def _finish(out: Path, trainer: SealingTrainer, clip: Clip) -> None:
    """Leave the best CLIP in the run directory; without its checkpoint, the last one."""
    best, last = trainer.state.best_global_step, trainer.state.global_step
    checkpoint, model = out / CHECKPOINTS / f"checkpoint-{best}", clip.model
    chosen = best if best is not None and best != last and checkpoint.is_dir() else last
    if chosen != last:
        files.verify(checkpoint)
        model = CLIPModel.from_pretrained(checkpoint)
    summary = {
        "stage": 0,
        "step": chosen,
        "last_step": last,
        "best_validation_recall_1": trainer.state.best_metric,
        "num_parameters": sum(parameter.numel() for parameter in model.parameters()),
    }
    save_model(out, model, clip.tokenizer, summary, clip.processor)
