"""`unspoken plan`: everything a recipe decides, before anything is loaded.

    recipe -> rows of a sample, words for tokens -> every stage laid out -> table, batch, size, estimates, warnings

No weights are read and no model is built. The layouts are the method's own, so the table says what will be trained.
"""

import math
import os
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby
from random import Random
from statistics import mean
from typing import Any

from unspoken.config import TrainSettings
from unspoken.errors import RecipeError
from unspoken.estimate import Estimate, estimate, megabytes, minutes
from unspoken.methods import Method
from unspoken.recipe import Recipe, sparse
from unspoken.records import IGNORED, Example, StagedExample, ThoughtTokens
from unspoken.sample import SAMPLE_ROWS, SUBWORDS, num_special_words, vocabulary_of, word_tokens
from unspoken.shape import Shape, checkpoint_shape, new_shape, num_parameters
from unspoken.strict_yaml import to_yaml

_TOKENS = ThoughtTokens(latent=-1, start=-2, end=-3)


@dataclass(frozen=True, slots=True)
class Batching:
    """How an optimizer step is cut.

    Attributes:
        processes: Processes of this run.
        micro: Rows per forward pass of a process.
        accumulation: Forward passes of a process per step.
    """

    processes: int
    micro: int
    accumulation: int


@dataclass(frozen=True, slots=True)
class Stage:
    """Consecutive epochs of one stage.

    Attributes:
        first_epoch: Counted from 0.
        last_epoch: Inclusive.
        stage: The method's number of it.
        thoughts: Fewest and most thoughts of a row of the sample.
        written: What the longest row still learns to write.
        num_written: Mean words that a row learns to write.
        length: Mean positions of a row.
        learning_rates: At its first and its last step; None where the number of steps is not known.
        optimizer: What happens to the optimizer's state.
    """

    first_epoch: int
    last_epoch: int
    stage: int
    thoughts: tuple[int, int]
    written: str
    num_written: float
    length: float
    learning_rates: tuple[float, float] | None
    optimizer: str


@dataclass(frozen=True, slots=True)
class Plan:
    """What a recipe will do.

    Attributes:
        recipe: The recipe.
        batching: How a step is cut.
        rows: Training rows; None where the data is not given yet.
        steps_per_epoch: Optimizer steps of an epoch; None likewise.
        stages: The stage table, in order.
        num_parameters: Exact from scratch; None where the shape of a checkpoint is not known.
        vocabulary: Token embeddings; None likewise.
        estimate: Memory and time; None where rows or shape are not known.
        warnings: What may not be what was meant.
    """

    recipe: Recipe
    batching: Batching
    rows: int | None
    steps_per_epoch: int | None
    stages: tuple[Stage, ...]
    num_parameters: int | None
    vocabulary: int | None
    estimate: Estimate | None
    warnings: tuple[str, ...]


