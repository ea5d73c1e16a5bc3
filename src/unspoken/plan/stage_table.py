"""The stage table: what every epoch of a recipe trains, as the method itself lays it out."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby
from random import Random
from statistics import mean

from unspoken.config import TrainSettings
from unspoken.methods import Method, Reinforcement
from unspoken.plan.sample import IMAGE_SLOT, word_tokens
from unspoken.recipe import Recipe
from unspoken.records import IGNORED, Example, StagedExample, ThoughtTokens, TokenizedExample

_TOKENS = ThoughtTokens(latent=-1, start=-2, end=-3)


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
        length: Mean positions of a row, with its image slots and thoughts.
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


def stage_table(
    recipe: Recipe, sample: Sequence[Example], steps_per_epoch: int | None, slots: int = 0, per_word: float = 1.0
) -> list[Stage]:
    """Every stage of a run, in order.

    Args:
        recipe: The recipe.
        sample: Rows to lay out; without any, what depends on them is unknown.
        steps_per_epoch: Optimizer steps of an epoch; None where the data is not given yet.
        slots: Positions that an image takes.
        per_word: Tokens that a word takes.
    """
    train, method = recipe.train, recipe.method
    rows = word_tokens(sample, recipe.task.text, slots)
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
                written="?" if longest is None else _written(staged[longest], rows[longest]),
                num_written=mean(int((row.labels != IGNORED).sum()) for row in staged) if staged else math.nan,
                length=mean(positions(row, per_word) for row in staged) if staged else math.nan,
                learning_rates=_learning_rates(train, epochs, steps_per_epoch),
                optimizer="new" if isinstance(method, Reinforcement) else _optimizer(train, first=not table),
            )
        )
    return table


def _without_chance(method: Method) -> Method:
    """The method without mixing of stages and redrawing: what the table shows is the rule, not a draw."""
    return method.model_copy(update={key: 0 for key in ("mix", "redraw") if key in type(method).model_fields})


def _thoughts(method: Method, stage: int, staged: Sequence[StagedExample]) -> tuple[int, int]:
    counts = [row.num_thoughts for row in staged] or [_without_chance(method).most_thoughts(stage)]
    return min(counts), max(counts)


def _written(staged: StagedExample, row: TokenizedExample) -> str:
    """What is trained of the row with most steps, in words: `steps 3-6, answer`."""
    steps, answer = row.steps, row.answer
    labels = staged.labels[staged.labels != IGNORED].tolist()
    if labels == answer[row.answer_start :].tolist():
        return "answer"
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


def positions(row: StagedExample, per_word: float) -> float:
    """Positions of a row whose words take so many tokens; an image slot is one."""
    slots = int((row.input_ids == IMAGE_SLOT).sum())
    return (len(row.input_ids) - slots) * per_word + slots


def is_final(recipe: Recipe, sample: Sequence[Example], stage: int) -> bool:
    """Whether a stage lays the sample out as the last one does; what comes after it would change nothing."""
    pairs = zip(layouts(recipe, sample, stage), layouts(recipe, sample, recipe.method.final_stage), strict=True)
    return all(one.input_ids.tolist() == other.input_ids.tolist() for one, other in pairs)


def layouts(recipe: Recipe, sample: Sequence[Example], stage: int, slots: int = 0) -> list[StagedExample]:
    """The sample as the method lays it out at a stage, words for tokens, with so many slots an image."""
    method = _without_chance(recipe.method)
    return [method.layout(row, stage, _TOKENS, Random(0)) for row in word_tokens(sample, recipe.task.text, slots)]
