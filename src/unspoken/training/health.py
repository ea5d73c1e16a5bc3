"""The health of thoughts while they are learned: their figures in every logged line, and warnings that name a remedy.

Nothing here takes part in the computation: a run that is watched and one that is not end in the same bits.

Shapes: B rows of a micro-batch, S slots filled at once, D width, V vocabulary.
"""

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice, pairwise, takewhile
from math import isfinite
from pathlib import Path
from statistics import fmean
from typing import Any, TypeAlias

import torch
from torch import Tensor, nn
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from unspoken import files
from unspoken.model import LatentModel
from unspoken.thoughts import History
from unspoken.thoughts.geometry import effective_rank, mean_cosine

logger = logging.getLogger(__name__)

SAME = 0.9999
"""Mean cosine between the thoughts of different questions from which on they count as one and the same."""
LONG, SHORT = 300.0, 1 / 300
"""Length of thoughts over that of the embeddings beyond which a decoder reads them as nothing it knows."""
RANKED = 64
"""Rows whose effective rank is found: it takes time that grows with their cube, and is wanted every few steps."""
IN_A_ROW = 5
"""Logged lines in which something must be wrong before it is said."""


@dataclass(slots=True, eq=False)
class Filling:
    """One call of the thought source.

    Attributes:
        rank: Which thought of its row each column is, from 0, (B, S).
        is_slot: False where the column is no slot of the row, (B, S).
        thoughts: What the source made, (B, S, D).
        gradient: Gradient of the loss with respect to it, (B, S, D); None where none came back.
    """

    rank: Tensor
    is_slot: Tensor
    thoughts: Tensor
    gradient: Tensor | None = None

    def keep(self, gradient_BSD: Tensor) -> None:
        """Take what the backward pass brings."""
        self.gradient = gradient_BSD.detach()


Fillings: TypeAlias = dict[tuple[int, ...], Filling]
"""For each group of slot columns that are filled together, their last filling: `jacobi` fills them repeatedly."""


@contextmanager
def watched(model: nn.Module) -> Iterator[Fillings]:
    """Record what fills the slots of one micro-batch, and in its backward pass the gradients."""
    found: Fillings = {}

    def record(source: nn.Module, arguments: tuple[History], thoughts_BSD: Tensor) -> None:
        (history,) = arguments
        columns = list(history.columns)
        is_slot_BS = history.is_thought[:, columns] & history.is_real[:, columns]
        filling = Filling(history.ranks(), is_slot_BS, thoughts_BSD.detach())
        found[tuple(columns)] = filling
        if thoughts_BSD.requires_grad:
            thoughts_BSD.register_hook(filling.keep)  # type: ignore[no-untyped-call]

    handle = _latent_model(model).thought_source.register_forward_hook(record)
    try:
        yield found
    finally:
        handle.remove()


def health(model: nn.Module, fillings: Fillings) -> dict[str, float]:
    """Figures of the thoughts of one micro-batch.

    Returns:
        Nothing where no row has a thought. Else, each a mean over thoughts:
        thought_norm: Length.
        thought_norm_ratio: Length over the mean length of the embeddings of words.
        thought_cosine: Mean cosine between the thoughts of two rows; 1: all are the same. From 2 rows on.
        thought_rank: Effective rank over up to `RANKED` rows, see `unspoken.thoughts.geometry`. From 2 rows on.
        thought_gradient_K: For thought K the mean length of the gradient of the loss, as far as one came back.
    """
    thoughts, gradients = _by_rank(fillings)
    if not thoughts:
        return {}
    norm = fmean(float(each.norm(dim=-1).mean()) for each in thoughts.values())
    figures = {"thought_norm": norm, "thought_norm_ratio": norm / _embedding_norm(_latent_model(model))}
    several = [each for each in thoughts.values() if len(each) > 1]
    if several:
        figures["thought_cosine"] = fmean(mean_cosine(each) for each in several)
        figures["thought_rank"] = fmean(effective_rank(each[:RANKED]) for each in several)
    for rank, gradient in sorted(gradients.items()):
        figures[f"thought_gradient_{rank + 1}"] = float(gradient.norm(dim=-1).mean())
    return figures