def plan(recipe: Recipe, processes: int | None = None) -> Plan:
    """What a recipe will do.

    Args:
        recipe: The recipe.
        processes: Processes of the run; default: those that `torchrun` announces, else 1.

    Raises:
        DataError: A data file that is given cannot be used.
        RecipeError: The batch cannot be cut into equal parts.
    """
    batching = split_batch(recipe.train, processes or int(os.environ.get("WORLD_SIZE", "1")))
    sample, rows = _sample_and_rows(recipe)
    steps = None if rows is None else -(-rows // recipe.train.batch_size)
    stages = tuple(_stages(recipe, sample, steps))
    shape = _shape(recipe, sample)
    return Plan(
        recipe=recipe,
        batching=batching,
        rows=rows,
        steps_per_epoch=steps,
        stages=stages,
        num_parameters=None if shape is None else num_parameters(shape) + _source_parameters(recipe, shape.width),
        vocabulary=None if shape is None else shape.vocabulary,
        estimate=_estimate(recipe, batching, shape, rows, stages),
        warnings=tuple(_warnings(recipe, sample, shape, rows, stages)),
    )


def split_batch(train: TrainSettings, processes: int) -> Batching:
    """Cut an optimizer step into forward passes.

    Raises:
        RecipeError: The parts would not be equal.
    """
    micro = train.micro_batch_size or -(-train.batch_size // processes)
    if train.batch_size % (micro * processes):
        raise RecipeError(
            "train.batch_size",
            [
                f"{train.batch_size} is not a multiple of {processes} processes x {micro} rows; "
                "set train.micro_batch_size to a divisor of the share of a process"
            ],
        )
    return Batching(processes, micro, train.batch_size // (micro * processes))


def _sample_and_rows(recipe: Recipe) -> tuple[Sequence[Example], int | None]:
    """Some rows to measure, and the number of training rows; none where the data is not given yet."""
    settings = recipe.task.describe()
    if settings.get("train") is None and "train_rows" in settings:
        return recipe.task.examples("validation")[0][:SAMPLE_ROWS], settings["train_rows"]
    if settings.get("train") is None:
        return (), None
    examples, _ = recipe.task.examples("train")
    return examples[:SAMPLE_ROWS], len(examples)


def _shape(recipe: Recipe, sample: Sequence[Example]) -> Shape | None:
    model = recipe.model
    if model.path is not None:
        return checkpoint_shape(model.path)
    words = recipe.task.words()
    if model.tokenizer is not None or (words is None and not sample):
        return None
    if words is None:
        # collected from all training rows: those of the sample alone would be too few
        examples, _ = recipe.task.examples("train")
        words = tuple(vocabulary_of(examples, recipe.task.text))
    return new_shape(model, num_special_words() + len(set(words)))


def _source_parameters(recipe: Recipe, width: int) -> int:
    """Parameters of the thought source; only other sources than the default have any, and need torch to say so."""
    if recipe.thoughts == {"name": "last_hidden"}:
        return 0
    import torch

    from unspoken.thoughts import build_source

    with torch.device("meta"):
        return sum(parameter.numel() for parameter in build_source(recipe.thoughts, width).parameters())


def _stages(recipe: Recipe, sample: Sequence[Example], steps_per_epoch: int | None) -> list[Stage]:
    train, method = recipe.train, recipe.method
    rows = word_tokens(sample, recipe.task.text)
    plain = _without_chance(method)
    table: list[Stage] = []
    for stage, group in groupby(range(train.first_epoch, train.epochs), method.stage):
        epochs = list(group)
        staged = [plain.layout(row, stage, _TOKENS, Random(0)) for row in rows]
        longest = max(range(len(rows)), key=lambda index: len(rows[index].steps), default=None)
        table.append(
            Stage(
                first_epoch=epochs[0],
                last_epoch=epochs[-1],
                stage=stage,
                thoughts=_thoughts(method, stage, staged),
                written="?"
                if longest is None
                else _written(staged[longest], rows[longest].steps, rows[longest].answer),
                num_written=mean(int((row.labels != IGNORED).sum()) for row in staged) if staged else math.nan,
                length=mean(len(row.input_ids) for row in staged) if staged else math.nan,
                learning_rates=_learning_rates(train, epochs, steps_per_epoch),
                optimizer=_optimizer(train, first=not table),
            )
        )
    return table


def _without_chance(method: Method) -> Method:
    """The method without mixing of stages and redrawing: what the table shows is the rule, not a draw."""
    return method.model_copy(update={key: 0 for key in ("mix", "redraw") if key in type(method).model_fields})


def _thoughts(method: Method, stage: int, staged: Sequence[StagedExample]) -> tuple[int, int]:
    counts = [row.num_thoughts for row in staged] or [_without_chance(method).most_thoughts(stage)]
    return min(counts), max(counts)


def _written(staged: StagedExample, steps: Sequence[Any], answer: Any) -> str:
    """What is trained of the row with most steps, in words: `steps 3-6, answer`."""
    labels = staged.labels[staged.labels != IGNORED].tolist()
    for gone in range(len(steps) + 1):
        kept = [token for step in steps[gone:] for token in step.tolist()]
        if labels == [*kept, *answer.tolist()]:
            if gone == len(steps):
                return "answer"
            which = f"step {gone + 1}" if gone == len(steps) - 1 else f"steps {gone + 1}-{len(steps)}"
            return f"{which}, answer"
    total = sum(len(step) for step in steps)
    if labels[-len(answer) :] == answer.tolist():
        return f"{len(labels) - len(answer)} of {total} words of the steps, answer"
    return "1 word" if len(labels) == 1 else f"{len(labels)} words"


def _learning_rates(
    train: TrainSettings, epochs: Sequence[int], steps_per_epoch: int | None
) -> tuple[float, float] | None:
    if steps_per_epoch is None:
        always = train.lr_schedule == "constant" and not train.warmup_steps
        return (train.learning_rate, train.learning_rate) if always else None
    first = (epochs[0] - train.first_epoch) * steps_per_epoch
    last = (epochs[-1] - train.first_epoch + 1) * steps_per_epoch - 1
    total = (train.epochs - train.first_epoch) * steps_per_epoch
    return learning_rate(train, first, total), learning_rate(train, last, total)


def learning_rate(train: TrainSettings, step: int, total: int) -> float:
    """The learning rate of an optimizer step, counted from 0, as transformers' schedulers give it."""
    warmup = train.warmup_steps
    if step < warmup:
        return train.learning_rate * step / warmup
    progress = (step - warmup) / max(total - warmup, 1)
    if train.lr_schedule == "linear":
        return train.learning_rate * max(1 - progress, 0.0)
    if train.lr_schedule == "cosine":
        return train.learning_rate * max((1 + math.cos(math.pi * progress)) / 2, 0.0)
    return train.learning_rate


def _optimizer(train: TrainSettings, *, first: bool) -> str:
    if train.reset_optimizer == "epoch":
        return "reset every epoch"
    if first:
        return "new"
    return "reset" if train.reset_optimizer == "stage" else "kept"


def _estimate(
    recipe: Recipe, batching: Batching, shape: Shape | None, rows: int | None, stages: Sequence[Stage]
) -> Estimate | None:
    if shape is None or rows is None or math.isnan(stages[0].length):
        return None
    return estimate(
        shape,
        rows=rows,
        micro=batching.micro,
        processes=batching.processes,
        steps_per_epoch=-(-rows // recipe.train.batch_size) * batching.accumulation,
        stages=[
            (
                stage.last_epoch - stage.first_epoch + 1,
                stage.length * _tokens_per_word(recipe),
                stage.num_written * _tokens_per_word(recipe),
                stage.thoughts[1],
            )
            for stage in stages
        ],
        sequential=recipe.schedule["name"] == "sequential",
        half=recipe.train.precision != "fp32",
        recomputed=recipe.model.checkpoint_passes,
        adapters=recipe.model.lora is not None,
    )


def _tokens_per_word(recipe: Recipe) -> float:
    return 1.0 if recipe.model.path is None and recipe.model.tokenizer is None else SUBWORDS


def _warnings(
    recipe: Recipe, sample: Sequence[Example], shape: Shape | None, rows: int | None, stages: Sequence[Stage]
) -> list[str]:
    train, model, method = recipe.train, recipe.model, recipe.method
    settings = method.model_dump()
    found = []
    if rows is None:
        found.append(
            f"task {recipe.task.describe()['name']} has no data yet: set task.train and task.validation to files"
        )
    elif rows < train.batch_size:
        found.append(f"{rows} rows are fewer than train.batch_size={train.batch_size}: an epoch is one short step")
    if settings.get("pad_thoughts") is False:
        found.append("pad_thoughts: false lets the number of thoughts tell the model how many steps the solution has")
    if sample and not _is_final(method, recipe, sample, stages[-1].stage):
        found.append(
            f"training ends at stage {stages[-1].stage} of {method.final_stage}: raise train.epochs "
            "or lower method.epochs_per_stage"
        )
    most_steps = max((len(example.steps) for example in sample), default=None)
    if most_steps is not None and settings.get("max_stage", 0) > most_steps:
        found.append(f"max_stage is {settings['max_stage']}, but no row of the sample has more than {most_steps} steps")
    if settings.get("mix"):
        found.append(f"mix: {settings['mix']:.0%} of the rows are laid out at another stage than the table says")
    if model.path is not None:
        changed = sparse(recipe).get("model", {})
        ignored = [key for key in ("arch", "layers", "heads", "width", "dropout", "max_positions") if key in changed]
        found += [f"model.{key} has no effect, as the shape comes from model.path" for key in ignored]
    if shape is not None and sample:
        longest = max(max(len(row.input_ids) for row in _layouts(recipe, sample, stage.stage)) for stage in stages)
        positions = round(longest * _tokens_per_word(recipe))
        if positions > shape.positions:
            found.append(f"a row of the sample takes about {positions} positions, the model has {shape.positions}")
    return found


def _is_final(method: Method, recipe: Recipe, sample: Sequence[Example], stage: int) -> bool:
    """Whether a stage lays the sample out as the last one does; what comes after it would change nothing."""
    layouts = [_layouts(recipe, sample, number) for number in (stage, method.final_stage)]
    return all(a.input_ids.tolist() == b.input_ids.tolist() for a, b in zip(*layouts, strict=True))


def _layouts(recipe: Recipe, sample: Sequence[Example], stage: int) -> list[StagedExample]:
    method = _without_chance(recipe.method)
    return [method.layout(row, stage, _TOKENS, Random(0)) for row in word_tokens(sample, recipe.task.text)]


def render(plan: Plan) -> str:
    """The plan as text for a terminal."""
    recipe, batching = plan.recipe, plan.batching
    parts = [
        "Settings that are not defaults",
        _indented(to_yaml(sparse(recipe)).rstrip()),
        "",
        "Stages",
        *_table(plan),
        "",
    ]
    total = batching.processes * batching.micro * batching.accumulation
    parts.append(
        f"Batch       {batching.processes} process{'es' * (batching.processes > 1)} x {batching.micro} rows x "
        f"{batching.accumulation} accumulated = {total} rows a step"
    )
    if plan.steps_per_epoch is not None:
        epochs = recipe.train.epochs - recipe.train.first_epoch
        parts.append(
            f"Steps       {plan.steps_per_epoch:,} an epoch ({plan.rows:,} rows) x {epochs} epochs = "
            f"{plan.steps_per_epoch * epochs:,}"
        )
    if plan.num_parameters is None:
        parts.append("Parameters  known when the model is loaded: its shape is in no file here")
    else:
        parts.append(f"Parameters  {plan.num_parameters:,} with {plan.vocabulary:,} token embeddings")
    if plan.estimate is not None:
        parts.append(f"Memory      about {megabytes(plan.estimate.memory)} a process, to be safe (estimate)")
        parts.append(
            f"Time        about {minutes(plan.estimate.seconds)} of training (estimate: {plan.estimate.basis})"
        )
        parts.append(f"Disk        {megabytes(plan.estimate.checkpoint)} a checkpoint")
    if plan.warnings:
        parts += ["", *(f"! {warning}" for warning in plan.warnings)]
    return "\n".join(parts)


def _table(plan: Plan) -> list[str]:
    header = ("epochs", "stage", "thoughts", "still written", "words", "learning rate", "optimizer")
    lines = [_cells(stage) for stage in plan.stages]
    if len(lines) > 24:
        lines = [*lines[:11], ("...",) * len(header), *lines[-12:]]
    widths = [max(len(line[column]) for line in (header, *lines)) for column in range(len(header))]
    return ["  " + "  ".join(f"{cell:<{width}}" for cell, width in zip(line, widths, strict=True)).rstrip()
            for line in (header, *lines)]  # fmt: skip


def _cells(stage: Stage) -> tuple[str, ...]:
    def span(first: object, last: object) -> str:
        return f"{first}" if first == last else f"{first}-{last}"

    rates = stage.learning_rates
    rate = "" if rates is None else f"{rates[0]:.3g}" if rates[0] == rates[1] else f"{rates[0]:.3g} to {rates[1]:.3g}"
    return (
        span(stage.first_epoch, stage.last_epoch),
        str(stage.stage),
        span(*stage.thoughts),
        stage.written,
        "?" if math.isnan(stage.num_written) else f"{stage.num_written:.1f}",
        rate,
        stage.optimizer,
    )


def _indented(text: str) -> str:
    return "\n".join(f"  {line}" for line in text.splitlines())