class HealthWarnings(TrainerCallback):
    """Says when thoughts collapse or accuracy is lost with a stage, once for each stage, and what is likely to help.

    Args:
        stage_of: Stage of a step.
        reads_states: Whether thoughts depend on the question; constants are the same for all by intention.
        say: Told each warning.
    """

    def __init__(self, stage_of: Callable[[int], int], reads_states: bool, say: Callable[[int, str], None]) -> None:
        self.stage_of, self.reads_states, self.say = stage_of, reads_states, say
        self.said: set[tuple[int, str]] = set()

    def on_log(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        """See the class."""
        stage = self.stage_of(state.global_step)
        watched_lines = (line for line in reversed(state.log_history) if "thought_norm" in line)
        of_stage = takewhile(lambda line: self.stage_of(line["step"]) == stage, watched_lines)
        for name, text in ailments([*islice(of_stage, IN_A_ROW)][::-1], self.reads_states):
            self._warn(state, stage, name, f"stage {stage}: {text}")

    def on_evaluate(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        """See the class."""
        best: dict[int, Mapping[str, float]] = {}
        for line in state.log_history:
            if "eval_accuracy" in line:
                stage = self.stage_of(line["step"])
                best[stage] = max(best.get(stage, line), line, key=lambda each: each["eval_accuracy"])
        # a stage is judged when the next one begins, and the last one at the end
        ended = [stage for stage in best if stage < self.stage_of(state.global_step + 1)]
        if state.global_step >= state.max_steps:
            ended = [*best]
        for before, stage in pairwise(ended):
            if text := lost(before, best[before], stage, best[stage]):
                self._warn(state, stage, "lost", text)

    def _warn(self, state: TrainerState, stage: int, name: str, text: str) -> None:
        if (stage, name) not in self.said and state.is_world_process_zero:
            self.said.add((stage, name))
            self.say(state.global_step, text)


def ailments(lines: Sequence[Mapping[str, float]], reads_states: bool) -> Iterator[tuple[str, str]]:
    """What is wrong in all of the last `IN_A_ROW` lines: a name and a sentence with its remedy."""
    if len(lines) < IN_A_ROW:
        return
    last = lines[-1]
    if reads_states and all(line.get("thought_cosine", 0.0) > SAME for line in lines):
        yield (
            "collapsed",
            f"the thoughts of all questions are the same (mean cosine {last['thought_cosine']:.5f}), so they say "
            "nothing about the question; more epochs at this stage (method.epochs_per_stage), a smaller "
            "train.learning_rate or method.mix=0.2 are likely to help",
        )
    ratios = [line["thought_norm_ratio"] for line in lines]
    if min(ratios) > LONG or max(ratios) < SHORT:
        size = "longer" if min(ratios) > LONG else "shorter"
        yield (
            "norm",
            f"thoughts are far {size} than the embeddings of words ({last['thought_norm_ratio']:.3g} times their "
            "length), which drowns what else the decoder reads or is drowned by it; thoughts={name: projection} "
            "learns their length",
        )
    unreached = [
        name.rpartition("_")[2]
        for name in last
        if name.startswith("thought_gradient_") and all(line.get(name, 1.0) == 0.0 for line in lines)
    ]
    if unreached:
        yield (
            "gradient",
            f"no gradient reaches thought {', '.join(unreached)}: nothing that is learned depends on it; look at "
            "the layout with `unspoken plan RECIPE`, and at train.precision",
        )


def lost(before: int, earlier: Mapping[str, float], stage: int, later: Mapping[str, float]) -> str | None:
    """A sentence when the best validation of a stage lies below that of the one before it, intervals apart."""
    if later["eval_accuracy_high"] >= earlier["eval_accuracy_low"]:
        return None
    return (
        f"validation accuracy fell from {earlier['eval_accuracy']:.3f} at stage {before} to "
        f"{later['eval_accuracy']:.3f} at stage {stage}: what the steps in words carried is not in the thoughts yet; "
        f"more epochs at stage {stage} (method.epochs_per_stage), a smaller train.learning_rate, method.mix=0.2 or "
        "train.reset_optimizer=never are likely to help"
    )


def warn(metrics: Path, describe: Callable[[int], dict[str, Any]]) -> Callable[[int, str], None]:
    """Warnings go to the log of the program and, as lines of their own, into the metrics of the run.

    Args:
        metrics: `metrics.jsonl` of the run.
        describe: Stage and the like at a step.
    """

    def say(step: int, text: str) -> None:
        logger.warning("%s", text)
        files.append_json_line(metrics, {"step": step, "warning": text, **describe(step)})

    return say


def _latent_model(model: nn.Module) -> LatentModel:
    """The model itself, whatever is wrapped around it."""
    return next(each for each in model.modules() if isinstance(each, LatentModel))


@torch.no_grad()
def _embedding_norm(model: LatentModel) -> float:
    """Mean length of the embeddings of words."""
    embeddings = model.get_input_embeddings()
    # looked up, not read from the table: with adapters the table alone is not what words become
    device = next(embeddings.parameters()).device
    table_VD: Tensor = embeddings(torch.arange(model.config.vocab_size, device=device))
    return float(table_VD.float().norm(dim=-1).mean().clamp(min=1e-12))


def _by_rank(fillings: Fillings) -> tuple[dict[int, Tensor], dict[int, Tensor]]:
    """For each thought of a row, from 0, those of all rows that have it; and their gradients. (N, D) each."""
    thoughts: dict[int, list[Tensor]] = {}
    gradients: dict[int, list[Tensor]] = {}
    for filling in fillings.values():
        for rank in filling.rank[filling.is_slot].unique().tolist():  # type: ignore[no-untyped-call]
            chosen_BS = filling.is_slot & (filling.rank == rank)
            thoughts.setdefault(rank, []).append(filling.thoughts[chosen_BS].float())
            if filling.gradient is not None:
                gradients.setdefault(rank, []).append(filling.gradient[chosen_BS].float())
    return (
        {rank: torch.cat(each) for rank, each in thoughts.items()},
        {rank: torch.cat(each) for rank, each in gradients.items() if all(isfinite(float(g.sum())) for g in each)},
    )
